//! Events in the order of their times.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rdcq_swarm::{Action, Event, PeerId, PeerKind, RequestId, Settings, Swarm, Time};
use rdcq_wire::{PieceIndex, PieceSet, Span};

use super::links::{Downlink, Job, Uplink};
use super::setting::Setting;

/// The source's number; agents come after it.
const SOURCE: u32 = 0;

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When each agent that has the file had it, from the first to the last.
    pub done: Vec<Duration>,
    /// Agents that did not have it in time.
    pub unfinished: u32,
    /// Bytes of pieces that left the source.
    pub source_bytes: u64,
    /// Bytes of pieces that came to agents.
    pub received_bytes: u64,
    /// Bytes that agents received of pieces that they had.
    pub duplicate_bytes: u64,
    /// Messages of all kinds but pieces.
    pub messages: u64,
}

/// Something that happens.
#[derive(Debug)]
enum Happening {
    /// The tracker has answered.
    Named {
        agent: u32,
    },
    Asked {
        by: u32,
        of: u32,
        request: RequestId,
        span: Span,
    },
    Cancelled {
        by: u32,
        of: u32,
        request: RequestId,
    },
    Sent {
        by: u32,
    },
    Arrived {
        at: u32,
        job: Job,
    },
    Told {
        to: u32,
        by: u32,
        spans: Rc<[Span]>,
    },
    Tells {
        agent: u32,
    },
    Due {
        agent: u32,
    },
}

/// What is due, the earliest first, and of two at a time the one that was made first.
struct Entry(Reverse<(Time, u64)>, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

struct Agent {
    swarm: Swarm,
    downlink: Downlink,
    /// Whom the tracker has named.
    known: BTreeSet<u32>,
    /// Who hears what it has.
    watchers: BTreeSet<u32>,
    /// What it has and has not told.
    untold: PieceSet,
    told_at: Option<Time>,
    tells: bool,
    /// Whom each open request was made of, and how many pieces are to come.
    open: BTreeMap<RequestId, (u32, u32)>,
    /// When it looks at the time next.
    due: Option<Time>,
    received: u64,
    duplicate: u64,
    started: bool,
    done: Option<Time>,
}

struct World<'a> {
    setting: &'a Setting,
    now: Time,
    entries: BinaryHeap<Entry>,
    made: u64,
    lengths: Vec<u32>,
    /// The source's, and then the agents'.
    uplinks: Vec<Uplink>,
    agents: Vec<Agent>,
    /// Agents that a tracker knows, in the order in which they came.
    known: Vec<u32>,
    rng: StdRng,
    messages: u64,
    unfinished: u32,
}

/// Runs until all have the file, or patience ends.
pub fn run(setting: &Setting) -> Outcome {
    let mut world = World::new(setting);
    while world.unfinished > 0
        && let Some(Entry(Reverse((at, _)), happening)) = world.entries.pop()
        && at.0 <= setting.patience
    {
        world.now = at;
        world.happen(happening);
    }
    world.outcome()
}

/// Lengths like those of content-defined pieces, between half the mean and half as much again.
fn lengths(size: u64, pieces: u32, rng: &mut StdRng) -> Vec<u32> {
    let weights: Vec<f64> = (0..pieces).map(|_| rng.random_range(0.5..1.5)).collect();
    let scale = size as f64 / weights.iter().sum::<f64>();
    let mut lengths: Vec<u32> = weights.iter().map(|weight| (weight * scale) as u32).collect();
    let short = size.saturating_sub(lengths.iter().map(|length| u64::from(*length)).sum());
    if let Some(last) = lengths.last_mut() {
        *last += u32::try_from(short).unwrap_or(u32::MAX);
    }
    lengths
}

impl<'a> World<'a> {
    fn new(setting: &'a Setting) -> Self {
        let mut rng = StdRng::seed_from_u64(setting.seed);
        let lengths = lengths(setting.size, setting.pieces, &mut rng);
        let mut uplinks = vec![Uplink::new(setting.source_up.bytes_per_second() as f64)];
        let mut agents = Vec::new();
        for number in 0..setting.agents {
            let (up, down) = setting.rates(number);
            uplinks.push(Uplink::new(up));
            let have = PieceSet::empty(setting.pieces);
            agents.push(Agent {
                swarm: Swarm::new(
                    Settings::default(),
                    lengths.clone(),
                    have.clone(),
                    rng.random(),
                    Time::default(),
                ),
                downlink: Downlink::new(down),
                known: BTreeSet::new(),
                watchers: BTreeSet::new(),
                untold: have,
                told_at: None,
                tells: false,
                open: BTreeMap::new(),
                due: None,
                received: 0,
                duplicate: 0,
                started: false,
                done: None,
            });
        }
        let unfinished = setting.agents;
        let mut world = Self {
            setting,
            now: Time::default(),
            entries: BinaryHeap::new(),
            made: 0,
            lengths,
            uplinks,
            agents,
            known: Vec::new(),
            rng,
            messages: 0,
            unfinished,
        };
        for agent in 1..=setting.agents {
            let start = setting.spread.mul_f64(f64::from(agent - 1) / f64::from(setting.agents));
            world.after(start + setting.latency * 2 * setting.setup, Happening::Named { agent });
        }
        world
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.made += 1;
        self.entries.push(Entry(Reverse((at, self.made)), happening));
    }

    fn agent(&mut self, number: u32) -> &mut Agent {
        &mut self.agents[number as usize - 1]
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Named { agent } => self.name(agent),
            Happening::Asked { by, of, request, span } => self.serve(by, of, request, span),
            Happening::Cancelled { by, of, request } => self.uplinks[of as usize].cancel(by, request),
            Happening::Sent { by } => self.send(by),
            Happening::Arrived { at, job } => self.arrive(at, job),
            Happening::Told { to, by, spans } => {
                self.tell_swarm(to, Event::PeerHas { peer: PeerId(by), spans: spans.to_vec() });
            }
            Happening::Tells { agent } => self.tell_watchers(agent),
            Happening::Due { agent } => {
                let now = self.now;
                let own = self.agent(agent);
                if own.due == Some(now) && own.done.is_none() {
                    own.due = None;
                    own.swarm.handle_timeout(now);
                    self.act(agent);
                }
            }
        }
    }

    /// The tracker names others, and hears of the one that asks.
    fn name(&mut self, agent: u32) {
        self.messages += 2;
        if self.agent(agent).done.is_some() {
            return;
        }
        if !self.agent(agent).started {
            self.agent(agent).started = true;
            self.tell_swarm(agent, Event::PeerJoined { peer: PeerId(SOURCE), kind: PeerKind::Origin });
            self.known.push(agent);
        }
        let wanted = (self.setting.neighbours as usize).saturating_sub(self.agent(agent).known.len());
        if wanted > 0 {
            let known = self.agents[agent as usize - 1].known.clone();
            let others = self.known.iter().copied().filter(|other| *other != agent && !known.contains(other));
            let named = others.choose_multiple(&mut self.rng, wanted);
            for other in named {
                self.agent(agent).known.insert(other);
                self.agent(other).watchers.insert(agent);
                self.tell_swarm(agent, Event::PeerJoined { peer: PeerId(other), kind: PeerKind::Agent });
                let spans: Rc<[Span]> = self.agent(other).swarm.have().spans().into();
                self.told(agent, other, spans);
            }
        }
        self.after(self.setting.ask_again, Happening::Named { agent });
    }

    fn told(&mut self, to: u32, by: u32, spans: Rc<[Span]>) {
        if !spans.is_empty() {
            self.messages += 1;
            self.after(self.setting.latency, Happening::Told { to, by, spans });
        }
    }

    fn tell_swarm(&mut self, agent: u32, event: Event) {
        let now = self.now;
        self.agent(agent).swarm.handle_event(now, event);
        self.act(agent);
    }

    /// Does what a swarm decides.
    fn act(&mut self, agent: u32) {
        let latency = self.setting.latency;
        while let Some(action) = self.agent(agent).swarm.poll_action() {
            match action {
                Action::Request { request, peer, span } => {
                    self.messages += 1;
                    self.agent(agent).open.insert(request, (peer.0, span.count));
                    self.after(latency, Happening::Asked { by: agent, of: peer.0, request, span });
                }
                Action::Cancel { request } => {
                    if let Some((of, _)) = self.agent(agent).open.remove(&request) {
                        self.messages += 1;
                        self.after(latency, Happening::Cancelled { by: agent, of, request });
                    }
                }
                Action::Ban { .. } | Action::GiveUp { .. } => {}
            }
        }
        // One that is due too early is looked at once more for nothing; that costs less than one for every change.
        let due = self.agent(agent).swarm.poll_timeout().map(|due| due.max(self.now));
        if let Some(at) = due.filter(|at| self.agent(agent).due.is_none_or(|due| *at < due)) {
            self.agent(agent).due = due;
            self.at(at, Happening::Due { agent });
        }
    }

    /// A request has reached whom it asks, who has what it asks for: nobody tells of what it does not have.
    fn serve(&mut self, by: u32, of: u32, request: RequestId, span: Span) {
        for piece in span.range() {
            self.uplinks[of as usize].push(by, Job { request, piece });
        }
        if !self.uplinks[of as usize].busy {
            self.send(of);
        }
    }

    /// Begins to send the next piece.
    fn send(&mut self, by: u32) {
        let uplink = &mut self.uplinks[by as usize];
        let Some((to, job)) = uplink.pop() else {
            uplink.busy = false;
            return;
        };
        let length = self.lengths[job.piece as usize];
        let bytes = f64::from(length) * (1.0 + self.setting.headers);
        uplink.busy = true;
        uplink.sent += u64::from(length);
        let sending = uplink.sending(bytes);
        let begin = self.now + self.setting.latency;
        let there = self.agent(to).downlink.carry(begin, begin + sending, bytes);
        self.after(sending, Happening::Sent { by });
        self.at(there, Happening::Arrived { at: to, job });
    }

    fn arrive(&mut self, at: u32, job: Job) {
        let Job { request, piece } = job;
        let (now, length) = (self.now, self.lengths[piece as usize]);
        let index = PieceIndex(piece);
        let agent = self.agent(at);
        let is_new = !agent.swarm.have().contains(index);
        agent.received += u64::from(length);
        agent.duplicate += u64::from(if is_new { 0 } else { length });
        if let Some((_, left)) = agent.open.get_mut(&request) {
            *left -= 1;
            if *left == 0 {
                agent.open.remove(&request);
            }
        }
        agent.swarm.handle_event(now, Event::PieceVerified { request, piece: index });
        if is_new {
            agent.untold.insert(index);
            if agent.swarm.is_complete() {
                agent.done = Some(now);
                self.unfinished -= 1;
            }
            self.tell_soon(at);
        }
        self.act(at);
    }

    /// Has an agent tell what it has, unless it is about to or has only just done so.
    fn tell_soon(&mut self, number: u32) {
        let (now, every) = (self.now, self.setting.have_every);
        let agent = self.agent(number);
        if agent.tells {
            return;
        }
        agent.tells = true;
        let at = agent.told_at.map_or(now, |told| (told + every).max(now));
        self.at(at, Happening::Tells { agent: number });
    }

    fn tell_watchers(&mut self, number: u32) {
        let (now, none) = (self.now, PieceSet::empty(self.setting.pieces));
        let agent = self.agent(number);
        agent.tells = false;
        agent.told_at = Some(now);
        let spans: Rc<[Span]> = std::mem::replace(&mut agent.untold, none).spans().into();
        let watchers = agent.watchers.clone();
        for watcher in watchers {
            if self.agent(watcher).done.is_none() {
                self.told(watcher, number, Rc::clone(&spans));
            }
        }
    }

    fn outcome(self) -> Outcome {
        let mut done: Vec<_> = self.agents.iter().filter_map(|agent| Some(agent.done?.0)).collect();
        done.sort();
        Outcome {
            done,
            unfinished: self.unfinished,
            source_bytes: self.uplinks[SOURCE as usize].sent,
            received_bytes: self.agents.iter().map(|agent| agent.received).sum(),
            duplicate_bytes: self.agents.iter().map(|agent| agent.duplicate).sum(),
            messages: self.messages,
        }
    }
}
