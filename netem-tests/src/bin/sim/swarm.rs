//! `sim swarm`: one line of JSON for each seed.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use rdcq_netem_tests::sim::{Faults, Origin, Outcome, Setting, run};
use rdcq_swarm::AcquaintSettings;
use rdcq_wire::ByteRate;
use serde::Serialize;

#[derive(Args)]
pub(super) struct Swarm {
    /// Agents that want the file.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// Bytes of the file, with or without a unit (KiB, MiB, GiB).
    #[arg(long, default_value = "64MiB", value_parser = bytes)]
    size: u64,
    /// Mean bytes of a piece; as for a file of this size if not given.
    #[arg(long)]
    mean: Option<u32>,
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
    /// Neighbours that each agent should have, by the tracker.
    #[arg(long)]
    neighbours: Option<usize>,
    /// Most neighbours of an agent.
    #[arg(long, default_value_t = 64)]
    most_neighbours: u32,
    /// Least milliseconds between two words of an agent about what it has.
    #[arg(long, default_value_t = 1)]
    have_every: u64,
    /// Bytes on a link for each byte of the file, beyond that byte.
    #[arg(long, default_value_t = 0.056)]
    headers: f64,
    /// Bytes on a link of every message: a request, a refusal, a word about what is held.
    #[arg(long, default_value_t = 90)]
    message_bytes: u32,
    /// Every how manieth agent has a link of a quarter of the rate; none if 0.
    #[arg(long, default_value_t = 0)]
    slow_every: u32,
    /// An agent for whose link up so many pieces wait refuses requests; none does if 0.
    #[arg(long, default_value_t = 4)]
    slots: u32,
    /// Assert after every step what must always hold.
    #[arg(long)]
    checked: bool,
    /// The source sends what it is asked for, rather than offer each agent other pieces.
    #[arg(long)]
    open_source: bool,
    /// Agents that restart mid-way, in parts of a hundred.
    #[arg(long, default_value_t = 0.0)]
    restarting: f64,
    /// How many milliseconds a restart takes.
    #[arg(long, default_value_t = 300)]
    down_for: u64,
    /// Agents that vanish for good mid-way, in parts of a hundred.
    #[arg(long, default_value_t = 0.0)]
    leaving: f64,
    /// Agents that take requests and send nothing, in parts of a hundred.
    #[arg(long, default_value_t = 0.0)]
    silent: f64,
    /// Agents that send wrong bytes, in parts of a hundred.
    #[arg(long, default_value_t = 0.0)]
    lying: f64,
    /// All trackers die after so many milliseconds.
    #[arg(long)]
    trackers_die_at: Option<u64>,
    /// The source restarts after so many milliseconds.
    #[arg(long)]
    source_restarts_at: Option<u64>,
    /// Least pieces in flight from all agents together.
    #[arg(long)]
    together: Option<u32>,
    /// Least pieces in flight from one agent.
    #[arg(long)]
    each: Option<u32>,
    /// Milliseconds of work that wait at all agents together.
    #[arg(long)]
    queue: Option<u64>,
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
    pieces: u32,
    seed: u64,
    bound_seconds: f64,
    last: Option<f64>,
    percentile_90: Option<f64>,
    median: Option<f64>,
    first: Option<f64>,
    /// The last of those with fast links, as a part of their own bound.
    last_fast: Option<f64>,
    unfinished: u32,
    source_copies: f64,
    received_copies: f64,
    duplicates: f64,
    wrong: f64,
    messages: u64,
    refused: u64,
    banned: u64,
    given_up: u64,
    restarted: u32,
    left: u32,
    took_seconds: f64,
}

impl Swarm {
    pub(super) fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        for seed in self.seed..self.seed + self.seeds {
            let setting = self.setting(seed);
            let began = std::time::Instant::now();
            let outcome = run(&setting);
            let line = Line::of(&setting, &outcome, began.elapsed());
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
        }
        Ok(())
    }

    fn setting(&self, seed: u64) -> Setting {
        let ms = Duration::from_millis;
        Setting {
            agents: self.agents,
            size: self.size,
            mean: self.mean,
            up: self.up,
            down: self.down,
            source_up: self.source_up,
            latency: Duration::from_micros(self.latency),
            setup: self.setup,
            spread: ms(self.spread),
            acquaint: self.acquaint(),
            most_neighbours: self.most_neighbours,
            have_every: ms(self.have_every),
            headers: self.headers,
            message_bytes: self.message_bytes,
            slow_every: self.slow_every,
            slots: self.slots,
            is_checked: self.checked,
            origin: if self.open_source { Origin::Open } else { Origin::Spreads },
            faults: self.faults(),
            scheduler: self.scheduler(),
            patience: Duration::from_secs(self.patience),
            seed,
        }
    }

    fn acquaint(&self) -> AcquaintSettings {
        let settings = AcquaintSettings::default();
        self.neighbours.map_or(settings, |wanted| AcquaintSettings { least: wanted, most: wanted })
    }

    fn faults(&self) -> Faults {
        Faults {
            restarting: self.restarting / 100.0,
            down_for: Duration::from_millis(self.down_for),
            leaving: self.leaving / 100.0,
            silent: self.silent / 100.0,
            lying: self.lying / 100.0,
            trackers_die_at: self.trackers_die_at.map(Duration::from_millis),
            source_restarts_at: self.source_restarts_at.map(Duration::from_millis),
        }
    }

    fn scheduler(&self) -> rdcq_swarm::Settings {
        let mut settings = rdcq_swarm::Settings::default();
        if let Some(pieces) = self.together {
            settings.all_agents.min_pieces = pieces;
        }
        if let Some(pieces) = self.each {
            settings.agent.min_pieces = pieces;
        }
        if let Some(queue) = self.queue {
            settings.all_agents.queue = Duration::from_millis(queue);
        }
        settings
    }
}

impl Line {
    fn of(setting: &Setting, outcome: &Outcome, took: Duration) -> Self {
        let bound = setting.bound().as_secs_f64();
        let Outcome { done, unfinished, .. } = outcome;
        let part = |done: Duration| rounded(done.as_secs_f64() / bound);
        // Of all that should have it: one that has nothing counts as later than any other.
        let awaited = done.len() + *unfinished as usize;
        let at = |percent: usize| {
            let rank = (awaited * percent).div_ceil(100).max(1);
            done.get(rank - 1).map(|(done, _)| part(*done))
        };
        let fast = done.iter().rev().find(|(_, agent)| !setting.is_slow(*agent)).filter(|_| *unfinished == 0);
        let fast_bound = setting.bound_of_fast().as_secs_f64();
        let copies = |bytes: u64| rounded(bytes as f64 / setting.size as f64);
        let each = |bytes: u64| rounded(bytes as f64 / setting.size as f64 / awaited.max(1) as f64);
        Self {
            test: "sim swarm",
            agents: setting.agents,
            size: setting.size,
            pieces: outcome.pieces,
            seed: setting.seed,
            bound_seconds: rounded(bound),
            last: at(100),
            percentile_90: at(90),
            median: at(50),
            first: done.first().map(|(done, _)| part(*done)),
            last_fast: fast.map(|(done, _)| rounded(done.as_secs_f64() / fast_bound)),
            unfinished: *unfinished,
            source_copies: copies(outcome.source_bytes),
            received_copies: each(outcome.received_bytes),
            duplicates: each(outcome.duplicate_bytes),
            wrong: each(outcome.wrong_bytes),
            messages: outcome.messages,
            refused: outcome.refused,
            banned: outcome.banned,
            given_up: outcome.given_up,
            restarted: outcome.restarted,
            left: outcome.left,
            took_seconds: rounded(took.as_secs_f64()),
        }
    }
}

/// To three places.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: u64 = number.trim().parse().map_err(|error| format!("{text:?}: {error}"))?;
    number
        .checked_shl(shift)
        .filter(|bytes| bytes >> shift == number)
        .ok_or_else(|| format!("{text:?} is too much"))
}
