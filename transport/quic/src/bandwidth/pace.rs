//! A stream that asks before it writes.

use std::sync::Arc;

use rdcq_wire::Class;

use super::{Direction, Turn};
use crate::link::Link;

/// Bytes of a datagram that are QUIC's: a short header with an ID of eight bytes, a tag, and a frame's header. Rather too few: what
/// is missing is charged when the connection is looked at.
const QUIC_HEADERS: u64 = 34;

/// Most bytes asked for at once: a send batch, so that others have their turn.
const BATCH: usize = 64 * 1024;

/// Asks the node's bandwidth for what a stream writes.
pub(crate) struct Pace {
    link: Arc<Link>,
    class: Class,
    turn: Option<Turn>,
}

impl Pace {
    pub(crate) const fn new(link: Arc<Link>, class: Class) -> Self {
        Self { link, class, turn: None }
    }

    /// Whether writing may have to wait. What is written without is only counted.
    pub(crate) fn is_limited(&mut self) -> bool {
        let limited = self.link.bandwidth.is_limited(Direction::Egress);
        if !limited {
            self.turn = None;
            self.link.end_pacing();
        }
        limited
    }

    /// Counts what is written without waiting.
    pub(crate) fn count(&self, bytes: usize) {
        self.link.bandwidth.gate(Direction::Egress).count(self.class, bytes as u64);
    }

    /// How many of these bytes may be written now; waits until it is one at least.
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
        let granted = turn.take(wire.bytes_of(wanted.min(BATCH) as u64)).await;
        account.grant(self.class, granted);
        usize::try_from(wire.stream_bytes_in(granted)).map_or(wanted, |bytes| bytes.clamp(1, wanted))
    }
}

/// What a link carries for the bytes of streams.
#[derive(Clone, Copy)]
struct Wire {
    /// UDP payload of its datagrams.
    payload: u64,
}

impl Wire {
    const fn stream_bytes_a_datagram(self) -> u64 {
        let bytes = self.payload.saturating_sub(QUIC_HEADERS);
        if bytes == 0 { 1 } else { bytes }
    }

    const fn bytes_of(self, stream_bytes: u64) -> u64 {
        let full = self.stream_bytes_a_datagram();
        stream_bytes + (stream_bytes * (QUIC_HEADERS + super::account::IPV4_HEADERS)).div_ceil(full)
    }

    const fn stream_bytes_in(self, bytes: u64) -> u64 {
        let full = self.stream_bytes_a_datagram();
        bytes * full / (full + QUIC_HEADERS + super::account::IPV4_HEADERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_carries_what_is_wanted() {
        for payload in [1200, 1452, 6500] {
            let wire = Wire { payload };
            for wanted in [1, 100, 1418, 65_536] {
                let carried = wire.stream_bytes_in(wire.bytes_of(wanted));
                assert!((wanted..=wanted + 1).contains(&carried), "{wanted} at {payload}: {carried}");
            }
        }
        // 1,418 bytes are a whole datagram, with 34 of QUIC's and 42 of the link's.
        assert_eq!(Wire { payload: 1452 }.bytes_of(1418), 1452 + 42);
        assert_eq!(Wire { payload: 0 }.stream_bytes_in(1_000_000), 12_987);
    }
}
