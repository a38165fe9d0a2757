//! The neighbours by their number.

use std::time::Duration;

use crate::event::{PeerId, PeerKind};
use crate::peer::Peer;
use crate::settings::WindowSettings;
use crate::time::{NEVER, Time};

/// The neighbours that are not banned, in the order of their numbers. There are a few dozen, and nearly every event looks
/// one up: a search among numbers that lie side by side is faster than a walk from node to node of a tree.
#[derive(Debug)]
pub(crate) struct Peers {
    limits: Limits,
    ids: Vec<PeerId>,
    peers: Vec<Peer>,
    /// The positions of the peers at which a search for something to ask is worthwhile: something has changed since the
    /// last one that found nothing.
    worthwhile: Vec<u64>,
    /// Positions of origins.
    origins: Vec<usize>,
    /// What is looked at after every event, side by side as the peers themselves are not.
    glances: Vec<Glance>,
    /// Positions of those whose glance may be wrong.
    changed: Vec<u64>,
}

/// What holds for all peers.
#[derive(Debug)]
pub(crate) struct Limits {
    /// The silence that is borne.
    pub(crate) silence: Duration,
    /// What may be in flight from an agent.
    pub(crate) agent: WindowSettings,
    /// The bytes of a usual piece.
    pub(crate) piece: u64,
}

#[derive(Debug, Clone, Copy)]
struct Glance {
    /// When something about the peer is due.
    due: Time,
    /// How full an agent's window is, if a usual piece may be asked of it.
    fill: Option<u64>,
}

impl Peers {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            limits,
            ids: Vec::new(),
            peers: Vec::new(),
            worthwhile: Vec::new(),
            origins: Vec::new(),
            glances: Vec::new(),
            changed: Vec::new(),
        }
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.position(id).map(|position| &self.peers[position])
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.position(id).map(|position| {
            self.changed[position / 64] |= 1 << (position % 64);
            &mut self.peers[position]
        })
    }

    pub(crate) fn contains(&self, id: PeerId) -> bool {
        self.position(id).is_some()
    }

    fn position(&self, id: PeerId) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    /// Adds a peer that is not known.
    pub(crate) fn insert(&mut self, id: PeerId, peer: Peer) {
        let Err(position) = self.ids.binary_search(&id) else { return };
        self.ids.insert(position, id);
        self.peers.insert(position, peer);
        self.renumber();
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        if let Some(position) = self.position(id) {
            self.ids.remove(position);
            self.peers.remove(position);
            self.renumber();
        }
    }

    fn renumber(&mut self) {
        let words = self.peers.len().div_ceil(u64::BITS as usize);
        self.worthwhile.resize(words, 0);
        self.glances.resize(self.peers.len(), Glance { due: NEVER, fill: None });
        self.changed.clear();
        self.changed.resize(words, u64::MAX);
        let origins = self.peers.iter().enumerate().filter(|(_, peer)| peer.kind == PeerKind::Origin);
        self.origins = origins.map(|(position, _)| position).collect();
        self.search_again();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.ids.iter().copied().zip(&self.peers)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    pub(crate) fn origins(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.origins.iter().map(|position| (self.ids[*position], &self.peers[*position]))
    }

    fn look_again(&mut self) {
        for (word, index) in self.changed.iter_mut().zip(0..) {
            for position in ones(std::mem::take(word), index * 64).take_while(|at| *at < self.peers.len()) {
                let (peer, limits) = (&self.peers[position], &self.limits);
                let is_agent = peer.kind == PeerKind::Agent;
                let fill = if is_agent { peer.fill_with_room(&limits.agent, limits.piece) } else { None };
                self.glances[position] = Glance { due: peer.due(limits.silence).unwrap_or(NEVER), fill };
            }
        }
    }

    /// When something about any peer is due.
    pub(crate) fn earliest_due(&mut self) -> Option<Time> {
        self.look_again();
        self.glances.iter().map(|glance| glance.due).min().filter(|due| *due < NEVER)
    }

    /// The peers about which something is due.
    pub(crate) fn due_by(&mut self, now: Time) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.look_again();
        let due = self.glances.iter().enumerate().filter(move |(_, glance)| glance.due <= now);
        due.map(|(position, _)| (self.ids[position], &self.peers[position]))
    }

    /// The agent with the emptiest window of those at which a search is worthwhile and that may be asked for a usual piece; equal ones
    /// by `lot`.
    pub(crate) fn least_busy_agent(&mut self, lot: u32) -> Option<PeerId> {
        self.look_again();
        let positions = self.worthwhile.iter().zip(0..).flat_map(|(word, index)| ones(*word, index * 64));
        let fills = positions.filter_map(|position| Some((self.glances[position].fill?, self.ids[position])));
        fills.map(|(fill, id)| (fill, id.0 ^ lot, id)).min().map(|(_, _, id)| id)
    }

    /// The origins at which a search is worthwhile.
    pub(crate) fn worthwhile_origins(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        let worthwhile = |at: &&usize| self.worthwhile[**at / 64] & (1 << (**at % 64)) != 0;
        self.origins.iter().filter(worthwhile).map(|at| (self.ids[*at], &self.peers[*at]))
    }

    /// Something to ask may be found at a peer again.
    pub(crate) fn is_worthwhile(&mut self, id: PeerId) {
        if let Some(position) = self.position(id) {
            self.worthwhile[position / 64] |= 1 << (position % 64);
        }
    }

    /// Something to ask may be found at the origins again.
    pub(crate) fn are_worthwhile_origins(&mut self) {
        for position in &self.origins {
            self.worthwhile[position / 64] |= 1 << (position % 64);
        }
    }

    /// Nothing to ask was found at a peer.
    pub(crate) fn is_exhausted(&mut self, id: PeerId) {
        if let Some(position) = self.position(id) {
            self.worthwhile[position / 64] &= !(1 << (position % 64));
        }
    }

    /// What is wanted, or who may be asked, has changed: everyone is worth a search.
    pub(crate) fn search_again(&mut self) {
        self.worthwhile.fill(u64::MAX);
        if let (Some(last), rest @ 1..) = (self.worthwhile.last_mut(), self.peers.len() % 64) {
            *last = u64::MAX >> (64 - rest);
        }
    }

    /// Whether a search is worthwhile at any origin.
    pub(crate) fn any_origin_worthwhile(&self) -> bool {
        self.worthwhile_origins().next().is_some()
    }
}

fn ones(mut word: u64, base: usize) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let low = (word != 0).then(|| base + word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(low)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn what_is_worth_a_search_is_known_by_number_wherever_a_peer_stands() {
        let agent = Settings::default().agent;
        let mut peers = Peers::new(Limits { silence: Duration::from_secs(1), agent, piece: 1 });
        for number in (0..130).rev() {
            let kind = if number == 70 { PeerKind::Origin } else { PeerKind::Agent };
            peers.insert(PeerId(number), Peer::new(kind, 1, Time::default()));
        }
        let agents = |peers: &mut Peers| {
            let mut agents = Vec::new();
            while let Some(id) = peers.least_busy_agent(0) {
                agents.push(id.0);
                peers.is_exhausted(id);
            }
            agents
        };
        assert_eq!(agents(&mut peers).len(), 129);
        assert!(peers.any_origin_worthwhile());
        peers.is_exhausted(PeerId(70));
        assert!(!peers.any_origin_worthwhile());
        peers.is_worthwhile(PeerId(65));
        assert_eq!(agents(&mut peers), [65]);
        peers.is_worthwhile(PeerId(70));
        assert_eq!(peers.worthwhile_origins().map(|(id, _)| id.0).collect::<Vec<_>>(), [70]);
        peers.remove(PeerId(70));
        assert_eq!(agents(&mut peers).len(), 129, "a change of neighbours is worth a search at all");
        assert!(!peers.any_origin_worthwhile() && peers.origins().next().is_none());
    }

    #[test]
    fn what_is_due_of_a_peer_and_how_full_its_window_is_follow_its_changes() {
        let agent = Settings::default().agent;
        let mut peers = Peers::new(Limits { silence: Duration::from_secs(1), agent, piece: 1 });
        (0..3).for_each(|id| peers.insert(PeerId(id), Peer::new(PeerKind::Agent, 1, Time::default())));
        assert_eq!((peers.earliest_due(), peers.least_busy_agent(1)), (None, Some(PeerId(1))));
        let until = Time(Duration::from_secs(5));
        peers.get_mut(PeerId(1)).into_iter().for_each(|peer| peer.pause(until));
        assert_eq!((peers.earliest_due(), peers.least_busy_agent(1)), (Some(until), Some(PeerId(0))));
        assert_eq!(peers.due_by(until).map(|(id, _)| id.0).collect::<Vec<_>>(), [1]);
        peers.remove(PeerId(1));
        assert_eq!((peers.earliest_due(), peers.due_by(until).count()), (None, 0));
    }
}
