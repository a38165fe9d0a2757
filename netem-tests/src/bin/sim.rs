//! `sim`: what a policy of the swarm comes to, without a network.

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rdcq_netem_tests::sim::{Outcome, Setting, run};
use rdcq_wire::ByteRate;
use serde::Serialize;

#[derive(Parser)]
#[command(version, about = "The swarm's scheduler under virtual time.")]
struct Sim {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A file that all agents want at once.
    Swarm(Swarm),
}

#[derive(Args)]
struct Swarm {
    /// Agents that want the file.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// Bytes of the file.
    #[arg(long, default_value_t = 64 << 20)]
    size: u64,
    /// Pieces that it has.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pieces: u32,
    /// What an agent's link carries to others.
    #[arg(long, default_value = "50Mbit/s")]
    up: ByteRate,
    /// What it carries to the agent.
    #[arg(long, default_value = "50Mbit/s")]
    down: ByteRate,
    /// What the source's link carries to agents.
    #[arg(long, default_value = "50Mbit/s")]
    source_up: ByteRate,
    /// One way between any two, in microseconds.
    #[arg(long, default_value_t = 250)]
    latency: u64,
    /// Round trips before an agent has asked its tracker and is connected.
    #[arg(long, default_value_t = 8)]
    setup: u32,
    /// Agents start evenly within so many milliseconds.
    #[arg(long, default_value_t = 50)]
    spread: u64,
    /// Neighbours that the tracker names at a time.
    #[arg(long, default_value_t = 32)]
    neighbours: u32,
    /// Least milliseconds between two words of an agent about what it has.
    #[arg(long, default_value_t = 1)]
    have_every: u64,
    /// Bytes on a link for each byte of the file, beyond that byte.
    #[arg(long, default_value_t = 0.056)]
    headers: f64,
    /// Every how manieth agent has a link of a quarter of the rate; none if 0.
    #[arg(long, default_value_t = 0)]
    slow_every: u32,
    /// How long the swarm may take, in seconds of its own clock.
    #[arg(long, default_value_t = 3600)]
    patience: u64,
    /// Seeds that are run, from this one on.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
}

/// What is printed of a run. Times are parts of the bound, and bytes those of the file.
#[derive(Serialize)]
struct Line {
    test: &'static str,
    agents: u32,
    size: u64,
    seed: u64,
    bound_seconds: f64,
    last: Option<f64>,
    percentile_90: Option<f64>,
    median: Option<f64>,
    unfinished: u32,
    source_copies: f64,
    received_copies: f64,
    duplicates: f64,
    messages: u64,
    took_seconds: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Sim { command: Command::Swarm(swarm) } = Sim::parse();
    for seed in swarm.seed..swarm.seed + swarm.seeds {
        let setting = swarm.setting(seed);
        let began = std::time::Instant::now();
        let outcome = run(&setting);
        let line = Line::of(&setting, &outcome, began.elapsed());
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

impl Swarm {
    fn setting(&self, seed: u64) -> Setting {
        let ms = Duration::from_millis;
        Setting {
            agents: self.agents,
            size: self.size,
            pieces: self.pieces,
            up: self.up,
            down: self.down,
            source_up: self.source_up,
            latency: Duration::from_micros(self.latency),
            setup: self.setup,
            spread: ms(self.spread),
            neighbours: self.neighbours,
            // As the tracker asks of them.
            ask_again: ms(500),
            have_every: ms(self.have_every),
            headers: self.headers,
            slow_every: self.slow_every,
            patience: Duration::from_secs(self.patience),
            seed,
        }
    }
}

impl Line {
    fn of(setting: &Setting, outcome: &Outcome, took: Duration) -> Self {
        let bound = setting.bound().as_secs_f64();
        let Outcome { done, unfinished, source_bytes, received_bytes, duplicate_bytes, messages } = outcome;
        // Of all agents: one that has nothing counts as later than any other.
        let at = |percent: usize| {
            let rank = (setting.agents as usize * percent).div_ceil(100).max(1);
            done.get(rank - 1).map(|done| rounded(done.as_secs_f64() / bound))
        };
        let copies = |bytes: u64| rounded(bytes as f64 / setting.size as f64);
        let all = f64::from(setting.agents);
        Self {
            test: "sim swarm",
            agents: setting.agents,
            size: setting.size,
            seed: setting.seed,
            bound_seconds: rounded(bound),
            last: at(100),
            percentile_90: at(90),
            median: at(50),
            unfinished: *unfinished,
            source_copies: copies(*source_bytes),
            received_copies: rounded(copies(*received_bytes) / all),
            duplicates: rounded(copies(*duplicate_bytes) / all),
            messages: *messages,
            took_seconds: rounded(took.as_secs_f64()),
        }
    }
}

/// To three places.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
