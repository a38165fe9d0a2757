//! Small swarms of every kind, in which what must always hold is asserted after every step.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rdcq_swarm::AcquaintSettings;
use rdcq_wire::ByteRate;

use super::faults::Faults;
use super::outcome::Outcome;
use super::run::run;
use super::setting::{Origin, Setting};

/// A small swarm that follows from a seed: its links, its neighbourhoods, and what goes wrong in it.
///
/// # Panics
///
/// Never: the rates are well-formed.
pub fn small(seed: u64) -> Setting {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rate = || -> ByteRate {
        let of = ["2Mbit/s", "8Mbit/s", "25Mbit/s", "100Mbit/s", "1Gbit/s"].choose(&mut rng).copied();
        of.and_then(|rate| rate.parse().ok()).expect("one of the rates above")
    };
    let (up, down, source_up) = (rate(), rate(), rate());
    let mut share = |most: f64| if rng.random_bool(0.5) { rng.random_range(0.0..most) } else { 0.0 };
    let faults = Faults {
        restarting: share(0.4),
        leaving: share(0.2),
        silent: share(0.2),
        lying: share(0.2),
        down_for: Duration::from_millis(rng.random_range(1..1500)),
        trackers_die_at: rng.random_bool(0.3).then(|| Duration::from_millis(rng.random_range(50..1000))),
        source_restarts_at: rng.random_bool(0.3).then(|| Duration::from_millis(rng.random_range(50..1000))),
    };
    Setting {
        agents: rng.random_range(1..16),
        size: rng.random_range(1..1_500_000),
        mean: Some(rng.random_range(8_000..64_000)),
        up,
        down,
        source_up,
        latency: Duration::from_micros(rng.random_range(50..50_000)),
        setup: rng.random_range(1..8),
        spread: Duration::from_millis(rng.random_range(0..1000)),
        acquaint: acquaint(&mut rng),
        most_neighbours: rng.random_range(1..16),
        have_every: Duration::from_millis(rng.random_range(0..50)),
        headers: 0.05,
        message_bytes: 90,
        slow_every: rng.random_range(0..4),
        slots: rng.random_range(0..6),
        origin: if rng.random() { Origin::Open } else { Origin::Spreads },
        faults,
        is_checked: true,
        scheduler: rdcq_swarm::Settings::default(),
        patience: Duration::from_secs(1200),
        seed,
    }
}

fn acquaint(rng: &mut StdRng) -> AcquaintSettings {
    let least = rng.random_range(1..16);
    AcquaintSettings { least, most: least + rng.random_range(0..8) }
}

/// Runs the small swarm of a seed.
///
/// # Panics
///
/// If something does not hold, or an honest agent that stays does not finish although the source lives.
pub fn check(seed: u64) -> Outcome {
    let setting = small(seed);
    let outcome = run(&setting);
    assert_eq!(outcome.unfinished, 0, "seed {seed}: agents without the file after {:?}", setting.patience);
    outcome
}
