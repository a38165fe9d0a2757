//! Happenings in the order of their times.

mod checks;
mod faulty;
mod source;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdcq_swarm::{
    Acquaintances, Action, Event, PeerId, PeerKind, SEEK_SOONEST, Spread, Swarm, Time, seek_again,
};
use rdcq_wire::Span;
use rdcq_wire::message::Have;

use super::agent::Agent;
use super::faults::{Fate, Manner};
use super::happening::{Agenda, Happening};
use super::links::{Downlink, Uplink};
use super::outcome::Outcome;
use super::setting::Setting;
use super::unread::Unread;

/// The source's number; agents come after it.
const SOURCE: u32 = 0;
/// How soon an agent asks the tracker again at the latest: a third of the time for which it is remembered.
const LATEST_ASKED: Duration = Duration::from_secs(5);

struct World<'a> {
    setting: &'a Setting,
    now: Time,
    agenda: Agenda,
    lengths: Arc<[u32]>,
    /// The source's, and then the agents'.
    uplinks: Vec<Uplink>,
    /// The agents'. Every message takes its part of one, and the agents themselves are too many for a cache.
    downlinks: Vec<Downlink>,
    spread: Spread,
    source_due: Option<Time>,
    agents: Vec<Agent>,
    unread: Unread,
    tracker: Acquaintances<u32>,
    rng: StdRng,
    outcome: Outcome,
}

/// Runs until all have the file, or patience ends.
pub fn run(setting: &Setting) -> Outcome {
    let mut world = World::new(setting);
    while world.outcome.unfinished > 0
        && let Some((at, happening)) = world.agenda.next()
        && at.0 <= setting.patience
    {
        world.now = at;
        world.happen(happening);
    }
    world.outcome()
}

impl<'a> World<'a> {
    fn new(setting: &'a Setting) -> Self {
        let mut rng = StdRng::seed_from_u64(setting.seed);
        let lengths: Arc<[u32]> = setting.lengths(&mut rng).into();
        let pieces = lengths.len() as u32;
        let mut uplinks = vec![Uplink::new(setting.source_up.bytes_per_second() as f64)];
        let (mut agents, mut downlinks) = (Vec::new(), Vec::new());
        let length = setting.bound();
        for number in 0..setting.agents {
            let (up, down) = setting.rates(number);
            uplinks.push(Uplink::new(up));
            downlinks.push(Downlink::new(down));
            let manner = setting.faults.manner(number, setting.agents);
            let fate = match manner {
                Manner::Honest => setting.faults.fate(number, setting.agents, length, &mut rng),
                Manner::Silent | Manner::Liar => Fate::Stays,
            };
            agents.push(Agent::new(manner, fate, pieces));
        }
        let awaited =
            |agent: &&Agent| agent.manner == Manner::Honest && !matches!(agent.fate, Fate::Leaves(_));
        let unfinished = agents.iter().filter(awaited).count() as u32;
        let mut world = Self {
            setting,
            now: Time::default(),
            agenda: Agenda::default(),
            spread: Self::spread(setting, &lengths),
            source_due: None,
            lengths,
            uplinks,
            downlinks,
            unread: Unread::new(setting.agents),
            agents,
            tracker: Acquaintances::new(setting.acquaint),
            rng,
            outcome: Outcome { unfinished, pieces, ..Outcome::default() },
        };
        if let Some(at) = setting.faults.source_restarts_at {
            world.after(at, Happening::SourceRestarts);
        }
        for agent in 1..=setting.agents {
            let start = setting.spread.mul_f64(f64::from(agent - 1) / f64::from(setting.agents));
            world.after(start + setting.latency * 2 * setting.setup, Happening::Named { agent, life: 0 });
            if let Fate::Restarts(at) | Fate::Leaves(at) = world.agent(agent).fate {
                world.after(at, Happening::Dies { agent });
            }
        }
        world
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.agenda.add(self.now + delay, happening);
    }

    fn agent(&mut self, number: u32) -> &mut Agent {
        &mut self.agents[number as usize - 1]
    }

    /// An agent in the life that was meant.
    fn alive(&mut self, number: u32, life: u16) -> Option<&mut Agent> {
        Some(self.agent(number)).filter(|agent| agent.life == life && agent.is_up)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Named { agent, life } => self.name(agent, life),
            Happening::Asked { by, life, of, request, span } => self.serve(by, life, of, request, span),
            Happening::Cancelled { by, life, of, request } => self.cancelled(by, life, of, request),
            Happening::Refused { by, to, life, request, failure } => {
                self.refused(by, to, life, request, failure)
            }
            Happening::Sent { by, life } => self.sent(by, life),
            Happening::Comes { job, until } => self.comes(job, until),
            Happening::Arrived { by, by_life, job } => self.arrive(by, by_life, job),
            Happening::Told { by, life, told, spans } => self.told(by, life, &told, &spans),
            Happening::ToldTo { to, by, spans } => {
                self.tell_swarm(to, Event::PeerHas { peer: PeerId(by), spans: spans.into() });
            }
            Happening::Tells { agent, life } => self.tell_watchers(agent, life),
            Happening::Due { agent, life } => self.look_at_the_time(agent, life),
            Happening::SourceDue => self.source_due(),
            Happening::SourceRestarts => self.restart_source(),
            Happening::SourceReturns { to, life } => self.return_source(to, life),
            Happening::Declined { by, life, spans } => self.declined(by, life, &spans),
            Happening::Closed { at, life, of } => self.closed(at, life, of),
            Happening::Dies { agent } => self.die(agent),
            Happening::Returns { agent } => self.return_to_life(agent),
        }
    }

    /// The tracker names others, and hears of the one that asks.
    fn name(&mut self, number: u32, life: u16) {
        let now = self.now;
        let Some(agent) = self.alive(number, life) else { return };
        if agent.done.is_some() || agent.asks_at.is_some_and(|at| at != now) {
            return;
        }
        (agent.asks_at, agent.asked_at) = (None, now);
        self.outcome.messages += 2;
        let agent = self.agent(number);
        let is_first = agent.manner == Manner::Honest && agent.swarm.is_none();
        if is_first {
            let (seed, now) = (self.rng.random(), self.now);
            let (settings, lengths) = (&self.setting.scheduler, Arc::clone(&self.lengths));
            self.agents[number as usize - 1].begin(settings, &lengths, seed, now);
        }
        if self.setting.faults.trackers_die_at.is_none_or(|at| self.now.0 < at) {
            if self.agent(number).manner == Manner::Honest {
                let agent = self.agent(number);
                if 2 * agent.banned > agent.hears.len() {
                    // It comes back, as an agent does that has banned more than are left to it, and is named others.
                    self.tracker.left(&number);
                }
                let named = self.tracker.seeks(&number, &mut self.rng).to_vec();
                named.into_iter().for_each(|other| self.meet(number, other));
            } else {
                self.tracker.joined(&number);
            }
        }
        if is_first {
            self.join_source(number);
        }
        if self.agent(number).manner == Manner::Honest {
            let sought = self.now.since(self.agent(number).began);
            self.ask_after(number, seek_again(sought, LATEST_ASKED));
        }
    }

    /// Has an agent ask the tracker soon, as it has lost one of those that it knows.
    fn ask_soon(&mut self, number: u32) {
        let asked = self.agent(number).asked_at;
        self.ask_after(number, (asked + SEEK_SOONEST).since(self.now));
    }

    /// Has an agent ask the tracker after a time, if it would not do so before.
    fn ask_after(&mut self, number: u32, time: Duration) {
        let at = self.now + time;
        let agent = self.agent(number);
        if agent.asks_at.is_none_or(|before| at < before) {
            agent.asks_at = Some(at);
            let life = agent.life;
            self.after(time, Happening::Named { agent: number, life });
        }
    }

    /// One agent turns to another that was named to it, which hears of it thereby.
    fn meet(&mut self, one: u32, other: u32) {
        let up = self.agent(other).is_up;
        let most = self.setting.most_neighbours as usize;
        if !up || self.agent(one).hears.len() >= most || self.agent(one).hears.contains(&other) {
            return;
        }
        self.listen(one, other);
        let in_return = self.agent(other);
        if in_return.swarm.is_some() && in_return.hears.len() < most && !in_return.hears.contains(&one) {
            self.listen(other, one);
        }
    }

    fn listen(&mut self, to: u32, by: u32) {
        self.agent(to).hears.push(by);
        self.agent(by).watchers.push(to);
        self.tell_swarm(to, Event::PeerJoined { peer: PeerId(by), kind: PeerKind::Agent });
        let spans: Box<[Span]> = self.agent(by).have().spans().into();
        self.message(by, to);
        self.after(self.setting.latency, Happening::ToldTo { to, by, spans });
    }

    /// The scheduler of an agent that lacks something, which knows all that the agent was told.
    fn swarm(&mut self, number: u32) -> Option<&mut Swarm> {
        let swarm = self.agents[number as usize - 1].swarm.as_deref_mut()?;
        let news = self.unread.of(number);
        if !news.is_empty() {
            swarm.handle_news(self.now, news);
            news.clear();
        }
        Some(swarm)
    }

    fn tell_swarm(&mut self, agent: u32, event: Event) {
        let now = self.now;
        let Some(swarm) = self.swarm(agent) else { return };
        swarm.handle_event(now, event);
        self.act(agent);
    }

    /// Does what a swarm decides.
    fn act(&mut self, number: u32) {
        let (latency, now) = (self.setting.latency, self.now);
        let (mut messages, banned) = (Vec::new(), self.outcome.banned);
        let agent = &mut self.agents[number as usize - 1];
        let life = agent.life;
        let Some(swarm) = &mut agent.swarm else { return };
        while let Some(action) = swarm.poll_action() {
            match action {
                Action::Request { request, peer, span } => {
                    messages.push(peer.0);
                    if self.setting.is_checked {
                        checks::request(swarm, &self.setting.scheduler, &agent.open, peer, span);
                    }
                    agent.open.push((request, peer, span));
                    let asked = Happening::Asked { by: number, life, of: peer.0, request, span };
                    self.agenda.add(now + latency, asked);
                }
                Action::Cancel { request } => {
                    if let Some(place) = agent.open.iter().position(|(open, ..)| *open == request) {
                        let (_, of, _) = agent.open.swap_remove(place);
                        messages.push(of.0);
                        let cancelled = Happening::Cancelled { by: number, life, of: of.0, request };
                        self.agenda.add(now + latency, cancelled);
                    }
                }
                Action::Ban { peer } => {
                    agent.banned += 1;
                    self.outcome.banned += 1;
                    let of = peer.0;
                    let lies = of != SOURCE
                        && self.setting.faults.manner(of - 1, self.setting.agents) == Manner::Liar;
                    assert!(lies, "{number} bans {of}, which does not lie");
                }
                Action::Decline { peer, from } => {
                    messages.push(peer.0);
                    let spans = swarm.covered(from).into_iter().take(Have::MAX_SPANS).collect();
                    self.agenda.add(now + latency, Happening::Declined { by: number, life, spans });
                }
                Action::GiveUp { .. } => self.outcome.given_up += 1,
            }
        }
        if self.setting.is_checked {
            swarm.assert_invariants();
        }
        self.unread.matters(number, swarm.news_matters_from());
        // One that is due too early is looked at once more for nothing; that costs less than one for every change.
        let due = swarm.poll_timeout().map(|due| due.max(now));
        if let Some(at) = due.filter(|at| agent.due.is_none_or(|due| *at < due)) {
            agent.due = due;
            self.agenda.add(at, Happening::Due { agent: number, life });
        }
        messages.into_iter().for_each(|to| self.message(number, to));
        if self.outcome.banned > banned {
            self.ask_soon(number);
        }
    }

    fn look_at_the_time(&mut self, number: u32, life: u16) {
        let now = self.now;
        let Some(agent) = self.alive(number, life).filter(|agent| agent.due == Some(now)) else { return };
        agent.due = None;
        if let Some(swarm) = self.swarm(number) {
            swarm.handle_timeout(now);
            self.act(number);
        }
    }

    fn outcome(mut self) -> Outcome {
        let done = self.agents.iter().zip(0..).filter_map(|(agent, number)| Some((agent.done?.0, number)));
        self.outcome.done = done.collect();
        self.outcome.done.sort_unstable();
        self.outcome.source_bytes = self.uplinks[SOURCE as usize].sent;
        self.outcome
    }
}
