//! What a download has cost so far.

use std::collections::BTreeMap;

use crate::event::{PeerId, PeerKind};

/// Whole, verified pieces by where they came from, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// From origins.
    pub origin_bytes: u64,
    /// From agents.
    pub agent_bytes: u64,
    /// From requests that had ended before the piece was reported, so that the sender is not known.
    pub late_bytes: u64,
    /// Brought a second time; contained in the numbers above.
    pub duplicate_bytes: u64,
    /// From each peer that brought anything, by its number.
    pub peer_bytes: BTreeMap<PeerId, u64>,
}

impl Report {
    pub(crate) fn delivered(&mut self, peer: PeerId, kind: PeerKind, bytes: u32) {
        let bytes = u64::from(bytes);
        match kind {
            PeerKind::Origin => self.origin_bytes += bytes,
            PeerKind::Agent => self.agent_bytes += bytes,
        }
        *self.peer_bytes.entry(peer).or_default() += bytes;
    }

    pub(crate) fn late(&mut self, bytes: u32) {
        self.late_bytes += u64::from(bytes);
    }

    pub(crate) fn duplicate(&mut self, bytes: u32) {
        self.duplicate_bytes += u64::from(bytes);
    }
}
