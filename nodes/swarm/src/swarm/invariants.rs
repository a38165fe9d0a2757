//! What holds between any two calls.

use super::Swarm;
use crate::event::PeerKind;

/// Larger blobs are checked in part, or a check after every call would take far longer than the call.
const CHECKED_PIECES: u32 = 512;
/// With more requests open, their sums are not checked, for the same reason.
const CHECKED_REQUESTS: usize = 256;

impl Swarm {
    /// Asserts, in builds with debug assertions, that the parts of the state agree.
    pub(super) fn check(&self) {
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
    }

    /// Asserts that the parts of the state agree and no window is exceeded; of a large state only a part.
    ///
    /// # Panics
    ///
    /// If they do not, or one is, which no sequence of events must bring about.
    pub fn assert_invariants(&self) {
        if self.requests.len() <= CHECKED_REQUESTS {
            self.check_requests();
        }
        if self.pieces.count() <= CHECKED_PIECES {
            assert!(self.pieces.is_consistent(), "a piece is wanted and verified or in flight");
        }
    }

    fn check_requests(&self) {
        let mut open = 0;
        let agents = || self.peers.values().filter(|peer| peer.kind == PeerKind::Agent);
        assert_eq!(agents().filter(|peer| peer.is_usable()).count(), self.usable_agents as usize);
        assert_eq!(agents().map(|peer| peer.in_flight_bytes).sum::<u64>(), self.agents_in_flight);
        for (id, peer) in self.peers.iter() {
            let requests = peer.open.iter().filter_map(|request| self.requests.get(*request));
            let pending = requests.inspect(|request| assert_eq!(request.peer, id)).flat_map(|r| &r.pending);
            let bytes: u64 = pending.map(|piece| u64::from(self.pieces.length(*piece))).sum();
            assert_eq!(bytes, peer.in_flight_bytes, "{id:?}'s bytes in flight are those of its requests");
            assert!(peer.is_usable() || peer.open.is_empty(), "{id:?} was given up and owes a request");
            assert!(peer.in_flight_bytes <= peer.allowed_bytes, "{id:?}'s window is exceeded");
            assert!(!self.banned.contains(&id), "{id:?} is banned and a peer");
            open += peer.open.len();
        }
        let allowed = self.agents_allowed;
        assert!(self.agents_in_flight <= allowed, "the window of all agents is exceeded");
        assert_eq!(open, self.requests.len(), "every request is some peer's");
    }
}
