//! A herd in memory: one origin and some agents, each agent a `Swarm`, on links with a rate and a latency. Time is
//! virtual, and the same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use rdcq_swarm::{Action, Event, Failure, PeerId, PeerKind, Report, RequestId, Settings, Swarm, Time};
use rdcq_wire::{PieceIndex, PieceSet, Span};

/// What a link serves to one neighbour before it turns to the next.
const CHUNK_BYTES: u32 = 16 * 1024;
/// What a sender has unacknowledged at least: two chunks, so that it need not wait for the acknowledgement of each.
const LEAST_UNACKNOWLEDGED_BYTES: u64 = 2 * CHUNK_BYTES as u64;
/// The origin's number; agents count on from it.
pub(crate) const ORIGIN: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Says that it holds everything and sends wrong bytes.
    Liar,
    /// Says that it holds everything and never sends a byte.
    Mute,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) lengths: Vec<u32>,
    /// Bytes a second of each node's uplink, the origin's first.
    pub(crate) uplinks: Vec<u64>,
    /// Bytes a second of each node's downlink.
    pub(crate) downlinks: Vec<u64>,
    pub(crate) manners: Vec<Manner>,
    pub(crate) latency: Duration,
    /// Agents and when they vanish.
    pub(crate) departures: Vec<(usize, Duration)>,
}

impl Plan {
    /// `agents` honest agents and an origin on equal links of 100 Mbit/s and half a millisecond.
    pub(crate) fn equal(seed: u64, agents: usize, pieces: u32) -> Self {
        let lengths = (0..pieces).map(|piece| 20_000 + (piece * 7919 + seed as u32 * 31) % 28_000).collect();
        Self {
            seed,
            lengths,
            uplinks: vec![12_500_000; agents + 1],
            downlinks: vec![12_500_000; agents + 1],
            manners: vec![Manner::Honest; agents + 1],
            latency: Duration::from_micros(500),
            departures: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lengths.iter().map(|length| u64::from(*length)).sum()
    }
}

#[derive(Debug)]
pub(crate) struct Outcome {
    /// When each agent had everything, by its number.
    pub(crate) finished: BTreeMap<usize, Duration>,
    pub(crate) reports: BTreeMap<usize, Report>,
    /// What left the origin's uplink, wasted or not.
    pub(crate) origin_sent_bytes: u64,
    /// Who banned whom, and after how many wrong pieces.
    pub(crate) bans: BTreeMap<(usize, usize), u32>,
    /// Who gave up whom, and how long after first asking.
    pub(crate) give_ups: BTreeMap<(usize, usize), Duration>,
}

impl Outcome {
    pub(crate) fn last(&self) -> Duration {
        self.finished.values().max().copied().unwrap_or_default()
    }

    pub(crate) fn agent_share(&self) -> f64 {
        let agents: u64 = self.reports.values().map(|report| report.agent_bytes).sum();
        let origins: u64 = self.reports.values().map(|report| report.origin_bytes).sum();
        agents as f64 / (agents + origins) as f64
    }
}

/// Runs a plan until every agent that stays has everything; panics, naming the seed, if that takes over an hour.
pub(crate) fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan);
    while world.unfinished() {
        let Some(Reverse((at, _, index))) = world.queue.pop() else {
            panic!("seed {}: nothing more happens and agents are unfinished", plan.seed)
        };
        assert!(at < Duration::from_secs(3600), "seed {}: not finished after an hour", plan.seed);
        world.now = at;
        let happening = world.happenings.remove(&index).expect("queued with its happening");
        world.handle(happening);
    }
    world.outcome()
}

enum Happening {
    Asked { server: usize, client: usize, request: RequestId, span: Span },
    Cancelled { server: usize, client: usize, request: RequestId },
    Sent { server: usize },
    Arrived { client: usize, chunk: Chunk },
    Taken { client: usize, chunk: Chunk },
    Acknowledged { server: usize, client: usize, bytes: u32 },
    Announced { from: usize, to: usize, spans: Vec<Span> },
    Timer { agent: usize },
    Left { agent: usize },
}

#[derive(Clone, Copy)]
struct Chunk {
    server: usize,
    request: RequestId,
    piece: u32,
    bytes: u32,
    ends_piece: bool,
    ends_request: bool,
}

struct Job {
    request: RequestId,
    span: Span,
    piece: u32,
    sent: u32,
}

struct Node {
    swarm: Option<Swarm>,
    present: bool,
    /// What is to be sent to each neighbour, and whose turn it is.
    jobs: BTreeMap<usize, VecDeque<Job>>,
    turns: VecDeque<usize>,
    /// What each neighbour has not acknowledged: a sender does not flood a link that is slower than its own.
    unacknowledged: BTreeMap<usize, u64>,
    sending: Option<(usize, Chunk)>,
    downlink_free: Duration,
    open: BTreeMap<RequestId, usize>,
    timer: Option<Duration>,
}

struct World<'a> {
    plan: &'a Plan,
    now: Duration,
    nodes: Vec<Node>,
    queue: BinaryHeap<Reverse<(Duration, u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next: u64,
    finished: BTreeMap<usize, Duration>,
    origin_sent_bytes: u64,
    wrong_pieces: BTreeMap<(usize, usize), u32>,
    first_asked: BTreeMap<(usize, usize), Duration>,
    bans: BTreeMap<(usize, usize), u32>,
    give_ups: BTreeMap<(usize, usize), Duration>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan) -> Self {
        let pieces = plan.lengths.len() as u32;
        let nodes = plan.manners.iter().enumerate().map(|(number, manner)| {
            let swarm = (number != ORIGIN && *manner == Manner::Honest).then(|| {
                let seed = plan.seed * 1000 + number as u64;
                let have = PieceSet::empty(pieces);
                Swarm::new(Settings::default(), plan.lengths.clone(), have, seed, Time::default())
            });
            Node {
                swarm,
                present: true,
                jobs: BTreeMap::new(),
                turns: VecDeque::new(),
                unacknowledged: BTreeMap::new(),
                sending: None,
                downlink_free: Duration::ZERO,
                open: BTreeMap::new(),
                timer: None,
            }
        });
        let mut world = World {
            plan,
            now: Duration::ZERO,
            nodes: nodes.collect(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next: 0,
            finished: BTreeMap::new(),
            origin_sent_bytes: 0,
            wrong_pieces: BTreeMap::new(),
            first_asked: BTreeMap::new(),
            bans: BTreeMap::new(),
            give_ups: BTreeMap::new(),
        };
        world.introduce();
        world
    }

    /// Everyone hears of the origin first, as it happens when agents start together.
    fn introduce(&mut self) {
        let agents: Vec<usize> = self.agents().collect();
        for agent in agents {
            for peer in 0..self.nodes.len() {
                let kind = if peer == ORIGIN { PeerKind::Origin } else { PeerKind::Agent };
                if peer != agent {
                    self.tell(agent, Event::PeerJoined { peer: PeerId(peer as u32), kind });
                }
                if peer != ORIGIN && self.plan.manners[peer] != Manner::Honest {
                    let spans = vec![Span::new(0, self.plan.lengths.len() as u32)];
                    self.tell(agent, Event::PeerHas { peer: PeerId(peer as u32), spans });
                }
            }
        }
        for (agent, at) in &self.plan.departures {
            self.schedule(*at, Happening::Left { agent: *agent });
        }
    }

    fn agents(&self) -> impl Iterator<Item = usize> + use<> {
        let agents: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].swarm.is_some()).collect();
        agents.into_iter()
    }

    fn unfinished(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.present && node.swarm.as_ref().is_some_and(|swarm| !swarm.is_complete()))
    }

    fn outcome(self) -> Outcome {
        let reports = self.nodes.iter().enumerate().filter_map(|(number, node)| {
            let swarm = node.swarm.as_ref().filter(|_| node.present)?;
            Some((number, swarm.report()))
        });
        Outcome {
            reports: reports.collect(),
            finished: self.finished,
            origin_sent_bytes: self.origin_sent_bytes,
            bans: self.bans,
            give_ups: self.give_ups,
        }
    }

    fn schedule(&mut self, at: Duration, happening: Happening) {
        self.happenings.insert(self.next, happening);
        self.queue.push(Reverse((at, self.next, self.next)));
        self.next += 1;
    }

    fn later(&mut self, happening: Happening) {
        self.schedule(self.now + self.plan.latency, happening);
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Asked { server, client, request, span } => self.asked(server, client, request, span),
            Happening::Cancelled { server, client, request } => {
                if let Some(jobs) = self.nodes[server].jobs.get_mut(&client) {
                    jobs.retain(|job| job.request != request);
                }
            }
            Happening::Sent { server } => {
                if let Some((client, chunk)) = self.nodes[server].sending.take() {
                    self.later(Happening::Arrived { client, chunk });
                }
                self.send(server);
            }
            Happening::Arrived { client, chunk } => {
                let free = self.nodes[client].downlink_free.max(self.now)
                    + transfer(chunk.bytes, self.plan.downlinks[client]);
                self.nodes[client].downlink_free = free;
                self.schedule(free, Happening::Taken { client, chunk });
            }
            Happening::Taken { client, chunk } => {
                let Chunk { server, bytes, .. } = chunk;
                self.later(Happening::Acknowledged { server, client, bytes });
                self.taken(client, chunk);
            }
            Happening::Acknowledged { server, client, bytes } => {
                *self.nodes[server].unacknowledged.entry(client).or_default() -= u64::from(bytes);
                if !self.nodes[server].turns.contains(&client) {
                    self.nodes[server].turns.push_back(client);
                }
                self.send(server);
            }
            Happening::Announced { from, to, spans } => {
                self.tell(to, Event::PeerHas { peer: PeerId(from as u32), spans });
            }
            Happening::Timer { agent } => {
                if self.nodes[agent].timer == Some(self.now) {
                    self.nodes[agent].timer = None;
                    if let Some(swarm) = self.nodes[agent].swarm.as_mut() {
                        swarm.handle_timeout(Time(self.now));
                    }
                    self.act(agent);
                }
            }
            Happening::Left { agent } => self.left(agent),
        }
    }

    fn asked(&mut self, server: usize, client: usize, request: RequestId, span: Span) {
        let node = &mut self.nodes[server];
        if !node.present || self.plan.manners[server] == Manner::Mute {
            return;
        }
        if let Some(swarm) = &node.swarm {
            assert!(
                span.indices().all(|piece| swarm.have().contains(piece)),
                "{server} does not hold {span:?}"
            );
        }
        let jobs = node.jobs.entry(client).or_default();
        jobs.push_back(Job { request, span, piece: span.first.0, sent: 0 });
        if !node.turns.contains(&client) {
            node.turns.push_back(client);
        }
        self.send(server);
    }

    fn send(&mut self, server: usize) {
        let node = &mut self.nodes[server];
        if node.sending.is_some() || !node.present {
            return;
        }
        while let Some(client) = node.turns.pop_front() {
            let Some(jobs) = node.jobs.get_mut(&client) else { continue };
            let Some(job) = jobs.front_mut() else { continue };
            let unacknowledged = node.unacknowledged.entry(client).or_default();
            let rate = self.plan.uplinks[server].min(self.plan.downlinks[client]);
            let in_the_link = (rate as f64 * 4.0 * self.plan.latency.as_secs_f64()) as u64;
            if *unacknowledged >= LEAST_UNACKNOWLEDGED_BYTES + in_the_link {
                // Its turn comes again with the acknowledgement.
                continue;
            }
            let length = self.plan.lengths[job.piece as usize];
            let bytes = CHUNK_BYTES.min(length - job.sent);
            job.sent += bytes;
            *unacknowledged += u64::from(bytes);
            let (piece, ends_piece) = (job.piece, job.sent == length);
            let ends_request = ends_piece && piece + 1 == job.span.range().end;
            let chunk = Chunk { server, request: job.request, piece, bytes, ends_piece, ends_request };
            if ends_piece {
                (job.piece, job.sent) = (job.piece + 1, 0);
            }
            if ends_request {
                jobs.pop_front();
            }
            node.turns.push_back(client);
            node.sending = Some((client, chunk));
            if server == ORIGIN {
                self.origin_sent_bytes += u64::from(bytes);
            }
            let at = self.now + transfer(bytes, self.plan.uplinks[server]);
            return self.schedule(at, Happening::Sent { server });
        }
    }

    fn taken(&mut self, client: usize, chunk: Chunk) {
        let Chunk { server, request, piece, .. } = chunk;
        if !self.nodes[client].present || self.nodes[client].open.get(&request) != Some(&server) {
            return;
        }
        self.tell(client, Event::Progress { request });
        if chunk.ends_piece && self.plan.manners[server] == Manner::Liar {
            *self.wrong_pieces.entry((client, server)).or_default() += 1;
            self.nodes[client].open.remove(&request);
            return self.tell(client, Event::RequestFailed { request, failure: Failure::WrongBytes });
        }
        if chunk.ends_request {
            self.nodes[client].open.remove(&request);
        }
        if chunk.ends_piece {
            let piece = PieceIndex(piece);
            self.tell(client, Event::PieceVerified { request, piece });
            let others = self.agents().filter(|other| *other != client);
            for to in others {
                self.later(Happening::Announced { from: client, to, spans: vec![Span::new(piece.0, 1)] });
            }
        }
        if chunk.ends_request {
            self.tell(client, Event::RequestDone { request });
        }
    }

    fn left(&mut self, agent: usize) {
        self.nodes[agent].present = false;
        self.nodes[agent].jobs.clear();
        let others: Vec<usize> = self.agents().filter(|other| *other != agent).collect();
        for other in others {
            self.nodes[other].open.retain(|_, server| *server != agent);
            self.tell(other, Event::PeerLeft { peer: PeerId(agent as u32) });
        }
        for server in 0..self.nodes.len() {
            self.nodes[server].jobs.remove(&agent);
        }
    }

    fn tell(&mut self, agent: usize, event: Event) {
        let now = Time(self.now);
        if !self.nodes[agent].present {
            return;
        }
        if let Some(swarm) = self.nodes[agent].swarm.as_mut() {
            swarm.handle_event(now, event);
            self.act(agent);
        }
    }

    fn act(&mut self, agent: usize) {
        while let Some(action) = self.nodes[agent].swarm.as_mut().and_then(Swarm::poll_action) {
            self.carry_out(agent, action);
        }
        let swarm = self.nodes[agent].swarm.as_ref().expect("only agents act");
        if swarm.is_complete() {
            self.finished.entry(agent).or_insert(self.now);
        }
        let due = swarm.poll_timeout().map(|due| due.0.max(self.now));
        if let Some(at) = due.filter(|_| due != self.nodes[agent].timer) {
            self.schedule(at, Happening::Timer { agent });
        }
        self.nodes[agent].timer = due;
    }

    fn carry_out(&mut self, client: usize, action: Action) {
        match action {
            Action::Request { request, peer, span } => {
                let server = peer.0 as usize;
                self.first_asked.entry((client, server)).or_insert(self.now);
                self.nodes[client].open.insert(request, server);
                self.later(Happening::Asked { server, client, request, span });
            }
            Action::Cancel { request } => {
                if let Some(server) = self.nodes[client].open.remove(&request) {
                    self.later(Happening::Cancelled { server, client, request });
                }
            }
            Action::Ban { peer } => {
                let pair = (client, peer.0 as usize);
                self.bans.insert(pair, self.wrong_pieces.get(&pair).copied().unwrap_or_default());
            }
            Action::Decline { .. } => {}
            Action::GiveUp { peer } => {
                let pair = (client, peer.0 as usize);
                let after = self.now - self.first_asked[&pair];
                self.give_ups.entry(pair).or_insert(after);
            }
        }
    }
}

fn transfer(bytes: u32, rate: u64) -> Duration {
    Duration::from_nanos(u64::from(bytes) * 1_000_000_000 / rate)
}
