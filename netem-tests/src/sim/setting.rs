//! What is simulated.

use std::time::Duration;

use rand::Rng;
use rdcq_swarm::AcquaintSettings;
use rdcq_wire::ByteRate;
use rdcq_wire::manifest::PieceSizes;

use super::faults::Faults;

/// One run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Agents that want the file.
    pub agents: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Mean bytes of a piece as it is aimed at; what follows from the size if there is none.
    pub mean: Option<u32>,
    /// What an agent's link carries to others.
    pub up: ByteRate,
    /// What it carries to the agent.
    pub down: ByteRate,
    /// What the source's link carries to agents.
    pub source_up: ByteRate,
    /// One way between any two.
    pub latency: Duration,
    /// Round trips before an agent has asked its tracker and is connected to its neighbours.
    pub setup: u32,
    /// Agents start evenly within this time.
    pub spread: Duration,
    /// How many neighbours the tracker names.
    pub acquaint: AcquaintSettings,
    /// Most neighbours that an agent takes of those that are named to it, or that it hears from.
    pub most_neighbours: u32,
    /// Least time between two words of an agent about what it has.
    pub have_every: Duration,
    /// Bytes on a link for each byte of the file, beyond that byte.
    pub headers: f64,
    /// Bytes on a link of every message, with the headers below it.
    pub message_bytes: u32,
    /// Every how manieth agent has a link of a quarter of the rate; none if 0.
    pub slow_every: u32,
    /// An agent for whose link up so many pieces wait refuses what it is asked for; none does if 0.
    pub slots: u32,
    /// How the source treats those who ask.
    pub origin: Origin,
    /// What goes wrong.
    pub faults: Faults,
    /// Whether what must always hold is asserted after every step.
    pub is_checked: bool,
    /// The agents' scheduler.
    pub scheduler: rdcq_swarm::Settings,
    /// How long a run may take, by its own clock.
    pub patience: Duration,
    /// What is drawn by lot follows from it.
    pub seed: u64,
}

/// How the source treats those who ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It sends what it is asked for.
    Open,
    /// It offers each agent other pieces.
    Spreads,
}

impl Setting {
    /// What an agent's link carries, up and down, in bytes a second.
    pub(super) fn rates(&self, agent: u32) -> (f64, f64) {
        let part = if self.is_slow(agent) { 0.25 } else { 1.0 };
        let of = |rate: ByteRate| rate.bytes_per_second() as f64 * part;
        (of(self.up), of(self.down))
    }

    /// Whether the agent's link has a quarter of the rate.
    pub fn is_slow(&self, agent: u32) -> bool {
        self.slow_every > 0 && agent.is_multiple_of(self.slow_every)
    }

    /// The least time in which links of these rates can bring the file to all honest agents: the slowest link down, the
    /// source's link for one copy, and all links up together for all copies (Mundinger, Weber and Weiss, 2008).
    pub fn bound(&self) -> Duration {
        self.bound_of(|_| true)
    }

    /// The same for those of fast links: the slow ones have by then as much as their links carry.
    pub fn bound_of_fast(&self) -> Duration {
        self.bound_of(|agent| !self.is_slow(agent))
    }

    fn bound_of(&self, counts: impl Fn(u32) -> bool) -> Duration {
        let size = self.size as f64;
        let source = self.source_up.bytes_per_second() as f64;
        let honest = || (0..self.agents).filter(|agent| self.faults.is_honest(*agent, self.agents));
        let up: f64 = honest().map(|agent| self.rates(agent).0).sum();
        let counted = || honest().filter(|agent| counts(*agent));
        let down = counted().map(|agent| self.rates(agent).1).fold(f64::INFINITY, f64::min);
        let alone = (size / source).max(size / down);
        // A slow one takes its share of the links up for as long as the others need.
        let uncounted: f64 = honest().filter(|agent| !counts(*agent)).map(|agent| self.rates(agent).1).sum();
        let together = size * counted().count() as f64 / (source + up - uncounted);
        Duration::from_secs_f64(alone.max(together))
    }

    /// Lengths of pieces as content-defined cutting makes them: a cut is found half as often as aimed at up to the mean, and
    /// twice as often beyond it.
    pub(super) fn lengths(&self, rng: &mut impl Rng) -> Vec<u32> {
        let mean = f64::from(self.mean.unwrap_or_else(|| PieceSizes::of_blob(self.size).mean));
        let mut left = self.size;
        let mut lengths = Vec::new();
        while left > 0 {
            let wait = -rng.random::<f64>().max(f64::MIN_POSITIVE).ln();
            let parts = 0.25 + if wait < 0.375 { 2.0 * wait } else { 0.75 + (wait - 0.375) / 2.0 };
            let length = ((mean * parts.min(2.0)) as u64).clamp(1, left);
            lengths.push(u32::try_from(length).expect("at most twice a mean of u32 over four"));
            left -= length;
        }
        lengths
    }
}
