//! Who has or seeks what, until it is forgotten.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;
use rdcq_swarm::{AcquaintSettings, Acquaintances, seek_again};
use rdcq_wire::message::Neighbour;
use rdcq_wire::{Digest, NodeId, Role};
use tokio::time::Instant;

/// Announcements in force. Pure: time and randomness are arguments.
pub(crate) struct Registry {
    ttl: Duration,
    contents: BTreeMap<Digest, Content>,
    entries: usize,
    /// How many of them are whose.
    of_each: BTreeMap<NodeId, usize>,
    /// When those whose time is over were last looked for everywhere.
    swept: Option<Instant>,
}

/// Who has or seeks one content.
struct Content {
    nodes: BTreeMap<NodeId, Entry>,
    acquaintances: Acquaintances<NodeId>,
    /// When those whose time is over are looked for again.
    sweep_at: Instant,
}

struct Entry {
    addr: SocketAddr,
    until: Instant,
    /// Since when it seeks the content, if it does.
    sought_since: Option<Instant>,
}

/// What an agent that is noted does with a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// It pulls it, and serves what it has of it.
    Seeks,
    /// It has it whole and serves it.
    Seeds,
}

/// What the registry did with what an agent has or seeks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It is in force.
    Yes,
    /// The registry is full.
    Full,
}

impl Registry {
    /// Most announcements in force at once: a thousand contents on a thousand hosts, in less than 1 GB if all seek, and about 2 GB
    /// if each is of another content.
    pub(crate) const MAX_ENTRIES: usize = 1_000_000;
    /// Most of one agent: one that says that it has everything leaves room to the others.
    pub(crate) const MAX_OF_ONE: usize = 50_000;
    /// How often, in the time for which an announcement holds, it is looked whose time is over.
    const SWEEPS: u32 = 16;

    pub(crate) const fn new(ttl: Duration) -> Self {
        Self { ttl, contents: BTreeMap::new(), entries: 0, of_each: BTreeMap::new(), swept: None }
    }

    /// Notes that an agent has or seeks a content.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        digest: Digest,
        node: &NodeId,
        addr: SocketAddr,
        does: Does,
    ) -> Noted {
        self.sweep(now, &digest);
        let known = self.contents.get(&digest).is_some_and(|content| content.nodes.contains_key(node));
        if !known && self.is_full_for(node) {
            // Each look is at all of them.
            if self.swept.is_none_or(|swept| now >= swept + self.ttl / Self::SWEEPS) {
                self.swept = Some(now);
                self.forget_all_expired(now);
            }
            if self.is_full_for(node) {
                return Noted::Full;
            }
        }
        let content = self.contents.entry(digest).or_insert_with(|| Content::new(now));
        let before = content.nodes.get(node).and_then(|entry| entry.sought_since);
        let sought_since = (does == Does::Seeks).then(|| before.unwrap_or(now));
        let entry = Entry { addr, until: now + self.ttl, sought_since };
        if content.nodes.insert(node.clone(), entry).is_none() {
            content.acquaintances.joined(node);
            self.entries += 1;
            *self.of_each.entry(node.clone()).or_default() += 1;
        }
        Noted::Yes
    }

    /// How soon one that seeks a content should ask again.
    pub(crate) fn seek_again(&self, now: Instant, digest: &Digest, node: &NodeId) -> Duration {
        let entry = self.contents.get(digest).and_then(|content| content.nodes.get(node));
        // Who is not noted, as there is no room, has no reason to ask often.
        let since = entry.and_then(|entry| entry.sought_since);
        let latest = self.announce_again();
        since.map_or(latest, |since| seek_again(now - since, latest))
    }

    /// How soon what is here whole should be announced again: often enough that one announcement may be lost.
    pub(crate) fn announce_again(&self) -> Duration {
        self.ttl / 3
    }

    /// The agents that a seeking one should know: if it is noted the same as before, and others if they are too few; if not, some by
    /// lot.
    pub(crate) fn neighbours(
        &mut self,
        now: Instant,
        digest: &Digest,
        node: &NodeId,
        rng: &mut impl Rng,
    ) -> Vec<Neighbour> {
        let Some(Content { nodes, acquaintances, .. }) = self.contents.get_mut(digest) else {
            return Vec::new();
        };
        let by_lot: Vec<NodeId>;
        let known = if nodes.contains_key(node) {
            acquaintances.seeks(node, rng)
        } else {
            // There was no room to note it.
            let wanted = AcquaintSettings::default().wanted(nodes.len());
            by_lot = nodes.keys().cloned().choose_multiple(rng, wanted);
            &by_lot
        };
        let there = known.iter().filter_map(|other| Some((nodes.get(other)?, other)));
        let there = there.filter(|(entry, _)| entry.until > now);
        let neighbour = |(entry, other): (&Entry, &NodeId)| Neighbour {
            node: Some(other.clone()),
            role: Role::Agent,
            addr: entry.addr,
        };
        there.map(neighbour).collect()
    }

    /// Everybody who has or seeks the content.
    pub(crate) fn holders(
        &self,
        now: Instant,
        digest: &Digest,
    ) -> impl Iterator<Item = (&NodeId, SocketAddr)> {
        let nodes = self.contents.get(digest).into_iter().flat_map(|content| &content.nodes);
        nodes.filter(move |(_, entry)| entry.until > now).map(|(node, entry)| (node, entry.addr))
    }

    /// An agent has no part of a content any longer.
    pub(crate) fn forget(&mut self, digest: &Digest, node: &NodeId) {
        let Some(content) = self.contents.get_mut(digest) else { return };
        if content.nodes.remove(node).is_some() {
            content.acquaintances.left(node);
            Self::count_off(&mut self.entries, &mut self.of_each, node);
        }
        if content.nodes.is_empty() {
            self.contents.remove(digest);
        }
    }

    fn is_full_for(&self, node: &NodeId) -> bool {
        self.entries >= Self::MAX_ENTRIES
            || self.of_each.get(node).is_some_and(|count| *count >= Self::MAX_OF_ONE)
    }

    fn count_off(entries: &mut usize, of_each: &mut BTreeMap<NodeId, usize>, node: &NodeId) {
        *entries -= 1;
        if let Some(count) = of_each.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                of_each.remove(node);
            }
        }
    }

    /// Forgets whose time is over, now and then: each look is at all of them.
    fn sweep(&mut self, now: Instant, digest: &Digest) {
        let ttl = self.ttl;
        let due = self.contents.get_mut(digest).filter(|content| content.sweep_at <= now);
        if let Some(content) = due {
            content.sweep_at = now + ttl / Self::SWEEPS;
            self.forget_expired(now, digest);
        }
    }

    fn forget_expired(&mut self, now: Instant, digest: &Digest) {
        let Some(content) = self.contents.get_mut(digest) else { return };
        for node in content.forget_expired(now) {
            Self::count_off(&mut self.entries, &mut self.of_each, &node);
        }
        if content.nodes.is_empty() {
            self.contents.remove(digest);
        }
    }

    fn forget_all_expired(&mut self, now: Instant) {
        let digests: Vec<Digest> = self.contents.keys().copied().collect();
        digests.iter().for_each(|digest| self.forget_expired(now, digest));
    }
}

impl Content {
    fn new(now: Instant) -> Self {
        let acquaintances = Acquaintances::new(AcquaintSettings::default());
        Self { nodes: BTreeMap::new(), acquaintances, sweep_at: now }
    }

    /// Returns who was forgotten.
    fn forget_expired(&mut self, now: Instant) -> Vec<NodeId> {
        let expired: Vec<NodeId> =
            self.nodes.iter().filter(|(_, entry)| entry.until <= now).map(|(node, _)| node.clone()).collect();
        for node in &expired {
            self.nodes.remove(node);
            self.acquaintances.left(node);
        }
        expired
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

    /// So many seek it.
    fn herd(now: Instant, digest: Digest, count: u32) -> Registry {
        let mut registry = Registry::new(TTL);
        for number in 1..=count {
            let (node, addr) = node(number);
            registry.note(now, digest, &node, addr, Does::Seeks);
        }
        registry
    }

    fn check(registry: &mut Registry, now: Instant, digest: &Digest, asker: u32, others: &[u32]) {
        let mut rng = StdRng::seed_from_u64(1);
        let found = registry.neighbours(now, digest, &node(asker).0, &mut rng);
        let mut ports: Vec<u32> = found.iter().map(|neighbour| neighbour.addr.port().into()).collect();
        ports.sort_unstable();
        assert_eq!(ports, others, "asked by n{asker}");
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_learns_of_everybody_else_until_their_time_is_over() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = herd(now, digest, 3);
        check(&mut registry, now, &digest, 1, &[2, 3]);
        check(&mut registry, now, &Digest::of(b"y"), 1, &[]);
        let (two, addr) = node(2);
        registry.note(now + TTL / 2, digest, &two, addr, Does::Seeds);
        check(&mut registry, now + TTL, &digest, 1, &[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_seeks_for_long_asks_less_often_until_it_begins_anew() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = herd(now, digest, 1);
        let (one, addr) = node(1);
        let mut again = |after: u64, does| {
            let at = now + Duration::from_secs(after);
            registry.note(at, digest, &one, addr, does);
            registry.seek_again(at, &digest, &one).as_millis()
        };
        let asked = [0, 4, 12].map(|after| again(after, Does::Seeks));
        assert_eq!(asked, [500, 2000, TTL.as_millis() / 3]);
        again(13, Does::Seeds);
        assert_eq!(again(14, Does::Seeks), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn one_agent_leaves_room_to_the_others() {
        let now = Instant::now();
        let mut registry = Registry::new(TTL);
        let [(one, addr), (two, other)] = [1, 2].map(node);
        let digest = |number: usize| {
            let mut bytes = [0; Digest::LEN];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            Digest::from_bytes(bytes)
        };
        for number in 0..Registry::MAX_OF_ONE {
            assert_eq!(registry.note(now, digest(number), &one, addr, Does::Seeds), Noted::Yes);
        }
        let more = digest(Registry::MAX_OF_ONE);
        assert_eq!(registry.note(now, more, &one, addr, Does::Seeks), Noted::Full);
        assert_eq!(registry.seek_again(now, &more, &one), TTL / 3, "it asks no more often for that");
        assert_eq!(
            registry.note(now, digest(0), &one, addr, Does::Seeds),
            Noted::Yes,
            "what is in force stays so"
        );
        assert_eq!(registry.note(now, more, &two, other, Does::Seeks), Noted::Yes);
        registry.forget(&digest(0), &one);
        assert_eq!(registry.note(now, more, &one, addr, Does::Seeks), Noted::Yes);
        // Their time is over.
        assert_eq!(registry.note(now + TTL, digest(0), &one, addr, Does::Seeds), Noted::Yes);
        assert_eq!((registry.of_each[&one], registry.entries), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_is_forgotten_at_once() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = Registry::new(TTL);
        let (one, addr) = node(1);
        registry.note(now, digest, &one, addr, Does::Seeds);
        registry.forget(&digest, &one);
        check(&mut registry, now, &digest, 2, &[]);
        assert_eq!(registry.entries, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_only_some_are_named_and_others_to_others() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = herd(now, digest, 200);
        let mut rng = StdRng::seed_from_u64(1);
        let few = AcquaintSettings::default();
        let first = registry.neighbours(now, &digest, &node(1).0, &mut rng);
        assert_eq!(first.len(), few.at_first(200));
        let second = registry.neighbours(now, &digest, &node(1).0, &mut rng);
        assert_eq!(second.len(), few.wanted(200));
        assert_eq!(first, second[..first.len()], "whom it has turned to already");
        assert_ne!(first, registry.neighbours(now, &digest, &node(2).0, &mut rng));
        // Who is named hears of it, too.
        let named = first[0].node.clone().unwrap();
        let back = registry.neighbours(now, &digest, &named, &mut rng);
        assert!(back.iter().any(|other| other.node.as_ref() == Some(&node(1).0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_noted_is_named_some_by_lot_and_who_is_forgotten_is_named_to_nobody() {
        let (now, digest) = (Instant::now(), Digest::of(b"x"));
        let mut registry = herd(now, digest, 40);
        let mut rng = StdRng::seed_from_u64(1);
        let by_lot = registry.neighbours(now, &digest, &node(41).0, &mut rng);
        assert_eq!(by_lot.len(), AcquaintSettings::default().wanted(40), "who is not noted asks some, too");
        let later = now + TTL;
        for (at, number) in (31..=40).map(|number| (now + TTL / 2, number)).chain([(later, 31)]) {
            let (node, addr) = node(number);
            registry.note(at, digest, &node, addr, Does::Seeks);
        }
        assert_eq!((registry.entries, registry.contents[&digest].nodes.len()), (10, 10));
        for number in 31..=40 {
            let [_, found] = [(); 2].map(|()| registry.neighbours(later, &digest, &node(number).0, &mut rng));
            assert!(found.len() >= 8 && found.iter().all(|other| other.addr.port() > 30), "{found:?}");
        }
    }
}
