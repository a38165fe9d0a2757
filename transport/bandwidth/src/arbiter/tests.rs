use std::num::NonZeroU32;

use proptest::prelude::*;

use rdcq_wire::RateLimit;

use super::*;
use crate::bucket::DATAGRAM;
use crate::limits::{ClassLimits, Classes};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// What was granted to whom, and when.
#[derive(Debug, Clone, Copy)]
struct Granted {
    at: Duration,
    stream: StreamId,
    bytes: u64,
}

/// An arbiter whose streams want something without end, and a driver that is late as a seed says.
struct World {
    arbiter: Arbiter,
    now: Duration,
    /// How late the driver is, in turn.
    late: Vec<Duration>,
    log: Vec<Granted>,
}

impl World {
    fn new(limits: Limits) -> Self {
        limits.check().unwrap();
        let arbiter = Arbiter::new(limits, Duration::ZERO);
        Self { arbiter, now: Duration::ZERO, late: vec![Duration::ZERO, MS / 2, MS], log: Vec::new() }
    }

    fn stream(&mut self, peer: &str, class: Class) -> StreamId {
        let peer = self.arbiter.join(&peer.parse().unwrap(), self.now);
        let stream = self.arbiter.open(peer, class).unwrap();
        self.arbiter.ask(stream, ENDLESS);
        stream
    }

    fn streams(&mut self, peer: &str, class: Class, count: usize) -> Vec<StreamId> {
        (0..count).map(|_| self.stream(peer, class)).collect()
    }

    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        let mut turn = 0;
        loop {
            while let Some(Grant { stream, bytes }) = self.arbiter.poll_grant(self.now) {
                assert!(bytes > 0);
                self.log.push(Granted { at: self.now, stream, bytes });
                self.arbiter.ask(stream, ENDLESS);
            }
            let Some(due) = self.arbiter.poll_timeout() else { break };
            assert!(due > self.now, "a timer that is due already, and no grant");
            turn += 1;
            self.now = due + self.late[turn % self.late.len()];
            if self.now >= until {
                break;
            }
        }
        self.now = until;
    }

    /// Bytes granted to some streams from `from` on.
    fn had(&self, streams: &[StreamId], from: Duration) -> u64 {
        let theirs = |granted: &&Granted| granted.at >= from && streams.contains(&granted.stream);
        self.log.iter().filter(theirs).map(|granted| granted.bytes).sum()
    }

    /// The most that was granted within any `window`.
    fn most_within(&self, window: Duration) -> u64 {
        let (mut most, mut sum, mut first) = (0, 0, 0);
        for granted in &self.log {
            sum += granted.bytes;
            while self.log[first].at + window <= granted.at {
                sum -= self.log[first].bytes;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }
}

/// As much as is never had in a test.
const ENDLESS: u64 = 1 << 40;

fn rate(text: &str) -> ByteRate {
    text.parse().unwrap()
}

fn at(text: &str) -> RateLimit {
    RateLimit::At(rate(text))
}

fn node(text: &str) -> Limits {
    Limits { node: at(text), ..Limits::default() }
}

fn weighing(weights: [u32; 3]) -> Classes {
    let [urgent, normal, background] = weights.map(|weight| ClassLimits {
        weight: NonZeroU32::new(weight).unwrap(),
        minimum: None,
        ceiling: RateLimit::Unlimited,
    });
    Classes { urgent, normal, background }
}

/// How even a division is: 1 if all have the same, 1/n if one has all (Jain, Chiu and Hawe, 1984).
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

fn assert_near(got: u64, wanted: f64, percent: f64) {
    let off = (got as f64 / wanted - 1.0) * 100.0;
    assert!(off.abs() <= percent, "{got} is {off:.2} % off {wanted}");
}

#[test]
fn a_rate_is_kept_to_the_percent_over_a_second_and_to_a_fifth_of_it_over_ten() {
    for text in ["1Mbit/s", "10Mbit/s", "100Mbit/s", "1Gbit/s", "5Gbit/s"] {
        for streams in [1, 16, 1000] {
            let mut world = World::new(node(text));
            let all = world.streams("a", Class::Normal, streams);
            world.run(SECOND * 11);
            let wanted = rate(text).bytes_per_second();
            let packets = 2 * DATAGRAM;
            let second = world.most_within(SECOND);
            assert!(second <= wanted + (wanted / 100).max(packets), "{text}: {second} in a second");
            let ten = world.had(&all, SECOND);
            assert!(ten.abs_diff(wanted * 10) <= (wanted / 50).max(packets), "{text}: {ten} in ten seconds");
        }
    }
}

#[test]
fn a_burst_is_less_than_two_hundredths_of_a_second_also_after_a_long_rest() {
    for text in ["1Mbit/s", "100Mbit/s", "1Gbit/s"] {
        let mut world = World::new(node(text));
        world.run(SECOND * 60);
        world.now = SECOND * 60;
        world.streams("a", Class::Normal, 20);
        world.run(SECOND);
        let burst = world.most_within(Duration::from_nanos(1));
        assert!(burst <= (rate(text).bytes_per_second() / 50).max(2 * DATAGRAM), "{text}: {burst} at once");
    }
}

#[test]
fn streams_and_peers_have_the_same_however_many_and_long_their_requests_are() {
    let mut world = World::new(node("1Gbit/s"));
    let streams = world.streams("a", Class::Normal, 1000);
    world.run(SECOND);
    let shares: Vec<_> = streams.iter().map(|stream| world.had(&[*stream], Duration::ZERO)).collect();
    assert!(jain(&shares) >= 0.99, "{}", jain(&shares));

    let mut world = World::new(node("1Gbit/s"));
    let peers: Vec<_> =
        (1..=10).map(|peer| world.streams(&format!("p{peer}"), Class::Normal, peer * peer)).collect();
    world.run(SECOND);
    let shares: Vec<_> = peers.iter().map(|streams| world.had(streams, Duration::ZERO)).collect();
    assert!(jain(&shares) >= 0.99, "{shares:?}");
}

#[test]
fn classes_share_by_weight_and_take_what_others_leave() {
    let mut world = World::new(Limits { classes: weighing([8, 4, 1]), ..node("1Gbit/s") });
    let classes = Class::ALL.map(|class| world.streams("a", class, 3));
    world.run(SECOND);
    let rate = 125e6;
    for (streams, weight) in classes.iter().zip([8.0, 4.0, 1.0]) {
        assert_near(world.had(streams, Duration::ZERO), rate * weight / 13.0, 2.0);
    }
    // Urgent falls idle.
    classes[0].iter().for_each(|stream| world.arbiter.ask(*stream, 0));
    let from = world.now;
    world.run(SECOND / 10);
    assert_near(world.had(&classes[1], from), rate / 10.0 * 0.8, 2.0);
    assert_near(world.had(&classes[2], from), rate / 10.0 * 0.2, 4.0);
    // And comes back.
    classes[0].iter().for_each(|stream| world.arbiter.ask(*stream, ENDLESS));
    let from = world.now;
    world.run(SECOND / 10);
    assert_near(world.had(&classes[0], from), rate / 10.0 * 8.0 / 13.0, 4.0);
}

#[test]
fn a_class_whose_one_stream_asks_bit_by_bit_loses_nothing_by_it() {
    let mut world = World::new(Limits { classes: weighing([8, 4, 1]), ..node("1Gbit/s") });
    let [urgent, background] = [Class::Urgent, Class::Background].map(|class| world.stream("a", class));
    let mut had = 0;
    while world.now < SECOND {
        // It wants its next chunk only when the last one was granted, and a driver's turn later.
        while let Some(Grant { stream, bytes }) = world.arbiter.poll_grant(world.now) {
            had += if stream == urgent { bytes } else { 0 };
        }
        world.arbiter.ask(urgent, 16 * 1024);
        world.arbiter.ask(background, ENDLESS);
        world.now += MS / 10;
    }
    assert_near(had, 125e6 * 8.0 / 9.0, 2.0);
}

#[test]
fn a_minimum_is_had_before_weights_and_not_beside_them() {
    let mut classes = weighing([8, 4, 1]);
    classes.background.minimum = Some(rate("100Mbit/s"));
    let mut world = World::new(Limits { classes, ..node("1Gbit/s") });
    let streams = Class::ALL.map(|class| world.streams("a", class, 2));
    world.run(SECOND * 5);
    let from = SECOND;
    assert_near(world.had(&streams[2], from), 4.0 * 12.5e6, 2.0);
    assert_near(world.had(&streams[0], from), 4.0 * 112.5e6 * 8.0 / 12.0, 2.0);
    // It had more than its minimum for a while, and has its minimum again soon when the others are back.
    streams[..2].iter().flatten().for_each(|stream| world.arbiter.ask(*stream, 0));
    world.run(SECOND);
    streams[..2].iter().flatten().for_each(|stream| world.arbiter.ask(*stream, ENDLESS));
    let from = world.now + SECOND / 10;
    world.run(SECOND);
    assert_near(world.had(&streams[2], from), 0.9 * 12.5e6, 3.0);
    // Without it, it has its weight again, at once.
    world.arbiter.set_limits(Limits { classes: weighing([8, 4, 1]), ..node("1Gbit/s") }, world.now);
    let from = world.now + SECOND / 10;
    world.run(SECOND);
    assert_near(world.had(&streams[2], from), 0.9 * 125e6 / 13.0, 6.0);
}

#[test]
fn a_ceiling_and_a_peer_s_own_rate_are_kept_and_the_others_have_the_rest() {
    let mut classes = weighing([8, 4, 1]);
    classes.urgent.ceiling = at("100Mbit/s");
    let peers = [("slow".parse().unwrap(), at("20Mbit/s"))].into();
    let mut world = World::new(Limits { classes, peers, ..node("1Gbit/s") });
    let urgent = world.streams("a", Class::Urgent, 3);
    let slow = [world.stream("slow", Class::Normal), world.stream("slow", Class::Background)];
    let normal = world.streams("a", Class::Normal, 3);
    world.run(SECOND * 3);
    assert_near(world.had(&urgent, SECOND), 2.0 * 12.5e6, 1.0);
    assert_near(world.had(&slow, SECOND), 2.0 * 2.5e6, 1.0);
    assert_near(world.had(&normal, SECOND), 2.0 * 110e6, 1.0);
    // Its second stream is of a class with a quarter of the weight, but has its turns: nothing else waits in its class.
    assert!(world.had(&slow[1..], SECOND) > 0);
}

#[test]
fn what_was_moved_beside_is_charged_and_what_was_not_moved_is_given_back() {
    let mut world = World::new(node("100Mbit/s"));
    let stream = world.stream("a", Class::Normal);
    let peer = world.arbiter.join(&"a".parse().unwrap(), world.now);
    let told = |bytes| Correction { peer, class: Class::Normal, bytes };
    world.arbiter.correct(told(12_500_000), world.now);
    world.run(SECOND);
    assert!(world.had(&[stream], Duration::ZERO) < 20_000, "a second's worth was used ahead of time");
    world.run(SECOND);
    assert_near(world.had(&[stream], SECOND), 12.5e6, 1.0);
    let from = world.now;
    world.arbiter.correct(told(12_500_000), world.now);
    world.arbiter.correct(told(-12_500_000), world.now);
    world.run(SECOND);
    assert_near(world.had(&[stream], from), 12.5e6, 1.0);
}

#[test]
fn a_new_limit_holds_from_the_next_grant_on_however_often_it_changes() {
    let mut world = World::new(node("1Gbit/s"));
    let streams = world.streams("a", Class::Normal, 10);
    world.run(SECOND);
    for round in 0..300 {
        let limits = if round % 2 == 0 { Limits::default() } else { node("1Gbit/s") };
        let from = world.now;
        if round % 2 == 0 {
            // Unlimited for no time at all: a limit taken away and put back is no burst.
            world.arbiter.set_limits(limits, world.now);
        } else {
            world.arbiter.set_limits(limits, world.now);
            world.run(MS * 10);
            assert!(world.had(&streams, from) <= 1_250_000 + 1_000_000, "round {round}");
        }
    }
    world.arbiter.set_limits(node("10Mbit/s"), world.now);
    // What was used ahead of time at the old rate, half a millisecond's worth of it, is made up for at the new one.
    let from = world.now + SECOND / 10;
    world.run(SECOND);
    assert_near(world.had(&streams, from), 0.9 * 1.25e6, 2.0);
}

#[test]
fn a_peer_that_rests_is_looked_at_anew_when_limits_change() {
    let limited = |text| Limits { peers: [("a".parse().unwrap(), at(text))].into(), ..node("1Gbit/s") };
    let mut world = World::new(limited("8kbit/s"));
    let stream = world.stream("a", Class::Normal);
    world.run(SECOND);
    let peer = world.arbiter.join(&"a".parse().unwrap(), world.now);
    world.arbiter.correct(Correction { peer, class: Class::Normal, bytes: 1_000_000 }, world.now);
    world.run(SECOND);
    // However much it was, it is made up for in two seconds.
    let rested = world.arbiter.poll_timeout().unwrap() - world.now;
    assert!((SECOND..=SECOND * 2 + SECOND / 100).contains(&rested), "{rested:?}");
    world.arbiter.set_limits(limited("80Mbit/s"), world.now);
    let from = world.now;
    world.run(SECOND);
    assert_near(world.had(&[stream], from), 10e6, 1.0);
}

#[test]
fn who_is_gone_is_forgotten() {
    let mut world =
        World::new(Limits { peers: [("b".parse().unwrap(), at("1kB/s"))].into(), ..node("1Mbit/s") });
    let (first, second) = (world.stream("a", Class::Normal), world.stream("b", Class::Urgent));
    world.run(SECOND);
    world.arbiter.close(first);
    let names = ["a", "b"].map(|name| name.parse().unwrap());
    for name in &names {
        let peer = world.arbiter.join(name, world.now);
        world.arbiter.leave(peer);
        world.arbiter.leave(peer);
    }
    world.arbiter.ask(first, 1);
    world.arbiter.ask(second, 1);
    assert_eq!((world.arbiter.poll_grant(world.now + SECOND), world.arbiter.poll_timeout()), (None, None));
    let Arbiter { peers, names, streams, resting, .. } = &world.arbiter;
    assert!(peers.is_empty() && names.is_empty() && streams.is_empty() && resting.is_empty());
}

/// What may happen to an arbiter.
#[derive(Debug, Clone)]
enum Step {
    Open { peer: u8, class: Class },
    Ask { stream: usize, bytes: u64 },
    Close { stream: usize },
    Correct { peer: u8, bytes: i64 },
    Limit { mbit: u64 },
    Wait { us: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = || prop::sample::select(Class::ALL.to_vec());
    let step = prop_oneof![
        3 => (0..6u8, class()).prop_map(|(peer, class)| Step::Open { peer, class }),
        6 => (0..40usize, 0..300_000u64).prop_map(|(stream, bytes)| Step::Ask { stream, bytes }),
        1 => (0..40usize).prop_map(|stream| Step::Close { stream }),
        1 => (0..6u8, -2000..50_000i64).prop_map(|(peer, bytes)| Step::Correct { peer, bytes }),
        1 => (1..1000u64).prop_map(|mbit| Step::Limit { mbit }),
        4 => (0..20_000u64).prop_map(|us| Step::Wait { us }),
    ];
    prop::collection::vec(step, 1..200)
}

fn random_limits(mbit: u64) -> Limits {
    let mut classes = weighing([8, 4, 1]);
    classes.background.minimum = Some(rate("100kB/s"));
    classes.normal.ceiling = at("90Mbit/s");
    let peers = [("p1".parse().unwrap(), at("5Mbit/s"))].into();
    Limits { classes, peers, node: at(&format!("{mbit}Mbit/s")) }
}

proptest! {
    /// Whatever happens, what is granted never exceeds what the rates of the time allow and a burst, corrections included;
    /// and who waits is granted something in the end.
    #[test]
    fn never_more_than_the_limit_and_nobody_starves(steps in steps(), mbit in 1..1000u64) {
        let mut arbiter = Arbiter::new(random_limits(mbit), Duration::ZERO);
        let (mut now, mut streams) = (Duration::ZERO, Vec::new());
        let (mut allowed, mut had, mut rate_now, mut fastest) = (0f64, 0f64, mbit, mbit);
        for step in steps {
            match step {
                Step::Open { peer, class } => {
                    let peer = arbiter.join(&format!("p{peer}").parse().unwrap(), now);
                    streams.push(arbiter.open(peer, class).unwrap());
                }
                Step::Ask { stream, bytes } => {
                    if let Some(stream) = streams.get(stream) {
                        arbiter.ask(*stream, bytes);
                    }
                }
                Step::Close { stream } => {
                    if stream < streams.len() {
                        arbiter.close(streams.swap_remove(stream));
                    }
                }
                Step::Correct { peer, bytes } => {
                    let peer = arbiter.join(&format!("p{peer}").parse().unwrap(), now);
                    // What is given back may be granted again; that it is no more than was granted is its driver's care.
                    let bytes = bytes.max(0);
                    arbiter.correct(Correction { peer, class: Class::Normal, bytes }, now);
                    had += bytes as f64;
                    // Not the arbiter's doing.
                    allowed += bytes as f64;
                }
                Step::Limit { mbit } => {
                    arbiter.set_limits(random_limits(mbit), now);
                    (rate_now, fastest) = (mbit, fastest.max(mbit));
                }
                Step::Wait { us } => {
                    now += Duration::from_micros(us);
                    allowed += rate_now as f64 * us as f64 / 8.0;
                }
            }
            while let Some(Grant { stream, bytes }) = arbiter.poll_grant(now) {
                prop_assert!(streams.contains(&stream) && bytes > 0);
                had += bytes as f64;
            }
            let burst = fastest as f64 * 1e6 / 8.0 * 0.02 + 2.0 * DATAGRAM as f64;
            prop_assert!(had <= allowed + burst, "{had} of {allowed} and {burst} by {now:?}");
        }
        // A minute at the slowest rate of all is worth more than all wants.
        arbiter.set_limits(Limits { node: at("10Mbit/s"), ..Limits::default() }, now);
        let end = now + Duration::from_secs(600);
        while let Some(due) = arbiter.poll_timeout().filter(|due| *due <= end) {
            prop_assert!(due >= now);
            now = due;
            while arbiter.poll_grant(now).is_some() {}
        }
        prop_assert!(arbiter.streams.values().all(|stream| stream.wanted == 0), "somebody starved");
    }
}
