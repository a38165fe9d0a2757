//! Turns and accounts under a paused clock.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use rdcq_bandwidth::Limits;
use rdcq_env::{Env, SimDisk};
use rdcq_wire::{Class, RateLimit};

use super::*;

fn env() -> Env {
    Env::simulated(1, SimDisk::new())
}

fn at(rate: &str) -> Limits {
    Limits { node: RateLimit::At(rate.parse().unwrap()), ..Limits::default() }
}

/// A limited direction.
fn egress(rate: &str) -> (Env, Arc<Gate>) {
    let env = env();
    let gate = Arc::clone(Bandwidth::new(&env, at(rate), Limits::default()).gate(Direction::Egress));
    (env, gate)
}

fn turn(gate: &Arc<Gate>, peer: &str, class: Class) -> Turn {
    let peer = gate.join(&peer.parse().unwrap());
    Turn::new(gate, peer, class).unwrap()
}

/// Takes as much as it gets, without end.
fn greedy(env: &Env, gate: &Arc<Gate>, peer: &str, class: Class) {
    let mut turn = turn(gate, peer, class);
    env.spawn(async move {
        loop {
            turn.take(64 * 1024).await;
        }
    });
}

fn moved(gate: &Gate) -> [u64; 3] {
    gate.stats().moved.map(|(_, bytes)| bytes)
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_to_the_thousandth_and_a_change_holds_at_once() {
    let env = env();
    let bandwidth = Bandwidth::new(&env, at("100Mbit/s"), Limits::default());
    let gate = bandwidth.gate(Direction::Egress);
    for peer in ["a", "b"] {
        greedy(&env, gate, peer, Class::Normal);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut before = moved(gate)[1];
    assert!(before.abs_diff(12_500_000) < 12_500_000 / 100, "{before}");
    for (rate, bytes) in [("1Gbit/s", 125_000_000), ("8Mbit/s", 1_000_000), ("100Mbit/s", 12_500_000)] {
        bandwidth.set_limits(at(rate), Limits::default());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = moved(gate)[1];
        assert!((now - before).abs_diff(bytes) < bytes / 100, "{} at {rate}", now - before);
        before = now;
    }
}

#[tokio::test(start_paused = true)]
async fn classes_share_by_weight() {
    let (env, gate) = egress("104Mbit/s");
    for class in Class::ALL {
        greedy(&env, &gate, "a", class);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let [urgent, normal, background] = moved(&gate).map(|bytes| bytes / 10_000);
    assert!((784..=816).contains(&urgent), "{urgent}");
    assert!((392..=408).contains(&normal), "{normal}");
    assert!((98..=102).contains(&background), "{background}");
}

#[tokio::test(start_paused = true)]
async fn streams_and_peers_have_the_same_though_each_asks_anew_for_every_grant() {
    let (env, gate) = egress("100Mbit/s");
    let counts: Vec<(&str, Arc<AtomicU64>)> =
        ["a"; 40].into_iter().chain(["b"]).map(|peer| (peer, Arc::default())).collect();
    for (peer, count) in &counts {
        let (mut turn, count) = (turn(&gate, peer, Class::Normal), Arc::clone(count));
        env.spawn(async move {
            loop {
                count.fetch_add(turn.take(64 * 1024).await, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let had = |peer| counts.iter().filter(move |one| one.0 == peer).map(|one| one.1.load(Ordering::Relaxed));
    let [many, one] = ["a", "b"].map(|peer| had(peer).sum::<u64>());
    assert!(many.abs_diff(one) < 125_000, "{many} of forty streams, {one} of one");
    let (least, most) = (had("a").min().unwrap(), had("a").max().unwrap());
    assert!(most - least < 30_000, "{least} to {most} bytes of {} each", many / 40);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_let_through_when_the_limit_goes() {
    let env = env();
    let bandwidth = Bandwidth::new(&env, at("8kbit/s"), Limits::default());
    let gate = bandwidth.gate(Direction::Egress);
    let mut turn = turn(gate, "a", Class::Normal);
    turn.take(64 * 1024).await;
    let mut waiting = pin!(turn.take(64 * 1024));
    assert!(waiting.as_mut().now_or_never().is_none());
    bandwidth.set_limits(Limits::default(), Limits::default());
    assert!(!bandwidth.is_limited(Direction::Egress));
    assert!(waiting.await > 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_given_up_costs_nobody_anything() {
    let (env, gate) = egress("8Mbit/s");
    greedy(&env, &gate, "a", Class::Normal);
    for _ in 0..1000 {
        let mut other = turn(&gate, "b", Class::Normal);
        let _ = tokio::time::timeout(Duration::from_millis(1), other.take(64 * 1024)).await;
    }
    let bytes = moved(&gate)[1];
    assert!(bytes.abs_diff(1_000_000) < 10_000, "{bytes} in a second");
    assert!(gate.stats().waiting <= 1, "those who gave up are gone");
}

#[tokio::test(start_paused = true)]
async fn threads_that_stand_still_do_not_find_a_burst_afterwards() {
    let (_env, gate) = egress("100Mbit/s");
    let mut turns: Vec<_> = (0..100).map(|_| turn(&gate, "a", Class::Normal)).collect();
    let mut takes: Vec<_> = turns.iter_mut().map(|turn| Box::pin(turn.take(64 * 1024))).collect();
    let mut poll_all = || -> u64 { takes.iter_mut().filter_map(|take| take.as_mut().now_or_never()).sum() };
    assert_eq!(poll_all(), 0);
    // Only the keeper runs.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let found = poll_all();
    // 2 ms that are held, 5 that the bucket has, and what the last grants of each are more.
    assert!((12_500 * 2..12_500 * 9).contains(&found), "{found} of 500,000 bytes");
}

#[tokio::test(start_paused = true)]
async fn who_fetches_what_was_held_makes_room_for_others_at_once() {
    let (env, gate) = egress("800kbit/s");
    let mut turns: Vec<_> = (0..2).map(|_| turn(&gate, "a", Class::Normal)).collect();
    let mut takes: Vec<_> = turns.iter_mut().map(|turn| Box::pin(turn.take(1452))).collect();
    assert!(takes.iter_mut().all(|take| take.as_mut().now_or_never().is_none()));
    let mut third = turn(&gate, "a", Class::Normal);
    let third = env.spawn(async move { third.take(1452).await });
    // Two are granted a datagram each, which is all that may be held; the third, asleep, is due at 29 ms.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(takes[0].as_mut().now_or_never(), Some(1452));
    assert_eq!(tokio::time::timeout(Duration::from_millis(15), third).await.unwrap().unwrap(), 1452);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_wants_nothing_any_more() {
    let (env, gate) = egress("8Mbit/s");
    let mut turns: Vec<_> = (0..20).map(|_| turn(&gate, "a", Class::Normal)).collect();
    for turn in &mut turns {
        assert_eq!(turn.take(64 * 1024).now_or_never(), None);
    }
    greedy(&env, &gate, "b", Class::Normal);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = moved(&gate)[1];
    assert!(bytes.abs_diff(1_000_000) < 10_000, "{bytes} in a second");
}

#[tokio::test(start_paused = true)]
async fn who_has_something_to_write_does_not_hold_others_up() {
    let (env, gate) = egress("8Mbit/s");
    let mut writing: Vec<_> = (0..20).map(|_| turn(&gate, "a", Class::Normal)).collect();
    for turn in &mut writing {
        turn.take(64 * 1024).await;
    }
    let before = moved(&gate)[1];
    greedy(&env, &gate, "b", Class::Normal);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = moved(&gate)[1] - before;
    assert!(bytes.abs_diff(1_000_000) < 10_000, "{bytes} in a second");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_comes_for_holds_others_up_for_a_moment() {
    let (env, gate) = egress("8Mbit/s");
    let mut turns: Vec<_> = (0..2).map(|_| turn(&gate, "a", Class::Normal)).collect();
    let mut stuck: Vec<_> = turns.iter_mut().map(|turn| Box::pin(turn.take(2000))).collect();
    assert!(stuck.iter_mut().all(|take| take.as_mut().now_or_never().is_none()));
    greedy(&env, &gate, "b", Class::Normal);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bytes = moved(&gate)[1];
    assert!((930_000..1_000_000).contains(&bytes), "{bytes} in a second");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let next = moved(&gate)[1] - bytes;
    assert!(next.abs_diff(1_000_000) < 10_000, "{next} in the second after");
    drop(stuck);
}

#[tokio::test(start_paused = true)]
async fn what_was_moved_beside_grants_is_made_up_for() {
    let env = env();
    let bandwidth = Bandwidth::new(&env, at("8Mbit/s"), Limits::default());
    let name = "a".parse().unwrap();
    let accounts = Accounts::open(&bandwidth, &name, Moved { egress: 5000, ingress: 0 });
    let mut turn = Turn::new(accounts.egress.gate(), accounts.egress.peer(), Class::Normal).unwrap();
    let (mut sent, mut granted) = (5000, 0);
    let until = env.now() + Duration::from_secs(10);
    while env.now() < until {
        let bytes = turn.take(64 * 1024).await;
        granted += bytes;
        accounts.egress.grant(Class::Normal, bytes);
        // A tenth is sent twice.
        sent += bytes + bytes / 10;
        accounts.settle(Moved { egress: sent, ingress: 0 }, false);
    }
    assert!((sent - 5000).abs_diff(10_000_000) < 20_000, "{sent}");
    assert!(granted < 9_150_000, "{granted}");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_gone_leaves_no_task() {
    let env = env();
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let bandwidth = Bandwidth::new(&env, at("8Mbit/s"), Limits::default());
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(metrics.num_alive_tasks(), before + 2);
    drop(bandwidth);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(metrics.num_alive_tasks(), before);
}
