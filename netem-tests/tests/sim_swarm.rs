//! The simulated swarm: what must hold whatever the policy, for every seed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use rdcq_netem_tests::sim::{Faults, Origin, Outcome, Setting, check, run};
use rdcq_swarm::AcquaintSettings;
use rdcq_wire::ByteRate;

/// Seeds of small swarms that are run here.
const SLICE: u64 = 150;

fn setting(agents: u32, seed: u64) -> Setting {
    let ms = Duration::from_millis;
    Setting {
        agents,
        size: 4 << 20,
        mean: Some(56_000),
        up: "50Mbit/s".parse().unwrap(),
        down: "50Mbit/s".parse().unwrap(),
        source_up: "50Mbit/s".parse().unwrap(),
        latency: ms(1),
        setup: 4,
        spread: ms(20),
        acquaint: AcquaintSettings::default(),
        most_neighbours: 16,
        have_every: ms(1),
        headers: 0.05,
        message_bytes: 90,
        slow_every: 0,
        slots: 4,
        origin: Origin::Spreads,
        faults: Faults::default(),
        is_checked: true,
        scheduler: rdcq_swarm::Settings::default(),
        patience: Duration::from_secs(60),
        seed,
    }
}

/// The last agent's time by the least possible.
fn ratio(setting: &Setting, outcome: &Outcome) -> f64 {
    assert_eq!(outcome.unfinished, 0, "seed {}", setting.seed);
    outcome.done.last().unwrap().0.as_secs_f64() / setting.bound().as_secs_f64()
}

#[test]
fn every_agent_has_the_file_and_none_before_its_link_can_have_carried_it() {
    for seed in 0..12 {
        let setting = setting(1 + seed as u32, seed);
        let outcome = run(&setting);
        let least = Duration::from_secs_f64(setting.size as f64 * 1.05 * 8.0 / 50e6);
        assert!(outcome.done[0].0 >= least, "seed {seed}: {:?}", outcome.done);
        assert!(outcome.source_bytes <= setting.size + setting.size / 10, "seed {seed}: {outcome:?}");
        // Early agents hear of later ones only when they ask the tracker again, which here is nearly the end.
        let ratio = ratio(&setting, &outcome);
        assert!((1.05..2.0).contains(&ratio), "seed {seed}: {ratio}");
        assert!(outcome.source_bytes >= setting.size, "seed {seed}");
        let wanted = setting.size * u64::from(setting.agents);
        assert_eq!(outcome.received_bytes, wanted + outcome.duplicate_bytes, "seed {seed}");
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    assert_eq!(run(&setting(6, 3)), run(&setting(6, 3)));
    assert_ne!(run(&setting(6, 3)), run(&setting(6, 4)));
}

#[test]
fn a_source_that_restarts_half_way_does_not_offer_all_once_more() {
    for seed in 0..6 {
        let faults = |at| Faults { source_restarts_at: at, ..Faults::default() };
        let size = 32 << 20;
        let whole = Setting { size, faults: faults(None), ..setting(8, seed) };
        let restarted = Setting { faults: faults(Some(Duration::from_millis(2700))), ..whole.clone() };
        let [whole, restarted] = [whole, restarted].map(|setting| ratio(&setting, &run(&setting)));
        assert!(restarted < whole + 0.03, "seed {seed}: {restarted}, and {whole} without the restart");
    }
}

#[test]
fn who_has_a_slow_link_is_later_and_bounds_all() {
    let uneven = Setting { slow_every: 4, ..setting(8, 1) };
    assert_eq!(uneven.bound(), setting(8, 1).bound() * 4);
    let outcome = run(&uneven);
    assert!(ratio(&uneven, &outcome) >= 1.05);
    let [.., third, slow, slowest] = &*outcome.done else { panic!("{outcome:?}") };
    assert!(slow.0.as_secs_f64() > third.0.as_secs_f64() * 1.5 && slowest >= slow, "{:?}", outcome.done);
}

#[test]
fn a_run_ends_when_its_patience_does() {
    let short = Setting { patience: Duration::from_millis(200), ..setting(3, 1) };
    let outcome = run(&short);
    assert_eq!((outcome.unfinished, outcome.done.len()), (3, 0));
}

#[test]
fn small_swarms_of_every_kind_hold_what_is_promised() {
    // The ledger names many more seeds; here only a slice.
    (0..SLICE).for_each(|seed| drop(check(seed)));
}

#[test]
fn each_fault_is_survived_and_shown() {
    let faults = Faults {
        restarting: 0.1,
        leaving: 0.1,
        silent: 0.1,
        lying: 0.1,
        down_for: Duration::from_millis(100),
        trackers_die_at: Some(Duration::from_millis(300)),
        source_restarts_at: Some(Duration::from_millis(300)),
    };
    let outcome = run(&Setting { faults, ..setting(20, 1) });
    assert_eq!((outcome.unfinished, outcome.restarted), (0, 2), "{outcome:?}");
    assert!(outcome.banned > 0 && outcome.given_up > 0 && outcome.wrong_bytes > 0, "{outcome:?}");
}

#[test]
fn who_was_named_mostly_liars_is_named_others_and_is_not_the_last_by_far() {
    let rate: ByteRate = "5Mbit/s".parse().unwrap();
    let ratios = (2..9).map(|seed| {
        let setting = Setting {
            size: 8 << 20,
            mean: Some(16_000),
            up: rate,
            down: rate,
            source_up: rate,
            most_neighbours: 64,
            faults: Faults { lying: 0.5, ..Faults::default() },
            is_checked: false,
            ..setting(20, seed)
        };
        ratio(&setting, &run(&setting))
    });
    let ratios: Vec<f64> = ratios.collect();
    // With the neighbours that it had, the last one took 1.29 to 1.65.
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean < 1.34, "{ratios:?}");
}

#[test]
fn one_that_sends_slowly_is_not_silent() {
    // One piece takes two seconds.
    let slow: ByteRate = "200kbit/s".parse().unwrap();
    let setting = Setting { size: 500_000, up: slow, down: slow, source_up: slow, ..setting(1, 1) };
    let outcome = run(&Setting { patience: Duration::from_secs(600), ..setting });
    assert_eq!((outcome.unfinished, outcome.given_up), (0, 0), "{outcome:?}");
}
