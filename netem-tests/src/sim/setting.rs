//! What is simulated.

use std::time::Duration;

use rdcq_wire::ByteRate;

/// One run.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Agents that want the file.
    pub agents: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Pieces that it has.
    pub pieces: u32,
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
    /// Neighbours that the tracker names at a time.
    pub neighbours: u32,
    /// How soon an agent asks the tracker again.
    pub ask_again: Duration,
    /// Least time between two words of an agent about what it has.
    pub have_every: Duration,
    /// Bytes on a link for each byte of the file, beyond that byte.
    pub headers: f64,
    /// Every how manieth agent has a link of a quarter of the rate; none if 0.
    pub slow_every: u32,
    /// How long a run may take, by its own clock.
    pub patience: Duration,
    /// What is drawn by lot follows from it.
    pub seed: u64,
}

impl Setting {
    /// What an agent's link carries, up and down, in bytes a second.
    pub(super) fn rates(&self, agent: u32) -> (f64, f64) {
        let part = if self.slow_every > 0 && agent.is_multiple_of(self.slow_every) { 0.25 } else { 1.0 };
        let of = |rate: ByteRate| rate.bytes_per_second() as f64 * part;
        (of(self.up), of(self.down))
    }

    /// The least time in which links of these rates can bring the file to all: the slowest link down, the source's link for one copy,
    /// and all links up together for all copies (Mundinger, Weber and Weiss, 2008).
    pub fn bound(&self) -> Duration {
        let size = self.size as f64;
        let source = self.source_up.bytes_per_second() as f64;
        let rates = || (0..self.agents).map(|agent| self.rates(agent));
        let up: f64 = rates().map(|(up, _)| up).sum();
        let down = rates().map(|(_, down)| down).fold(f64::INFINITY, f64::min);
        let seconds = (size / source).max(size / down).max(size * f64::from(self.agents) / (source + up));
        Duration::from_secs_f64(seconds)
    }
}
