//! What an endpoint counts, and what it writes down of those it turned away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_wire::Identity;
use tokio::time::Instant;

use crate::bandwidth::Moved;

/// What a socket's connections have done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Handshakes done, on either side.
    pub(crate) handshakes: AtomicU64,
    /// Handshakes that failed, on either side.
    pub(crate) failed: AtomicU64,
    closed: Mutex<Closed>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// What connections did that are gone.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Closed {
    /// UDP payload, in bytes.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// The same as interfaces count it.
    pub(crate) moved: Moved,
    pub(crate) datagrams: u64,
    /// Calls in which they were handed to the system.
    pub(crate) batches: u64,
}

impl Counters {
    /// Adds what a connection did that is gone.
    pub(crate) fn closed(&self, stats: &quinn::ConnectionStats, moved: Moved) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.sent += stats.udp_tx.bytes;
        closed.received += stats.udp_rx.bytes;
        closed.moved.egress += moved.egress;
        closed.moved.ingress += moved.ingress;
        closed.datagrams += stats.udp_tx.datagrams;
        closed.batches += stats.udp_tx.ios;
    }

    /// What connections did that are gone.
    pub(crate) fn of_closed(&self) -> Closed {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection or a request that was turned away.
    pub(crate) fn refused(&self, why: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
    }

    /// What was turned away, by reason.
    pub(crate) fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a connection was turned away after cryptography was spent on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// TLS failed: a certificate that is not to be believed, most often.
    Handshake,
    /// The certificate names nobody of this herd.
    Peer,
    /// The node has as many connections as it may.
    TooMany,
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Peer => "peer",
            Self::TooMany => "too-many-of-node",
        }
    }
}

/// Refusals written down a second; a flood of them must not fill the disk. The rest are counted.
const WRITTEN_PER_SECOND: u32 = 10;

/// The audit log of refusals and disownings.
pub(crate) struct Audit {
    env: Env,
    second: Mutex<Second>,
}

struct Second {
    began: Instant,
    written: u32,
    left_out: u64,
}

impl Audit {
    pub(crate) fn new(env: &Env) -> Self {
        let second = Second { began: env.now(), written: 0, left_out: 0 };
        Self { env: env.clone(), second: Mutex::new(second) }
    }

    /// Counts a refusal, and writes it down unless many came within this second.
    pub(crate) fn refused(&self, counters: &Counters, remote: SocketAddr, why: Why, reason: &str) {
        counters.refused(why.name());
        if why != Why::TooMany {
            counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(left_out) = self.turn() {
            tracing::warn!(target: "rdcq::audit", %remote, reason, left_out, "connection refused");
        }
    }

    /// Writes down that the connection of a peer was closed that is not believed any more, unless many were within this second.
    pub(crate) fn closed(&self, peer: &Identity, remote: SocketAddr, reason: &str) {
        if let Some(left_out) = self.turn() {
            tracing::warn!(target: "rdcq::audit", %peer, %remote, reason, left_out, "connection closed");
        }
    }

    /// Whether this one is written down: with how many were left out since the last one that was.
    fn turn(&self) -> Option<u64> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.env.now();
        if now.saturating_duration_since(second.began) >= Duration::from_secs(1) {
            (second.began, second.written) = (now, 0);
        }
        if second.written >= WRITTEN_PER_SECOND {
            second.left_out += 1;
            return None;
        }
        second.written += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use rdcq_env::SimDisk;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_is_counted_and_mostly_not_written_down() {
        let audit = Audit::new(&Env::simulated(1, SimDisk::new()));
        let written = (0..1000).filter(|_| audit.turn().is_some()).count();
        assert_eq!(written, WRITTEN_PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(audit.turn(), Some(1000 - u64::from(WRITTEN_PER_SECOND)));
        assert_eq!(audit.turn(), Some(0));
    }
}
