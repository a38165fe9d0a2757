//! Whole downloads: many agents and an origin in virtual time.

mod world;

use std::time::Duration;

use world::{Manner, ORIGIN, Outcome, Plan, run};

/// What left the origin's uplink, in copies of the blob.
fn copies(plan: &Plan, outcome: &Outcome) -> f64 {
    outcome.origin_sent_bytes as f64 / plan.bytes() as f64
}

/// The time over the fluid bound of equal links: nobody has the whole blob before one copy has left the origin.
fn over_bound(plan: &Plan, outcome: &Outcome) -> f64 {
    outcome.last().as_secs_f64() / (plan.bytes() as f64 / plan.uplinks[ORIGIN] as f64)
}

#[expect(clippy::print_stderr, reason = "the figure is what the test is for")]
fn check_equal_links(agents: usize, pieces: u32, most_copies: f64, most_over_bound: f64) {
    let (mut worst_copies, mut worst_time, mut least_share) = (0.0_f64, 0.0_f64, 1.0_f64);
    for seed in 0..8 {
        let plan = Plan::equal(seed, agents, pieces);
        let outcome = run(&plan);
        let (sent, time, share) =
            (copies(&plan, &outcome), over_bound(&plan, &outcome), outcome.agent_share());
        assert!(sent <= most_copies, "seed {seed}: the origin sent {sent:.3} copies");
        assert!(time <= most_over_bound, "seed {seed}: took {time:.3} of the fluid bound");
        assert!(share >= 0.5, "seed {seed}: {share:.3} of the bytes came from agents");
        (worst_copies, worst_time) = (worst_copies.max(sent), worst_time.max(time));
        least_share = least_share.min(share);
    }
    eprintln!(
        "{agents} agents, {pieces} pieces: at most {worst_copies:.3} copies from the origin, {worst_time:.3} of the \
         fluid bound; at least {least_share:.3} of the bytes from agents"
    );
}

#[test]
fn every_agent_finishes_for_two_hundred_seeds_on_unequal_links() {
    for seed in 0..200 {
        let agents = 1 + (seed % 5) as usize;
        let mut plan = Plan::equal(seed, agents, 1 + (seed * 13 % 70) as u32);
        for node in 0..=agents {
            plan.uplinks[node] = 1_000_000 * (1 + (seed * 31 + node as u64 * 17) % 40);
            plan.downlinks[node] = 1_000_000 * (1 + (seed * 29 + node as u64 * 23) % 40);
        }
        plan.latency = Duration::from_millis(seed % 30);
        let outcome = run(&plan);
        assert_eq!(outcome.finished.len(), agents, "seed {seed}");
        for report in outcome.reports.values() {
            let unique =
                report.origin_bytes + report.agent_bytes + report.late_bytes - report.duplicate_bytes;
            assert_eq!(unique, plan.bytes(), "seed {seed}: every byte is counted once");
            assert_eq!(report.peer_bytes.values().sum::<u64>(), report.origin_bytes + report.agent_bytes);
            assert!(report.duplicate_bytes * 2 <= plan.bytes() + 100_000, "seed {seed}: {report:?}");
        }
    }
}

#[test]
fn two_agents_on_equal_links_keep_all_links_busy() {
    // Each can have at most half from the other.
    let plan = Plan::equal(5, 2, 400);
    let outcome = run(&plan);
    assert!(over_bound(&plan, &outcome) < 1.08, "took {:.3} of the fluid bound", over_bound(&plan, &outcome));
    assert!(outcome.agent_share() > 0.45, "{:.3} of the bytes came from agents", outcome.agent_share());
}

#[test]
fn four_agents_on_equal_links_take_little_more_than_one_copy_from_the_origin() {
    check_equal_links(4, 64, 1.3, 1.4);
    check_equal_links(4, 512, 1.06, 1.1);
}

#[test]
fn eight_agents_on_equal_links_take_little_more_than_one_copy_from_the_origin() {
    check_equal_links(8, 256, 1.2, 1.2);
}

#[test]
fn an_agent_alone_pulls_at_line_rate_over_a_long_link() {
    let mut plan = Plan::equal(1, 1, 3000);
    (plan.uplinks, plan.downlinks) = (vec![125_000_000; 2], vec![125_000_000; 2]);
    plan.latency = Duration::from_millis(10);
    let outcome = run(&plan);
    let time = over_bound(&plan, &outcome);
    assert!(time < 1.12, "took {time:.3} of the fluid bound");
    assert_eq!(outcome.origin_sent_bytes, plan.bytes());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let plan = Plan::equal(7, 4, 64);
    let (first, second) = (run(&plan), run(&plan));
    assert_eq!(first.finished, second.finished);
    assert_eq!(first.reports, second.reports);
}

#[test]
fn a_lying_peer_is_banned_after_one_piece_and_everyone_finishes() {
    for seed in 0..10 {
        let mut plan = Plan::equal(seed, 4, 64);
        plan.manners[2] = Manner::Liar;
        let outcome = run(&plan);
        assert_eq!(outcome.finished.len(), 3, "seed {seed}");
        assert_eq!(outcome.bans.len(), 3, "seed {seed}: every agent found out");
        assert!(
            outcome.bans.iter().all(|((_, liar), pieces)| *liar == 2 && *pieces == 1),
            "{:?}",
            outcome.bans
        );
        assert!(outcome.give_ups.is_empty());
    }
}

#[test]
fn a_silent_peer_is_given_up_within_a_second_and_everyone_finishes() {
    for seed in 0..10 {
        let mut plan = Plan::equal(seed, 4, 64);
        plan.manners[3] = Manner::Mute;
        let outcome = run(&plan);
        assert_eq!(outcome.finished.len(), 3, "seed {seed}");
        assert!(outcome.last() < Duration::from_secs(2), "seed {seed}: took {:?}", outcome.last());
        for ((_, mute), after) in &outcome.give_ups {
            assert_eq!((*mute, *after), (3, Duration::from_secs(1)), "seed {seed}");
        }
        assert!(outcome.bans.is_empty());
    }
}

#[test]
fn agents_that_leave_halfway_hold_nobody_up() {
    for seed in 0..10 {
        let mut plan = Plan::equal(seed, 5, 96);
        plan.departures = vec![(1, Duration::from_millis(60)), (4, Duration::from_millis(130))];
        let outcome = run(&plan);
        let stayed: Vec<usize> = outcome.reports.keys().copied().collect();
        assert_eq!(stayed, [2, 3, 5], "seed {seed}");
        assert!(stayed.iter().all(|agent| outcome.finished.contains_key(agent)), "seed {seed}");
        assert!(outcome.last() < Duration::from_secs(1), "seed {seed}: took {:?}", outcome.last());
    }
}

#[test]
fn an_origin_far_faster_than_the_agents_uplinks_helps_out() {
    for seed in 0..5 {
        let mut plan = Plan::equal(seed, 3, 128);
        plan.uplinks[1..].fill(100_000);
        let outcome = run(&plan);
        let agents_only = 2.0 * plan.bytes() as f64 / 300_000.0;
        let took = outcome.last().as_secs_f64();
        assert!(
            took < agents_only / 5.0,
            "seed {seed}: took {took:.1} s, one copy and no help {agents_only:.1} s"
        );
    }
}

#[test]
fn links_so_slow_that_everyone_seems_silent_bring_everything_all_the_same() {
    for seed in 0..5 {
        let mut plan = Plan::equal(seed, 3, 64);
        plan.uplinks[1..].fill(50_000);
        plan.downlinks[1..].fill(50_000);
        let outcome = run(&plan);
        let own_link = plan.bytes() as f64 / 50_000.0;
        let took = outcome.last().as_secs_f64();
        assert!(took < 4.0 * own_link, "seed {seed}: took {took:.1} s, the link needs {own_link:.1} s");
    }
}
