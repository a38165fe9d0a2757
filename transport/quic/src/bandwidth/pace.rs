//! A stream that asks before it writes.

use std::sync::Arc;

use rdcq_wire::Class;

use super::{Direction, Turn};
use crate::link::Link;

/// Bytes of a datagram that are QUIC's: a short header with an ID of eight bytes, a tag, and a frame's header. Rather too few: what
/// is missing is charged when the connection is looked at.
const QUIC_HEADERS: u64 = 34;

/// Bytes that a datagram may have to find room for beside those headers: longer numbers, and an acknowledgement. What is written to
/// fill a datagram leaves them out, or its last bytes would go in one of their own.
const ROOM: u64 = 24;

/// Most bytes asked for at once: a send batch, so that others have their turn.
const BATCH: usize = 64 * 1024;

/// Asks the node's bandwidth for what a stream writes.
pub(crate) struct Pace {
    link: Arc<Link>,
    class: Class,
    turn: Option<Turn>,
    /// Granted and not written yet: less than a datagram.
    left: u64,
}

impl Pace {
    pub(crate) const fn new(link: Arc<Link>, class: Class) -> Self {
        Self { link, class, turn: None, left: 0 }
    }

    /// Whether writing may have to wait. What is written without is only counted.
    pub(crate) fn is_limited(&mut self) -> bool {
        let limited = self.link.bandwidth.is_limited(Direction::Egress);
        if !limited {
            (self.turn, self.left) = (None, 0);
            self.link.end_pacing();
        }
        limited
    }

    /// Counts what is written without waiting.
    pub(crate) fn count(&self, bytes: usize) {
        self.link.bandwidth.gate(Direction::Egress).count(self.class, bytes as u64);
    }

    /// How many of these bytes may be written now: all, or as many as fill whole datagrams. Waits until it is one of those.
    pub(crate) async fn take(&mut self, wanted: usize) -> usize {
        let accounts = self.link.accounts();
        self.link.settle_if_due(accounts);
        let account = &accounts.egress;
        if self.turn.is_none() {
            self.turn = Turn::new(account.gate(), account.peer(), self.class);
        }
        // There is one as long as the peer's account is open.
        let Some(turn) = &mut self.turn else { return wanted };
        let wire = Wire { payload: accounts.payload() };
        let wanted = wanted.min(BATCH) as u64;
        let all = wire.bytes_of(wanted);
        loop {
            if let Some(bytes) = wire.fill(wanted, self.left) {
                self.left -= wire.bytes_of(bytes);
                return usize::try_from(bytes).expect("no more than wanted");
            }
            let granted = turn.take(all - self.left).await;
            account.grant(self.class, granted);
            self.left += granted;
        }
    }
}

/// What a link carries for the bytes of streams.
#[derive(Clone, Copy)]
struct Wire {
    /// UDP payload of its datagrams.
    payload: u64,
}

impl Wire {
    /// Stream bytes that surely fit a datagram.
    const fn stream_bytes_a_datagram(self) -> u64 {
        let bytes = self.payload.saturating_sub(QUIC_HEADERS + ROOM);
        if bytes == 0 { 1 } else { bytes }
    }

    /// What the link carries for so many stream bytes.
    const fn bytes_of(self, stream_bytes: u64) -> u64 {
        let datagrams = stream_bytes.div_ceil(self.stream_bytes_a_datagram());
        stream_bytes + datagrams * (QUIC_HEADERS + super::account::IPV4_HEADERS)
    }

    /// How many of the stream bytes wanted may be written for so many on the link: all, or whole datagrams of them. None if it is not
    /// one.
    fn fill(self, wanted: u64, bytes: u64) -> Option<u64> {
        let full = self.stream_bytes_a_datagram();
        let datagrams = bytes / self.bytes_of(full);
        let filled = if bytes >= self.bytes_of(wanted) { wanted } else { (datagrams * full).min(wanted) };
        (filled > 0).then_some(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_carries_what_is_wanted() {
        for payload in [0, 1200, 1452, 6500] {
            let wire = Wire { payload };
            for wanted in [1, 100, 1394, 1395, 65_536] {
                assert_eq!(wire.fill(wanted, wire.bytes_of(wanted)), Some(wanted), "{wanted} at {payload}");
            }
        }
    }

    #[test]
    fn datagrams_are_filled() {
        let wire = Wire { payload: 1452 };
        let full = 1452 - QUIC_HEADERS - ROOM;
        let one = full + QUIC_HEADERS + 42;
        assert_eq!(wire.bytes_of(full), one);
        assert_eq!(wire.bytes_of(full + 1), one + 1 + QUIC_HEADERS + 42);
        assert_eq!(wire.fill(65_536, one - 1), None);
        assert_eq!(wire.fill(65_536, one + 800), Some(full));
        assert_eq!(wire.fill(65_536, 3 * one), Some(3 * full));
        // The last of a chunk is all that there is.
        assert_eq!(wire.fill(10, 10 + QUIC_HEADERS + 42), Some(10));
        assert_eq!(wire.fill(10, 10), None);
        assert_eq!(wire.fill(full + 10, one + 10), Some(full));
    }
}
