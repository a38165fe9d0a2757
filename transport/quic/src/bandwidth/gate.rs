//! One direction: an arbiter, and those who wait for it.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rdcq_bandwidth::{Arbiter, Correction, Limits, PeerId, StreamId};
use rdcq_env::Env;
use rdcq_wire::{Class, NodeId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::BandwidthStats;

/// One direction of a node's bandwidth.
pub(crate) struct Gate {
    env: Env,
    began: Instant,
    /// Whether anybody may have to wait.
    limited: AtomicBool,
    /// How often a limit came where there was none.
    epoch: AtomicU64,
    line: Mutex<Line>,
    /// Tells the keeper that a grant is due earlier than it thinks.
    bell: Arc<Notify>,
    moved: [AtomicU64; Class::ALL.len()],
}

struct Line {
    arbiter: Arbiter,
    /// Streams that have asked.
    asking: BTreeMap<StreamId, Asking>,
    held: Held,
    /// When the keeper looks next, if nobody rings.
    look: Option<Duration>,
}

/// What was granted and not fetched. While threads that move bytes stand still, others go on granting, and all of it would be moved at
/// once afterwards.
#[derive(Default)]
struct Held {
    bytes: u64,
    /// From when on that is counted.
    since: Duration,
    /// How often counting began anew.
    round: u64,
}

impl Held {
    fn add(&mut self, bytes: u64, now: Duration) {
        if self.bytes == 0 {
            self.since = now;
        }
        self.bytes += bytes;
    }

    /// Until when nothing is granted, if so much is the most that is held. What nobody has come for by then is not counted any more: it
    /// must not keep others waiting.
    fn full_until(&mut self, most: u64, now: Duration) -> Option<Duration> {
        if now >= self.since + FETCH {
            *self = Self { bytes: 0, since: now, round: self.round + 1 };
        }
        (self.bytes >= most).then(|| self.since + FETCH)
    }
}

#[derive(Default)]
struct Asking {
    /// What was granted and not fetched.
    granted: u64,
    /// Its task's, while it waits.
    waker: Option<Waker>,
    /// What of that counts as held, in which round.
    held: u64,
    round: u64,
}

impl Asking {
    /// Counts it as held no more.
    fn release(&mut self, held: &mut Held) {
        if self.round == held.round {
            held.bytes = held.bytes.saturating_sub(self.held);
        }
        self.held = 0;
    }
}

impl Gate {
    pub(crate) fn new(env: &Env, limits: Limits) -> Arc<Self> {
        let limited = AtomicBool::new(!limits.is_unlimited());
        let arbiter = Arbiter::new(limits, Duration::ZERO);
        let gate = Arc::new(Self {
            env: env.clone(),
            began: env.now(),
            limited,
            epoch: AtomicU64::new(0),
            line: Mutex::new(Line { arbiter, asking: BTreeMap::new(), held: Held::default(), look: None }),
            bell: Arc::default(),
            moved: Default::default(),
        });
        env.spawn(keep(Arc::downgrade(&gate), Arc::clone(&gate.bell), gate.began));
        gate
    }

    /// Whether anybody may have to wait. Without a lock, since all that is moved asks.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Which limit holds: another number each time that one comes where there was none.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        let now = self.now();
        let limited = !limits.is_unlimited();
        let mut line = self.line();
        if limited && !self.limited.swap(limited, Ordering::Relaxed) {
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
        self.limited.store(limited, Ordering::Relaxed);
        line.arbiter.set_limits(limits, now);
        let wakers = line.grant(now);
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
        self.bell.notify_one();
    }

    pub(crate) fn stats(&self) -> BandwidthStats {
        let line = self.line();
        let waiting = line.asking.values().filter(|asking| asking.waker.is_some()).count();
        let limits = line.arbiter.limits().clone();
        drop(line);
        let moved = |class| (class, self.moved[class as usize].load(Ordering::Relaxed));
        BandwidthStats { limits, moved: Class::ALL.map(moved), waiting }
    }

    /// Counts what was moved for a class.
    pub(crate) fn count(&self, class: Class, bytes: u64) {
        self.moved[class as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes a peer known, for accounts and turns; [`Self::leave`] undoes it.
    pub(crate) fn join(&self, peer: &NodeId) -> PeerId {
        self.line().arbiter.join(peer, self.now())
    }

    pub(crate) fn leave(&self, peer: PeerId) {
        self.line().arbiter.leave(peer);
    }

    /// Tells of what was moved beside what was granted.
    pub(crate) fn correct(&self, correction: Correction) {
        let Correction { class, bytes, .. } = correction;
        self.line().arbiter.correct(correction, self.now());
        match u64::try_from(bytes) {
            Ok(more) => self.count(class, more),
            // There is more to grant than the keeper knows.
            Err(_) => self.bell.notify_one(),
        }
    }

    /// The most bytes that may wait for one connection's window, or burst when it opens: 5 ms of the node's rate.
    pub(crate) fn slack(&self) -> u64 {
        let rate = self.line().arbiter.limits().node.rate();
        rate.map_or(u64::MAX, |rate| (rate.bytes_per_second() / 200).max(MIN_SLACK))
    }

    /// Hands out what is due, and says when there may be more.
    fn look(&self) -> Option<Duration> {
        let mut line = self.line();
        let now = self.now();
        let wakers = line.grant(now);
        let look = line.due(now);
        line.look = look;
        drop(line);
        wakers.into_iter().for_each(Waker::wake);
        look
    }

    pub(crate) fn now(&self) -> Duration {
        self.env.now().saturating_duration_since(self.began)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two send batches of the smallest kind: less would make a connection stop and go.
const MIN_SLACK: u64 = 32 * 1024;

/// Part of a second's worth of which nothing is granted before some is fetched: 2 ms, as long as a stream takes to be woken on a busy
/// machine.
const HELD: u64 = 500;

/// Two of the smallest grants.
const MIN_HELD: u64 = 2 * 1514;

/// How long streams may take to fetch what they were granted before others are granted more.
const FETCH: Duration = Duration::from_millis(50);

impl Line {
    /// Hands out what a stream was granted, and not more than it wants.
    fn fetch(&mut self, stream: StreamId, most: u64) -> u64 {
        let Some(asking) = self.asking.get_mut(&stream) else { return 0 };
        let taken = asking.granted.min(most);
        if taken > 0 {
            asking.granted -= taken;
            asking.release(&mut self.held);
        }
        taken
    }

    /// Has a stream want nothing more. It does not come for what it was granted meanwhile.
    fn withdraw(&mut self, stream: StreamId) {
        self.arbiter.ask(stream, 0);
        if let Some(asking) = self.asking.get_mut(&stream) {
            asking.release(&mut self.held);
        }
    }

    /// Whether there is something to grant before the keeper looks.
    fn is_due_early(&mut self, now: Duration) -> bool {
        let due = self.due(now);
        let early = due.is_some_and(|due| self.look.is_none_or(|look| due < look));
        if early {
            self.look = due;
        }
        early
    }

    /// Until when nothing is granted because nobody fetches what was.
    fn full_until(&mut self, now: Duration) -> Option<Duration> {
        let rate = self.arbiter.limits().node.rate()?.bytes_per_second();
        self.held.full_until((rate / HELD).max(MIN_HELD), now)
    }

    /// When there may be something to grant, if nobody fetches or asks before.
    fn due(&mut self, now: Duration) -> Option<Duration> {
        let due = self.arbiter.poll_timeout()?;
        Some(self.full_until(now).map_or(due, |until| until.max(due)))
    }

    /// Hands out what is due. Who is to be woken is returned: waking may drop a task that has a turn here.
    fn grant(&mut self, now: Duration) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while self.full_until(now).is_none()
            && let Some(grant) = self.arbiter.poll_grant(now)
        {
            let asking = self.asking.entry(grant.stream).or_default();
            asking.granted += grant.bytes;
            if asking.round != self.held.round {
                (asking.held, asking.round) = (0, self.held.round);
            }
            asking.held += grant.bytes;
            self.held.add(grant.bytes, now);
            wakers.extend(asking.waker.take());
        }
        wakers
    }
}

/// Grants what falls due while nobody asks, until the gate is gone.
async fn keep(gate: Weak<Gate>, bell: Arc<Notify>, began: Instant) {
    loop {
        let Some(open) = gate.upgrade() else { return };
        let look = open.look();
        drop(open);
        let rung = bell.notified();
        match look {
            Some(at) => drop(tokio::time::timeout_at(began + at, rung).await),
            None => rung.await,
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.bell.notify_one();
    }
}

/// A stream's place in line.
pub(crate) struct Turn {
    gate: Arc<Gate>,
    peer: PeerId,
    class: Class,
    id: StreamId,
}

impl Turn {
    /// One for a peer that has [joined](Gate::join).
    pub(crate) fn new(gate: &Arc<Gate>, peer: PeerId, class: Class) -> Option<Self> {
        let id = gate.line().arbiter.open(peer, class)?;
        Some(Self { gate: Arc::clone(gate), peer, class, id })
    }

    /// Waits for bytes: at least one, at most `most`. Those of a wait that is given up are kept for the next.
    pub(crate) async fn take(&mut self, most: u64) -> u64 {
        let mut wait = Wait { turn: self, most, asked: false };
        let taken = poll_fn(|context| wait.poll(context)).await;
        self.gate.count(self.class, taken);
        taken
    }
}

/// A stream that waits for bytes. It wants none once it has some, or is gone: what it is granted while it writes would wait for it in
/// vain, and others for that.
struct Wait<'a> {
    turn: &'a Turn,
    most: u64,
    asked: bool,
}

impl Wait<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        let Turn { gate, id, .. } = self.turn;
        let mut line = gate.line();
        let now = gate.now();
        // What it holds first: only then there is room for another grant.
        let mut taken = line.fetch(*id, self.most);
        if taken == 0 && !self.asked {
            line.arbiter.ask(*id, self.most);
            self.asked = true;
        }
        let mut wakers = line.grant(now);
        if taken == 0 {
            taken = line.fetch(*id, self.most);
        }
        if taken == 0 {
            line.asking.entry(*id).or_default().waker = Some(context.waker().clone());
        } else if self.asked {
            line.withdraw(*id);
            self.asked = false;
            // It may have held what others wait for.
            wakers.extend(line.grant(now));
        }
        let early = line.is_due_early(now);
        drop(line);
        if early {
            gate.bell.notify_one();
        }
        wakers.into_iter().for_each(Waker::wake);
        if taken == 0 { Poll::Pending } else { Poll::Ready(taken) }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.asked {
            self.turn.gate.line().withdraw(self.turn.id);
            self.turn.gate.bell.notify_one();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.gate.line();
        line.arbiter.close(self.id);
        let asking = line.asking.remove(&self.id).map(|mut asking| {
            asking.release(&mut line.held);
            asking
        });
        let unused = asking.map_or(0, |asking| asking.granted);
        if let Ok(bytes @ 1..) = i64::try_from(unused) {
            let now = self.gate.now();
            line.arbiter.correct(Correction { peer: self.peer, class: self.class, bytes: -bytes }, now);
        }
        drop(line);
        self.gate.bell.notify_one();
    }
}
