//! Who is granted how much, and when.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdcq_wire::{ByteRate, Class, NodeId};

use crate::bucket::{BATCH, Bucket};
use crate::guard::Guard;
use crate::limits::Limits;
use crate::turns::Turns;

/// For how long a class that has had more than its guaranteed minimum has none to claim when others take its share.
const MEMORY: Duration = Duration::from_millis(50);

/// The longest that a rate makes up for what was moved beside what was granted.
const MOST_DEBT: Duration = Duration::from_secs(2);

/// Quanta by which a class's virtual time may be ahead of that of the others: one that had its minimum for hours must not
/// wait for hours when that is taken away.
const LEAD: u64 = 8;

/// Quanta by which it may be behind when it comes back: a class whose streams all have their grants is gone only until
/// they have used them, and must not lose its turn for that.
const CREDIT: u64 = 1;

/// What virtual times of classes are multiplied with, so that dividing them by weights loses nothing that matters.
const WEIGHT: u128 = 1 << 10;

/// A node at the other end, while it is known to an arbiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u64);

/// A stream of a peer that asks for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u64);

/// What a stream may move now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Which stream.
    pub stream: StreamId,
    /// At least 1, and at most what it asked for.
    pub bytes: u64,
}

/// What was moved beside or instead of what was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// With whom.
    pub peer: PeerId,
    /// For what.
    pub class: Class,
    /// More than was granted: headers, what was sent twice, control. Below zero it was less.
    pub bytes: i64,
}

/// Shares a node's bandwidth in one direction. Times are those since an arbitrary start that is the same for all calls.
#[derive(Debug)]
pub struct Arbiter {
    limits: Limits,
    node: Option<Bucket>,
    guard: Option<Guard>,
    /// When the guard lets something pass again.
    guarded_until: Duration,
    classes: BTreeMap<Class, Share>,
    /// Virtual time of the class that was furthest behind at the last grant.
    turn: u128,
    peers: BTreeMap<PeerId, Peer>,
    names: BTreeMap<NodeId, PeerId>,
    streams: BTreeMap<StreamId, Stream>,
    /// How many of them want something.
    waiting: u64,
    /// Peers that have used up their own rate, by when it is there again.
    resting: BTreeSet<(Duration, PeerId)>,
    last_id: u64,
}

/// A class's.
#[derive(Debug)]
struct Share {
    minimum: Option<Bucket>,
    ceiling: Option<Bucket>,
    /// Virtual time, in bytes by weight.
    turn: u128,
    peers: Turns<PeerId>,
}

#[derive(Debug)]
struct Peer {
    name: NodeId,
    /// How many use it.
    users: usize,
    own: Option<Bucket>,
    /// Until when it rests.
    resting: Option<Duration>,
    streams: BTreeMap<Class, Turns<StreamId>>,
}

#[derive(Debug)]
struct Stream {
    peer: PeerId,
    class: Class,
    wanted: u64,
}

impl Arbiter {
    /// One that keeps `limits`.
    pub fn new(limits: Limits, now: Duration) -> Self {
        let share = |class| {
            let share = Share { minimum: None, ceiling: None, turn: 0, peers: Turns::default() };
            (class, share)
        };
        let mut arbiter = Self {
            limits: Limits::default(),
            node: None,
            guard: None,
            guarded_until: Duration::ZERO,
            classes: Class::ALL.into_iter().map(share).collect(),
            turn: 0,
            peers: BTreeMap::new(),
            names: BTreeMap::new(),
            streams: BTreeMap::new(),
            waiting: 0,
            resting: BTreeSet::new(),
            last_id: 0,
        };
        arbiter.set_limits(limits, now);
        arbiter
    }

    /// The limits that are kept.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Keeps other limits from now on. What may be used now stays; a limit that was not there begins with nothing.
    pub fn set_limits(&mut self, limits: Limits, now: Duration) {
        change(&mut self.node, limits.node.rate(), now);
        self.guarded_until = Duration::ZERO;
        match (&mut self.guard, limits.node.rate()) {
            (Some(guard), Some(rate)) => guard.set_rate(rate, now),
            (_, rate) => self.guard = rate.map(|rate| Guard::new(rate, now)),
        }
        for (class, share) in &mut self.classes {
            let of = limits.classes.of(*class);
            change(&mut share.minimum, of.minimum, now);
            change(&mut share.ceiling, of.ceiling.rate(), now);
        }
        self.limits = limits;
        // Whoever rests is looked at anew.
        let peers: Vec<_> = self.peers.keys().copied().collect();
        for id in peers {
            let peer = self.peers.get_mut(&id).expect("its key was just there");
            let own = self.limits.peers.get(&peer.name).and_then(|limit| limit.rate());
            change(&mut peer.own, own, now);
            self.end_rest(id);
        }
    }

    /// Makes a peer known, or known once more.
    pub fn join(&mut self, name: &NodeId, now: Duration) -> PeerId {
        let id = *self.names.entry(name.clone()).or_insert_with(|| {
            self.last_id += 1;
            PeerId(self.last_id)
        });
        let own = self.limits.peers.get(name).and_then(|limit| limit.rate());
        let peer = self.peers.entry(id).or_insert_with(|| Peer {
            name: name.clone(),
            users: 0,
            own: own.map(|rate| Bucket::new(rate, now)),
            resting: None,
            streams: BTreeMap::new(),
        });
        peer.users += 1;
        id
    }

    /// Undoes one [`Self::join`]. After the last, the peer and its streams are forgotten.
    pub fn leave(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.users -= 1;
        if peer.users > 0 {
            return;
        }
        self.end_rest(id);
        if let Some(peer) = self.peers.remove(&id) {
            self.names.remove(&peer.name);
        }
        self.classes.values_mut().for_each(|share| share.peers.leave(id));
        self.streams.retain(|_, stream| stream.peer != id);
        self.waiting = self.streams.values().filter(|stream| stream.wanted > 0).count() as u64;
    }

    /// A stream that will ask for bytes. None if the peer is not known.
    pub fn open(&mut self, peer: PeerId, class: Class) -> Option<StreamId> {
        self.peers.get(&peer)?;
        self.last_id += 1;
        let id = StreamId(self.last_id);
        self.streams.insert(id, Stream { peer, class, wanted: 0 });
        Some(id)
    }

    /// Forgets a stream.
    pub fn close(&mut self, id: StreamId) {
        let Some(Stream { peer, class, wanted }) = self.streams.remove(&id) else { return };
        self.waiting -= u64::from(wanted > 0);
        let Some(streams) = self.peers.get_mut(&peer).and_then(|peer| peer.streams.get_mut(&class)) else {
            return;
        };
        streams.leave(id);
        if streams.is_empty() {
            self.share(class).peers.step_aside(peer);
        }
    }

    /// Says how much a stream wants to move now, instead of what it wanted before.
    pub fn ask(&mut self, id: StreamId, bytes: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        self.waiting = self.waiting + u64::from(bytes > 0) - u64::from(stream.wanted > 0);
        stream.wanted = bytes;
        let (peer, class) = (stream.peer, stream.class);
        self.queue(id, peer, class);
    }

    /// Puts a stream, its peer and its class in line, or out of it if it wants nothing.
    fn queue(&mut self, id: StreamId, peer_id: PeerId, class: Class) {
        let wants = self.streams.get(&id).is_some_and(|stream| stream.wanted > 0);
        let Some(peer) = self.peers.get_mut(&peer_id) else { return };
        let rests = peer.resting.is_some();
        let streams = peer.streams.entry(class).or_default();
        if wants {
            streams.enter(id);
        } else {
            streams.step_aside(id);
        }
        let idle = streams.is_empty();
        let turn = self.turn.saturating_sub(self.quanta(CREDIT));
        let share = self.share(class);
        if idle {
            share.peers.step_aside(peer_id);
        } else if !rests {
            if share.peers.is_empty() {
                share.turn = share.turn.max(turn);
            }
            share.peers.enter(peer_id);
        }
    }

    /// The next grant, if one is due. It is used up: what is not moved has to be told as a [`Correction`].
    pub fn poll_grant(&mut self, now: Duration) -> Option<Grant> {
        self.wake(now);
        loop {
            if !ready(&mut self.node, now) {
                return None;
            }
            if let Some(at) = self.guard.as_mut().and_then(|guard| guard.ready_at(now)) {
                self.guarded_until = at;
                return None;
            }
            let class = self.next_class(now)?;
            let peer_id = self.share(class).peers.next().expect("a class that is next has a peer that waits");
            let peer = self.peers.get_mut(&peer_id).expect("who waits is known");
            if !ready(&mut peer.own, now) {
                self.rest(peer_id);
                continue;
            }
            let id = peer
                .streams
                .get(&class)
                .and_then(Turns::next)
                .expect("a peer that waits has a stream that does");
            return Some(self.grant(id, peer_id, class, now));
        }
    }

    /// When [`Self::poll_grant`] may have a grant, if nothing changes before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let waits = |share: &&Share| !share.peers.is_empty();
        let shares = self.classes.values().filter(waits).map(|share| ready_at(share.ceiling.as_ref()));
        let resting = self.resting.first().map(|(until, _)| *until);
        let soonest = shares.chain(resting).min()?;
        Some(soonest.max(ready_at(self.node.as_ref())).max(self.guarded_until))
    }

    /// Charges what was moved beside what was granted, or gives back what was not moved.
    pub fn correct(&mut self, correction: Correction, now: Duration) {
        let Correction { peer, class, bytes } = correction;
        self.charge(peer, class, bytes, now);
        self.forgive(peer, class);
        if let Ok(bytes) = u64::try_from(bytes) {
            self.share(class).peers.served(peer, bytes);
        } else if let Some(guard) = &mut self.guard {
            guard.give_back(bytes.unsigned_abs());
        }
    }

    /// The class that has had less than its minimum, or else the one that is furthest behind by weight.
    fn next_class(&mut self, now: Duration) -> Option<Class> {
        let mut next: Option<(bool, u128, Class)> = None;
        for (class, share) in &mut self.classes {
            if share.peers.is_empty() || !ready(&mut share.ceiling, now) {
                continue;
            }
            let short = share.minimum.as_mut().is_some_and(|minimum| minimum.is_ready(now));
            let candidate = (!short, share.turn, *class);
            next = Some(next.map_or(candidate, |next| next.min(candidate)));
        }
        next.map(|(_, _, class)| class)
    }

    fn grant(&mut self, id: StreamId, peer_id: PeerId, class: Class, now: Duration) -> Grant {
        let peer = self.peers.get(&peer_id).expect("its caller found it");
        let share = self.classes.get(&class).expect("every class has a share");
        let buckets = [&self.node, &share.ceiling, &peer.own];
        let quantum = |bucket: &Bucket| bucket.quantum(self.waiting);
        let quantum = buckets.into_iter().flatten().map(quantum).min().unwrap_or(BATCH);
        let stream = self.streams.get_mut(&id).expect("who waits is known");
        let bytes = stream.wanted.min(quantum);
        stream.wanted -= bytes;
        self.waiting -= u64::from(stream.wanted == 0);

        self.charge(peer_id, class, bytes.cast_signed(), now);
        if let Some(guard) = &mut self.guard {
            guard.spend(bytes);
        }
        let weight = u128::from(self.limits.classes.of(class).weight.get());
        let behind =
            self.classes.values().filter(|share| !share.peers.is_empty()).map(|share| share.turn).min();
        let lead = self.quanta(LEAD);
        let share = self.share(class);
        share.turn += u128::from(bytes) * WEIGHT / weight;
        let turn = behind.unwrap_or(share.turn);
        share.turn = share.turn.min(turn + lead);
        share.peers.served(peer_id, bytes);
        self.turn = self.turn.max(turn);
        if let Some(streams) = self.peers.get_mut(&peer_id).and_then(|peer| peer.streams.get_mut(&class)) {
            streams.served(id, bytes);
        }
        self.queue(id, peer_id, class);
        Grant { stream: id, bytes }
    }

    /// Lets nobody stand still for long because of what moved unasked: a push that came in, a node that was not looked at.
    fn forgive(&mut self, peer: PeerId, class: Class) {
        let share = self.classes.get_mut(&class).expect("every class has a share");
        let own = self.peers.get_mut(&peer).and_then(|peer| peer.own.as_mut());
        for bucket in [self.node.as_mut(), share.ceiling.as_mut(), own].into_iter().flatten() {
            bucket.forgive_beyond(MOST_DEBT);
        }
    }

    fn charge(&mut self, peer: PeerId, class: Class, bytes: i64, now: Duration) {
        let share = self.classes.get_mut(&class).expect("every class has a share");
        let own = self.peers.get_mut(&peer).and_then(|peer| peer.own.as_mut());
        for bucket in [self.node.as_mut(), share.ceiling.as_mut(), own].into_iter().flatten() {
            bucket.is_ready(now);
            bucket.spend(bytes);
        }
        if let Some(minimum) = &mut share.minimum {
            minimum.is_ready(now);
            minimum.spend(bytes);
            minimum.forgive_beyond(MEMORY);
        }
    }

    /// Takes a peer out of every line until its own rate is there again.
    fn rest(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let until = ready_at(peer.own.as_ref());
        peer.resting = Some(until);
        self.resting.insert((until, id));
        self.classes.values_mut().for_each(|share| share.peers.step_aside(id));
    }

    /// Puts peers back in line whose own rate is there again.
    fn wake(&mut self, now: Duration) {
        while let Some(&(until, id)) = self.resting.first()
            && until <= now
        {
            self.end_rest(id);
        }
    }

    fn end_rest(&mut self, id: PeerId) {
        let Some(until) = self.peers.get_mut(&id).and_then(|peer| peer.resting.take()) else { return };
        self.resting.remove(&(until, id));
        let peer = &self.peers[&id];
        let waiting: Vec<_> =
            peer.streams.iter().filter_map(|(class, streams)| Some((*class, streams.next()?))).collect();
        for (class, stream) in waiting {
            self.queue(stream, id, class);
        }
    }

    /// Virtual time that so many grants of the node's are worth for a class of weight 1.
    fn quanta(&self, count: u64) -> u128 {
        let quantum = self.node.as_ref().map_or(BATCH, |node| node.quantum(self.waiting));
        u128::from(count * quantum) * WEIGHT
    }

    fn share(&mut self, class: Class) -> &mut Share {
        self.classes.get_mut(&class).expect("every class has a share")
    }
}

/// Changes, makes or takes away a bucket.
fn change(bucket: &mut Option<Bucket>, rate: Option<ByteRate>, now: Duration) {
    match (bucket.as_mut(), rate) {
        (Some(bucket), Some(rate)) => bucket.set_rate(rate, now),
        (_, rate) => *bucket = rate.map(|rate| Bucket::new(rate, now)),
    }
}

fn ready(bucket: &mut Option<Bucket>, now: Duration) -> bool {
    bucket.as_mut().is_none_or(|bucket| bucket.is_ready(now))
}

fn ready_at(bucket: Option<&Bucket>) -> Duration {
    bucket.map_or(Duration::ZERO, Bucket::ready_at)
}
