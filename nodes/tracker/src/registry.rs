//! Who has or seeks what, until it is forgotten.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;
use rdcq_wire::message::{Goal, Neighbour};
use rdcq_wire::{Digest, NodeId, Role};
use tokio::time::Instant;

/// Announcements in force. Pure: time and randomness are arguments.
pub(crate) struct Registry {
    ttl: Duration,
    contents: BTreeMap<Digest, BTreeMap<NodeId, Entry>>,
    entries: usize,
}

struct Entry {
    addr: SocketAddr,
    until: Instant,
}

/// What the registry did with an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is in force.
    Yes,
    /// The registry is full.
    Full,
}

impl Registry {
    /// Most announcements in force at once: a thousand contents on a thousand hosts, in about 200 MB.
    pub(crate) const MAX_ENTRIES: usize = 1_000_000;
    /// Agents handed out at once. Enough that a piece is rarely more than two steps away among ten thousand.
    pub(crate) const NEIGHBOURS: usize = 32;

    pub(crate) const fn new(ttl: Duration) -> Self {
        Self { ttl, contents: BTreeMap::new(), entries: 0 }
    }

    /// Until when an announcement made now holds.
    pub(crate) const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Notes an announcement, or that one has ended.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        digest: Digest,
        node: &NodeId,
        addr: SocketAddr,
        goal: Goal,
    ) -> Noted {
        self.forget_expired(now, &digest);
        if goal == Goal::Leave {
            self.forget(&digest, node);
            return Noted::Yes;
        }
        let known = self.contents.get(&digest).is_some_and(|nodes| nodes.contains_key(node));
        if !known && self.entries >= Self::MAX_ENTRIES {
            self.forget_all_expired(now);
            if self.entries >= Self::MAX_ENTRIES {
                return Noted::Full;
            }
        }
        let entry = Entry { addr, until: now + self.ttl };
        if self.contents.entry(digest).or_default().insert(node.clone(), entry).is_none() {
            self.entries += 1;
        }
        Noted::Yes
    }

    /// Agents other than `node` that have or seek the content, at random if there are more than fit.
    pub(crate) fn neighbours(
        &self,
        now: Instant,
        digest: &Digest,
        node: &NodeId,
        rng: &mut impl Rng,
    ) -> Vec<Neighbour> {
        let others = self.holders(now, digest).filter(|(other, _)| *other != node);
        let neighbour = |(node, addr): (&NodeId, SocketAddr)| Neighbour {
            node: Some(node.clone()),
            role: Role::Agent,
            addr,
        };
        others.map(neighbour).choose_multiple(rng, Self::NEIGHBOURS)
    }

    /// Everybody who has or seeks the content.
    pub(crate) fn holders(
        &self,
        now: Instant,
        digest: &Digest,
    ) -> impl Iterator<Item = (&NodeId, SocketAddr)> {
        let nodes = self.contents.get(digest).into_iter().flatten();
        nodes.filter(move |(_, entry)| entry.until > now).map(|(node, entry)| (node, entry.addr))
    }

    fn forget(&mut self, digest: &Digest, node: &NodeId) {
        let Some(nodes) = self.contents.get_mut(digest) else { return };
        if nodes.remove(node).is_some() {
            self.entries -= 1;
        }
        if nodes.is_empty() {
            self.contents.remove(digest);
        }
    }

    fn forget_expired(&mut self, now: Instant, digest: &Digest) {
        let Some(nodes) = self.contents.get_mut(digest) else { return };
        let before = nodes.len();
        nodes.retain(|_, entry| entry.until > now);
        self.entries -= before - nodes.len();
        if nodes.is_empty() {
            self.contents.remove(digest);
        }
    }

    fn forget_all_expired(&mut self, now: Instant) {
        let digests: Vec<Digest> = self.contents.keys().copied().collect();
        digests.iter().for_each(|digest| self.forget_expired(now, digest));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn node(number: u32) -> (NodeId, SocketAddr) {
        (
            format!("n{number}").parse().unwrap(),
            SocketAddr::from(([10, 0, 0, 1], u16::try_from(number).unwrap())),
        )
    }

    fn check(registry: &Registry, now: Instant, digest: &Digest, asker: u32, others: &[u32]) {
        let mut rng = StdRng::seed_from_u64(1);
        let found = registry.neighbours(now, digest, &node(asker).0, &mut rng);
        let mut ports: Vec<u32> = found.iter().map(|neighbour| neighbour.addr.port().into()).collect();
        ports.sort_unstable();
        assert_eq!(ports, others, "asked by n{asker}");
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_learns_of_everybody_else_until_their_time_is_over() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = Registry::new(TTL);
        for number in 1..=3 {
            let (node, addr) = node(number);
            registry.note(now, digest, &node, addr, Goal::Seek);
        }
        check(&registry, now, &digest, 1, &[2, 3]);
        check(&registry, now, &Digest::of(b"y"), 1, &[]);
        let (two, addr) = node(2);
        registry.note(now + TTL / 2, digest, &two, addr, Goal::Seed);
        check(&registry, now + TTL, &digest, 1, &[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_forgotten_at_once() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = Registry::new(TTL);
        let (one, addr) = node(1);
        registry.note(now, digest, &one, addr, Goal::Seed);
        registry.note(now, digest, &one, addr, Goal::Leave);
        check(&registry, now, &digest, 2, &[]);
        assert_eq!(registry.entries, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_only_some_are_handed_out_and_not_always_the_same() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = Registry::new(TTL);
        for number in 1..=200 {
            let (node, addr) = node(number);
            registry.note(now, digest, &node, addr, Goal::Seek);
        }
        let mut rng = StdRng::seed_from_u64(1);
        let first = registry.neighbours(now, &digest, &node(1).0, &mut rng);
        let second = registry.neighbours(now, &digest, &node(1).0, &mut rng);
        assert_eq!(first.len(), Registry::NEIGHBOURS);
        assert_ne!(first, second);
    }
}
