//! The neighbours by their number.

use crate::event::{PeerId, PeerKind};
use crate::peer::Peer;

/// The neighbours that are not banned, in the order of their numbers. There are a few dozen, and nearly every event looks
/// one up: a search among numbers that lie side by side is faster than a walk from node to node of a tree.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    ids: Vec<PeerId>,
    peers: Vec<Peer>,
    /// The positions of the peers at which a search for something to ask is worthwhile: something has changed since the
    /// last one that found nothing.
    worthwhile: Vec<u64>,
    /// Positions of origins.
    origins: Vec<usize>,
}

impl Peers {
    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.position(id).map(|position| &self.peers[position])
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.position(id).map(|position| &mut self.peers[position])
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
        self.worthwhile.resize(self.peers.len().div_ceil(u64::BITS as usize), 0);
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

    /// The peers of a kind at which a search is worthwhile.
    pub(crate) fn worthwhile(&self, kind: PeerKind) -> impl Iterator<Item = (PeerId, &Peer)> {
        let positions = self.worthwhile.iter().zip(0..).flat_map(|(word, index)| ones(*word, index * 64));
        let peers = positions.map(|position| (self.ids[position], &self.peers[position]));
        peers.filter(move |(_, peer)| peer.kind == kind)
    }

    /// Whether a search is worthwhile at any origin.
    pub(crate) fn any_origin_worthwhile(&self) -> bool {
        self.origins.iter().any(|position| self.worthwhile[position / 64] & (1 << (position % 64)) != 0)
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
    use crate::time::Time;

    #[test]
    fn what_is_worth_a_search_is_known_by_number_wherever_a_peer_stands() {
        let mut peers = Peers::default();
        for number in (0..130).rev() {
            let kind = if number == 70 { PeerKind::Origin } else { PeerKind::Agent };
            peers.insert(PeerId(number), Peer::new(kind, 1, Time::default()));
        }
        let worthwhile = |peers: &Peers, kind| peers.worthwhile(kind).map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(worthwhile(&peers, PeerKind::Agent).len(), 129);
        (0..130).filter(|number| *number != 65).for_each(|number| peers.is_exhausted(PeerId(number)));
        assert_eq!(worthwhile(&peers, PeerKind::Agent), [65]);
        assert!(!peers.any_origin_worthwhile());
        peers.is_worthwhile(PeerId(70));
        assert_eq!(worthwhile(&peers, PeerKind::Origin), [70]);
        assert!(peers.any_origin_worthwhile());
        peers.remove(PeerId(70));
        assert_eq!(
            worthwhile(&peers, PeerKind::Agent).len(),
            129,
            "a change of neighbours is worth a search at all"
        );
        assert!(!peers.any_origin_worthwhile() && peers.origins().next().is_none());
    }
}
