//! What happens to a connection attempt before any cryptography is spent on it, and what a connection may hold later.
//!
//! [`Admission`] is a pure state machine: the driver tells it of attempts and of handshakes that ended, and asks which of those
//! that wait are next. A handshake costs its server half a millisecond of a core, an attacker a datagram; so what is
//! rationed is handshakes. What reaches it has cost QUIC some microseconds of keys already; [`Initials`] rations these, too,
//! while data moves. Three rules:
//!
//! - At most so many are under way at once, and while the node moves data, at most so many begin a second.
//! - Whoever has failed lately comes after those who have not, and is asked to prove its address; whoever fails on and on gets
//!   through at a trickle. So outsiders pay for themselves, and a host whose certificate was mended is let in again.
//! - Only failures from a proven address count against it: nobody can be framed by a forged one.
//!
//! Four ways to turn an attempt away, by what they cost and what they tell. `Retry` costs a small packet and one round trip
//! of an honest client. `Refuse` costs a small packet and ends the attempt at once: it is for honest clients, who should go elsewhere
//! rather than wait in vain. `Ignore` sends nothing: it is for sources that fail, since it makes a client wait for its own
//! timeout before it can do anything new; since a lost datagram looks the same, an honest client behind the same address repeats
//! its first one and gets through when the trickle allows. `Wait` is bounded in number and time.

mod bucket;
mod bytes;
mod initials;
mod peers;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use bucket::Bucket;
use sources::{Source, Sources, Standing};

pub(crate) use bytes::{BytesInFlight, Reservation};
pub(crate) use initials::Initials;
#[cfg(test)]
pub(crate) use initials::{MAX_INITIALS, MAX_OF_SOURCE, WINDOW};
pub(crate) use peers::{NoSlot, PeerSlots};

/// Handshakes that may begin a second while the node moves data: a tenth of a core.
pub(crate) const BUSY_HANDSHAKES_PER_SECOND: u32 = 250;
/// Handshakes that may begin at once when data begins to move, or after a quiet time.
const BUSY_BURST: u32 = 250;
/// What of the burst is left to sources that have not failed lately. Also where a proof of address begins to be wanted.
const RESERVED_BURST: u32 = BUSY_BURST / 2;
/// Handshakes a second for all sources together that fail on and on: 2 % of a core, busy or not.
const SUSPECTS_PER_SECOND: u32 = 50;
const SUSPECTS_BURST: u32 = 50;
/// Proofs of address that are asked for a second while the node moves data; one costs a small part of a handshake.
const BUSY_RETRIES_PER_SECOND: u32 = 2000;
const BUSY_RETRIES_BURST: u32 = 500;
/// Failures from unproven addresses, a second and at once, after which every address is to be proven. Honest peers lose a
/// datagram now and then.
const UNPROVEN_FAILURES_PER_SECOND: u32 = 1;
const UNPROVEN_FAILURES_BURST: u32 = 8;
/// Attempts that wait, of either kind of source: what is admitted in the time that they may wait.
pub(crate) const MAX_WAITING: usize = 256;
/// How long an attempt waits. Clients give a handshake 5 s, and an answer leaves them time to ask another node.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(1);

/// Whether the node moves data, beside which handshakes have to stand back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    Idle,
    Busy,
}

/// Who wants to connect, as far as its first datagram tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) ip: IpAddr,
    /// Whether the address was proven: the datagram carries what was sent there.
    pub(crate) validated: bool,
}

/// What to do with an attempt.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// Begin the handshake, and hand the pass to [`Admission::finished`] when it has ended.
    Admit(Pass),
    /// Ask for a proof of address.
    Retry,
    /// Keep it under this ticket until [`Admission::poll`] says what becomes of it.
    Wait(Ticket),
    /// Tell the peer that there is no room.
    Refuse,
    /// Drop it without a word.
    Ignore,
}

/// An attempt that waits. Earlier ones are less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// One handshake under way.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a pass that is not handed back is a handshake under way for ever"]
pub(crate) struct Pass {
    source: Source,
    validated: bool,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The peer is a node of the herd.
    Done,
    /// Wrong certificate, none, no answer in time: whatever costs a handshake and brings no connection.
    Failed,
}

/// Decides what happens to each connection attempt. See the [module](self).
#[derive(Debug)]
pub(crate) struct Admission {
    max_handshakes: usize,
    /// Handshakes under way, by source; no entry is 0.
    under_way: BTreeMap<Source, usize>,
    total_under_way: usize,
    sources: Sources,
    busy: Bucket,
    suspects: Bucket,
    retries: Bucket,
    unproven_failures: Bucket,
    /// Those that had not failed when they came.
    first: VecDeque<Waiting>,
    /// Those that have failed lately.
    second: VecDeque<Waiting>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    source: Source,
    validated: bool,
    since: Instant,
}

impl Admission {
    /// Nothing under way; at most `max_handshakes`, and at least one, will ever be.
    pub(crate) fn new(max_handshakes: usize) -> Self {
        Self {
            max_handshakes: max_handshakes.max(1),
            under_way: BTreeMap::new(),
            total_under_way: 0,
            sources: Sources::default(),
            busy: Bucket::new(BUSY_HANDSHAKES_PER_SECOND, BUSY_BURST),
            suspects: Bucket::new(SUSPECTS_PER_SECOND, SUSPECTS_BURST),
            retries: Bucket::new(BUSY_RETRIES_PER_SECOND, BUSY_RETRIES_BURST),
            unproven_failures: Bucket::new(UNPROVEN_FAILURES_PER_SECOND, UNPROVEN_FAILURES_BURST),
            first: VecDeque::new(),
            second: VecDeque::new(),
            next_ticket: 0,
        }
    }

    /// Handshakes under way.
    #[cfg(test)]
    pub(crate) const fn under_way(&self) -> usize {
        self.total_under_way
    }

    /// Attempts that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Sources whose failures are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.sources.len()
    }

    /// What to do with a new attempt. [`Self::poll`] comes before it: whoever waits has come earlier.
    pub(crate) fn attempt(&mut self, now: Instant, load: Load, attempt: Attempt) -> Verdict {
        let Attempt { ip, validated } = attempt;
        let source = Source::of(ip);
        let standing = self.sources.standing(now, source);
        if standing == Standing::Suspect && !self.may_begin(now, load, source, standing) {
            return Verdict::Ignore;
        }
        if !validated && self.wants_proof(now, load, standing) {
            return self.ask_for_proof(now, load);
        }
        let overtakes = match standing {
            Standing::Clean => self.first.is_empty(),
            Standing::Blemished | Standing::Suspect => self.waiting() == 0,
        };
        if overtakes && self.may_begin(now, load, source, standing) {
            return Verdict::Admit(self.begin(now, load, source, validated));
        }
        self.park(now, standing, source, validated)
    }

    /// A handshake has ended.
    pub(crate) fn finished(&mut self, now: Instant, pass: Pass, outcome: Outcome) {
        let Pass { source, validated } = pass;
        let held = self.under_way.get(&source).copied().unwrap_or(0);
        debug_assert!(held > 0 && self.total_under_way >= held, "a pass was handed back twice");
        match held {
            0 | 1 => drop(self.under_way.remove(&source)),
            more => drop(self.under_way.insert(source, more - 1)),
        }
        self.total_under_way = self.total_under_way.saturating_sub(1);
        match (outcome, validated) {
            (Outcome::Done, _) => self.sources.done(now, source),
            (Outcome::Failed, true) => self.sources.failed(now, source),
            (Outcome::Failed, false) => self.unproven_failures.take(now),
        }
    }

    /// What becomes of the next of those that wait; `None` if they all go on waiting. To be called until then after every
    /// other call and at every [`Self::wake_at`].
    pub(crate) fn poll(&mut self, now: Instant, load: Load) -> Option<(Ticket, Verdict)> {
        if let Some(late) = pop_late(&mut self.first, now) {
            return Some((late.ticket, Verdict::Refuse));
        }
        if let Some(late) = pop_late(&mut self.second, now) {
            return Some((late.ticket, Verdict::Ignore));
        }
        self.poll_first(now, load).or_else(|| self.poll_second(now, load))
    }

    /// When [`Self::poll`] is worth a call even if nothing else happens: after it returned `None`, later than `now`.
    pub(crate) fn wake_at(&self, now: Instant, load: Load) -> Option<Instant> {
        let late = [self.first.front(), self.second.front()];
        let late = late.into_iter().flatten().map(|waiting| waiting.since + MAX_WAIT);
        let due = match load {
            Load::Idle => [None, None],
            Load::Busy => [
                (!self.first.is_empty()).then(|| self.busy.ready_at(0)),
                (!self.second.is_empty()).then(|| self.busy.ready_at(RESERVED_BURST)),
            ],
        };
        // What is due already waits for a handshake to end.
        let due = due.into_iter().flatten().flatten().filter(|due| *due > now);
        late.chain(due).min()
    }

    fn poll_first(&mut self, now: Instant, load: Load) -> Option<(Ticket, Verdict)> {
        let mut at = 0;
        while at < self.first.len() && self.has_room(now, load, Standing::Clean) {
            let source = self.first[at].source;
            match self.sources.standing(now, source) {
                Standing::Clean if self.may_begin(now, load, source, Standing::Clean) => {
                    let waiting = self.first.remove(at)?;
                    return Some(self.admit(now, load, waiting));
                }
                Standing::Clean => at += 1,
                // It has failed since it came.
                Standing::Blemished if self.second.len() < MAX_WAITING => {
                    let waiting = self.first.remove(at)?;
                    self.insert_second(waiting);
                }
                Standing::Blemished | Standing::Suspect => {
                    return self.first.remove(at).map(|waiting| (waiting.ticket, Verdict::Ignore));
                }
            }
        }
        None
    }

    fn poll_second(&mut self, now: Instant, load: Load) -> Option<(Ticket, Verdict)> {
        if !self.first.is_empty() {
            return None;
        }
        let mut at = 0;
        while at < self.second.len() && self.has_room(now, load, Standing::Blemished) {
            let source = self.second[at].source;
            let standing = self.sources.standing(now, source);
            if standing == Standing::Suspect {
                return self.second.remove(at).map(|waiting| (waiting.ticket, Verdict::Ignore));
            }
            if self.may_begin(now, load, source, standing) {
                let waiting = self.second.remove(at)?;
                return Some(self.admit(now, load, waiting));
            }
            at += 1;
        }
        None
    }

    fn admit(&mut self, now: Instant, load: Load, waiting: Waiting) -> (Ticket, Verdict) {
        let pass = self.begin(now, load, waiting.source, waiting.validated);
        (waiting.ticket, Verdict::Admit(pass))
    }

    fn park(&mut self, now: Instant, standing: Standing, source: Source, validated: bool) -> Verdict {
        let (queue, full) = match standing {
            Standing::Clean => (&mut self.first, Verdict::Refuse),
            Standing::Blemished => (&mut self.second, Verdict::Ignore),
            Standing::Suspect => return Verdict::Ignore,
        };
        let own = queue.iter().filter(|waiting| waiting.source == source).count();
        if queue.len() >= MAX_WAITING || own >= MAX_WAITING - MAX_WAITING / 4 {
            return full;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        queue.push_back(Waiting { ticket, source, validated, since: now });
        Verdict::Wait(ticket)
    }

    /// Among the others in the order in which they came, so that the front is always the one that waits longest.
    fn insert_second(&mut self, waiting: Waiting) {
        let at = self.second.partition_point(|other| other.ticket < waiting.ticket);
        self.second.insert(at, waiting);
    }

    /// Whether another handshake of a source of this standing fits the node.
    fn has_room(&self, now: Instant, load: Load, standing: Standing) -> bool {
        let (most, kept) = match standing {
            Standing::Clean => (self.max_handshakes, 0),
            Standing::Blemished => (self.half(), RESERVED_BURST),
            Standing::Suspect => (self.max_handshakes.div_ceil(4), RESERVED_BURST),
        };
        self.total_under_way < most && (load == Load::Idle || self.busy.level(now) > kept)
    }

    /// Whether this source may begin another handshake, and the node has room for it. One that is merely slow to answer leaves
    /// a quarter to others, here as in the queue.
    fn may_begin(&self, now: Instant, load: Load, source: Source, standing: Standing) -> bool {
        let own = self.under_way.get(&source).copied().unwrap_or(0);
        let trickles = standing != Standing::Suspect
            || (self.sources.trickle_ready(now, source) && self.suspects.level(now) > 0);
        let share = self.max_handshakes - self.max_handshakes / 4;
        own < share && trickles && self.has_room(now, load, standing)
    }

    fn begin(&mut self, now: Instant, load: Load, source: Source, validated: bool) -> Pass {
        if self.sources.standing(now, source) == Standing::Suspect {
            self.suspects.take(now);
            self.sources.take_trickle(now, source);
        }
        if load == Load::Busy {
            self.busy.take(now);
        }
        *self.under_way.entry(source).or_default() += 1;
        self.total_under_way += 1;
        debug_assert!(self.total_under_way <= self.max_handshakes, "more handshakes than allowed");
        Pass { source, validated }
    }

    fn wants_proof(&self, now: Instant, load: Load, standing: Standing) -> bool {
        standing != Standing::Clean
            || self.total_under_way >= self.half()
            || self.waiting() > 0
            || self.unproven_failures.level(now) == 0
            || (load == Load::Busy && self.busy.level(now) <= RESERVED_BURST)
    }

    fn ask_for_proof(&mut self, now: Instant, load: Load) -> Verdict {
        if load == Load::Idle {
            return Verdict::Retry;
        }
        if self.retries.level(now) == 0 {
            return Verdict::Ignore;
        }
        self.retries.take(now);
        Verdict::Retry
    }

    const fn half(&self) -> usize {
        self.max_handshakes.div_ceil(2)
    }
}

fn pop_late(queue: &mut VecDeque<Waiting>, now: Instant) -> Option<Waiting> {
    queue.pop_front_if(|waiting| now.saturating_duration_since(waiting.since) >= MAX_WAIT)
}
