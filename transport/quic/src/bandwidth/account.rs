//! What a connection moved, beside what it was granted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdcq_bandwidth::{Correction, PeerId};
use rdcq_wire::{Class, NodeId};

use super::{Bandwidth, Direction, Gate};

/// Bytes that a link adds to a datagram: Ethernet, IP and UDP. What switches and interfaces count is what is limited.
pub(super) const IPV4_HEADERS: u64 = 14 + 20 + 8;
const IPV6_HEADERS: u64 = 14 + 40 + 8;

/// What every path carries (RFC 9000, section 14).
const SMALLEST_PAYLOAD: u64 = 1200;

/// How often a connection that moves is looked at: ten times in the shortest time over which a rate is held.
const LOOK: Duration = Duration::from_millis(20);

/// What a connection has moved since it was opened, as interfaces count it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    pub(crate) egress: u64,
    pub(crate) ingress: u64,
}

impl Moved {
    pub(crate) fn of(stats: &quinn::ConnectionStats, is_ipv6: bool) -> Self {
        let headers = if is_ipv6 { IPV6_HEADERS } else { IPV4_HEADERS };
        let bytes = |udp: &quinn_proto::UdpStats| udp.bytes + udp.datagrams * headers;
        Self { egress: bytes(&stats.udp_tx), ingress: bytes(&stats.udp_rx) }
    }
}

/// A connection's accounts in both directions.
pub(crate) struct Accounts {
    pub(crate) egress: Account,
    pub(crate) ingress: Account,
    looked: Mutex<Option<Duration>>,
    /// UDP payload of the datagrams that the path carries.
    payload: AtomicU64,
}

impl Accounts {
    pub(crate) fn open(bandwidth: &Bandwidth, peer: &NodeId, moved: Moved) -> Self {
        let account = |direction, moved| Account::open(bandwidth.gate(direction), peer, moved);
        Self {
            egress: account(Direction::Egress, moved.egress),
            ingress: account(Direction::Ingress, moved.ingress),
            looked: Mutex::new(None),
            payload: AtomicU64::new(SMALLEST_PAYLOAD),
        }
    }

    /// UDP payload of the datagrams that the path carries, as of the last look.
    pub(crate) fn payload(&self) -> u64 {
        self.payload.load(Ordering::Relaxed)
    }

    pub(crate) fn note_payload(&self, bytes: u16) {
        self.payload.store(bytes.into(), Ordering::Relaxed);
    }

    /// Whether it is time to look at the connection again.
    pub(crate) fn is_due(&self) -> bool {
        let now = self.egress.gate.now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK);
        if due {
            *looked = Some(now);
        }
        due
    }

    /// Charges what was moved and not granted. A connection that is at rest gets back what was granted and not moved.
    pub(crate) fn settle(&self, moved: Moved, at_rest: bool) {
        self.egress.settle(moved.egress, at_rest);
        self.ingress.settle(moved.ingress, at_rest);
    }
}

/// One direction of a connection.
pub(crate) struct Account {
    gate: Arc<Gate>,
    peer: PeerId,
    tally: Mutex<Tally>,
}

struct Tally {
    /// Granted, corrections included, and what was moved before the account was opened.
    granted: u64,
    /// Not granted yet, and perhaps moved already.
    announced: u64,
    /// Who is charged for what no stream asked for.
    class: Class,
    /// The limit for which it was kept.
    epoch: u64,
}

impl Account {
    fn open(gate: &Arc<Gate>, peer: &NodeId, moved: u64) -> Self {
        let tally =
            Mutex::new(Tally { granted: moved, announced: 0, class: Class::default(), epoch: gate.epoch() });
        Self { gate: Arc::clone(gate), peer: gate.join(peer), tally }
    }

    pub(crate) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(crate) const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Says that so much was granted to a stream of this connection.
    pub(crate) fn grant(&self, class: Class, bytes: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.granted += bytes;
        tally.class = class;
    }

    /// Says that so much will be asked for that may be here before it is granted.
    pub(crate) fn announce(&self, bytes: u64) -> Announced<'_> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).announced += bytes;
        Announced { account: self, bytes }
    }

    fn settle(&self, moved: u64, at_rest: bool) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.gate.epoch();
        if !self.gate.is_limited() || tally.epoch != epoch {
            // What was moved without a limit is owed to nobody.
            (tally.granted, tally.epoch) = (moved, epoch);
            return;
        }
        // While streams move, what was granted and not moved waits to be sent.
        if moved > tally.granted.saturating_add(tally.announced) || at_rest {
            let granted = moved.saturating_sub(tally.announced);
            let bytes = granted.cast_signed() - tally.granted.cast_signed();
            let class = tally.class;
            tally.granted = granted;
            drop(tally);
            if bytes != 0 {
                self.gate.correct(Correction { peer: self.peer, class, bytes });
            }
        }
    }
}

/// Bytes that will be granted, until they are or nobody waits for them any more.
pub(crate) struct Announced<'a> {
    account: &'a Account,
    bytes: u64,
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let mut tally = self.account.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.announced = tally.announced.saturating_sub(self.bytes);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.gate.leave(self.peer);
    }
}
