//! Peers come, go, fall silent, lie and return.

use std::time::Duration;

use super::Swarm;
use crate::event::{Action, PeerId, PeerKind};
use crate::pace::Pace;
use crate::peer::{Peer, Standing};

/// The longest that a busy peer's wish to be left alone is honoured without asking again.
const LONGEST_BUSY: Duration = Duration::from_secs(30);
/// The shortest, or a peer that asks for no pause at all would be asked without end.
const SHORTEST_BUSY: Duration = Duration::from_millis(5);
/// How long an origin that turns out not to hold a span is left alone: it may still be reading from object storage.
const COLD_ORIGIN: Duration = Duration::from_millis(500);

impl Swarm {
    pub(super) fn peer_joined(&mut self, id: PeerId, kind: PeerKind) {
        if self.banned.contains(&id) {
            return;
        }
        if self.peers.get(id).is_some_and(|peer| peer.kind != kind) {
            self.peer_left(id);
        }
        let was_alone = !self.has_neighbours();
        if self.peers.contains(id) {
            // A connection anew is a sign of life.
            self.revive(id);
        } else {
            self.peers.insert(id, Peer::new(kind, self.pieces.count(), self.now));
            self.usable_agents += u32::from(kind == PeerKind::Agent);
        }
        if was_alone && self.has_neighbours() {
            self.shrink_origin_windows();
        }
    }

    pub(super) fn peer_left(&mut self, id: PeerId) {
        self.cancel_all(id);
        self.discount(id);
        self.peers.remove(id);
        self.peers.search_again();
    }

    pub(super) fn ban(&mut self, id: PeerId) {
        self.peer_left(id);
        if self.banned.insert(id) {
            self.outbox.push_back(Action::Ban { peer: id });
        }
    }

    pub(super) fn peer_busy(&mut self, id: PeerId, retry_after: Duration) {
        let until = self.now + retry_after.clamp(SHORTEST_BUSY, LONGEST_BUSY);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.heard = self.now;
        peer.pace.halve();
        peer.pause(until);
    }

    pub(super) fn peer_lost(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.lost(self.now);
        }
    }

    /// A peer does not hold what it was asked for: an agent until it announces it again, an origin for a moment.
    pub(super) fn peer_lacks(&mut self, id: PeerId, pieces: &[u32]) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.heard = self.now;
        if peer.kind == PeerKind::Origin {
            return peer.pause(self.now + COLD_ORIGIN);
        }
        for piece in pieces.iter().filter(|piece| peer.has.contains(**piece)) {
            if peer.is_usable() {
                self.pieces.lose_holder(*piece);
            }
        }
        pieces.iter().for_each(|piece| peer.has.remove(*piece));
        self.peers.search_again();
    }

    pub(super) fn give_up_silent_peers(&mut self) {
        let is_silent =
            |peer: &Peer| peer.silent_at(self.settings.silence).is_some_and(|due| due <= self.now);
        let silent: Vec<PeerId> =
            self.peers.due_by(self.now).filter(|(_, peer)| is_silent(peer)).map(|(id, _)| id).collect();
        for id in silent {
            self.cancel_all(id);
            self.discount(id);
            let until = self.now + self.settings.give_up_for;
            if let Some(peer) = self.peers.get_mut(id) {
                peer.give_up(until);
            }
            self.outbox.push_back(Action::GiveUp { peer: id });
        }
    }

    pub(super) fn end_pauses(&mut self) {
        let due: Vec<PeerId> = self
            .peers
            .due_by(self.now)
            .filter(|(_, peer)| peer.rests_until().is_some_and(|until| until <= self.now))
            .map(|(id, _)| id)
            .collect();
        for id in due {
            // An agent that did deliver may have been behind our own slow link; once, or those that hang would be asked in turn
            // for ever, and nobody else.
            let may_return = |peer: &Peer| peer.kind == PeerKind::Agent && peer.has_delivered;
            let may_return = self.peers.get(id).is_some_and(may_return) || self.is_only_hope(id);
            let Some(peer) = self.peers.get_mut(id) else { continue };
            match peer.standing {
                Standing::Good => {}
                Standing::Pausing { .. } => peer.standing = Standing::Good,
                Standing::GivenUp { .. } if may_return => self.revive(id),
                Standing::GivenUp { .. } => {
                    peer.standing = Standing::GivenUp { until: self.now + self.settings.give_up_for };
                }
            }
        }
    }

    /// Whether a peer that was given up has a wanted piece that no usable peer has. An origin has what it never told of,
    /// too.
    fn is_only_hope(&self, id: PeerId) -> bool {
        let has_origin = self.peers.origins().any(|(_, origin)| origin.is_usable());
        let holds = |peer: &Peer| match peer.kind {
            PeerKind::Origin => self.pieces.any_orphan(self.pieces.all()),
            PeerKind::Agent => self.pieces.any_orphan(&peer.has),
        };
        !has_origin && self.peers.get(id).is_some_and(holds)
    }

    /// A peer that was given up may be asked again; what was measured of it no longer counts.
    fn revive(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.is_usable()) else { return };
        peer.standing = Standing::Good;
        peer.pace = Pace::new(self.now);
        if peer.kind == PeerKind::Agent {
            peer.has.iter().for_each(|piece| self.pieces.gain_holder(piece));
            self.usable_agents += 1;
        }
        self.peers.search_again();
    }

    fn cancel_all(&mut self, id: PeerId) {
        let open = self.peers.get(id).map(|peer| peer.open.clone()).unwrap_or_default();
        open.into_iter().for_each(|request| self.cancel(request));
    }

    /// What a peer holds no longer counts as held.
    fn discount(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if peer.kind == PeerKind::Agent && peer.is_usable() {
            peer.has.iter().for_each(|piece| self.pieces.lose_holder(piece));
            self.usable_agents -= 1;
        }
    }
}
