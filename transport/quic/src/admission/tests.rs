//! What holds of every run, and what honest peers may count on during a flood.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::admission::sources::MAX_SOURCES;

const MS: Duration = Duration::from_millis(1);
/// What a failed handshake takes.
const HANDSHAKE: Duration = Duration::from_millis(5);

/// A driver: keeps what waits, lets handshakes end in time, polls whenever it must.
struct Node {
    admission: Admission,
    start: Instant,
    now: Instant,
    load: Load,
    running: Vec<(Instant, Pass, Outcome)>,
    parked: BTreeMap<Ticket, (usize, Outcome, Duration)>,
    /// What became of those that waited: who, and whether it was admitted.
    settled: Vec<(usize, bool)>,
    /// When handshakes began while the node was busy.
    busy_begins: Vec<Instant>,
}

impl Node {
    fn new(max_handshakes: usize, load: Load) -> Self {
        let start = Instant::now();
        Self {
            admission: Admission::new(max_handshakes),
            start,
            now: start,
            load,
            running: Vec::new(),
            parked: BTreeMap::new(),
            settled: Vec::new(),
            busy_begins: Vec::new(),
        }
    }

    fn begin(&mut self, pass: Pass, outcome: Outcome, takes: Duration) {
        if self.load == Load::Busy {
            self.busy_begins.push(self.now);
        }
        self.running.push((self.now + takes, pass, outcome));
    }

    /// An attempt of `who`, whose handshake would end so.
    fn attempt(
        &mut self,
        who: usize,
        ip: IpAddr,
        validated: bool,
        outcome: Outcome,
        takes: Duration,
    ) -> Shown {
        let verdict = self.admission.attempt(self.now, self.load, Attempt { ip, validated });
        let shown = Shown::of(&verdict);
        match verdict {
            Verdict::Admit(pass) => self.begin(pass, outcome, takes),
            Verdict::Wait(ticket) => drop(self.parked.insert(ticket, (who, outcome, takes))),
            Verdict::Retry | Verdict::Refuse | Verdict::Ignore => {}
        }
        self.check();
        shown
    }

    /// An attempt that proves its address if asked to.
    fn insist(&mut self, who: usize, ip: IpAddr, outcome: Outcome, takes: Duration) -> Shown {
        match self.attempt(who, ip, false, outcome, takes) {
            Shown::Retry => self.attempt(who, ip, true, outcome, takes),
            other => other,
        }
    }

    fn poll(&mut self) -> Vec<(Ticket, Shown)> {
        let mut polled = Vec::new();
        while let Some((ticket, verdict)) = self.admission.poll(self.now, self.load) {
            let (who, outcome, takes) = self.parked.remove(&ticket).unwrap();
            polled.push((ticket, Shown::of(&verdict)));
            match verdict {
                Verdict::Admit(pass) => {
                    self.begin(pass, outcome, takes);
                    self.settled.push((who, true));
                }
                Verdict::Refuse | Verdict::Ignore => self.settled.push((who, false)),
                Verdict::Retry | Verdict::Wait(_) => panic!("one that waits is asked to {verdict:?}"),
            }
            self.check();
        }
        let wake_at = self.admission.wake_at(self.now, self.load);
        assert!(wake_at.is_none_or(|at| at > self.now), "polled to the end, and to be polled again at once");
        assert!(wake_at.is_some() || self.parked.is_empty(), "nobody would ever wake those that wait");
        polled
    }

    /// Lets time pass up to `to`, event by event.
    fn advance(&mut self, to: Instant) -> Vec<(Ticket, Shown)> {
        let mut polled = self.poll();
        loop {
            let ends = self.running.iter().map(|(end, ..)| *end).min();
            let next = ends.into_iter().chain(self.admission.wake_at(self.now, self.load)).min();
            let Some(next) = next.filter(|next| *next <= to) else { break };
            self.now = next.max(self.now);
            while let Some(at) = self.running.iter().position(|(end, ..)| *end <= self.now) {
                let (_, pass, outcome) = self.running.remove(at);
                self.admission.finished(self.now, pass, outcome);
            }
            polled.extend(self.poll());
        }
        self.now = to;
        polled.extend(self.poll());
        polled
    }

    fn check(&self) {
        assert_eq!(self.admission.under_way(), self.running.len());
        assert!(self.admission.under_way() <= self.admission.max_handshakes);
        assert_eq!(self.admission.waiting(), self.parked.len());
        assert!(self.parked.len() <= 2 * MAX_WAITING);
        assert!(self.admission.under_way.len() <= self.running.len());
        assert!(self.admission.remembered() <= MAX_SOURCES);
    }

    /// In no window did more begin than the rate and the burst allow.
    fn check_rate(&self) {
        let (begins, rate) = (&self.busy_begins, u128::from(BUSY_HANDSHAKES_PER_SECOND));
        // The fullest windows begin and end with a handshake's begin; some of them will do.
        for (from, begin) in begins.iter().enumerate().step_by(17) {
            for (to, end) in begins.iter().enumerate().skip(from).step_by(13) {
                let allowed = (*end - *begin).as_nanos() * rate / 1_000_000_000 + u128::from(BUSY_BURST);
                assert!((to - from) as u128 <= allowed, "{} in {:?}", to - from + 1, *end - *begin);
            }
        }
    }
}

/// A verdict without its pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Admit,
    Retry,
    Wait(Ticket),
    Refuse,
    Ignore,
}

impl Shown {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Admit(_) => Self::Admit,
            Verdict::Retry => Self::Retry,
            Verdict::Wait(ticket) => Self::Wait(*ticket),
            Verdict::Refuse => Self::Refuse,
            Verdict::Ignore => Self::Ignore,
        }
    }
}

fn outsider(number: usize) -> IpAddr {
    IpAddr::from([10, 0, (number >> 8) as u8, number as u8])
}

const HONEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 1));

/// A step of a random run.
#[derive(Debug, Clone)]
enum Step {
    Attempts { source: Index, validated: bool, fails: bool, count: u8, takes_ms: u16 },
    Pass { ms: u16 },
    Turn(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let attempts =
        (any::<Index>(), any::<bool>(), any::<bool>(), 1_u8..60, prop_oneof![1_u16..20, 1_u16..5000]);
    prop_oneof![
        6 => attempts.prop_map(|(source, validated, fails, count, takes_ms)| {
            Step::Attempts { source, validated, fails, count, takes_ms }
        }),
        3 => prop_oneof![0_u16..30, 0_u16..3000].prop_map(|ms| Step::Pass { ms }),
        1 => any::<bool>().prop_map(Step::Turn),
    ]
}

/// Runs the steps over `sources`, and says what was decided.
fn run(steps: &[Step], sources: &[IpAddr], max_handshakes: usize) -> (Node, Vec<Shown>) {
    let mut node = Node::new(max_handshakes, Load::Idle);
    let mut shown = Vec::new();
    for step in steps {
        match *step {
            Step::Attempts { source, validated, fails, count, takes_ms } => {
                let ip = *source.get(sources);
                let outcome = if fails { Outcome::Failed } else { Outcome::Done };
                for _ in 0..count {
                    shown.push(node.attempt(0, ip, validated, outcome, MS * takes_ms.into()));
                    shown.extend(node.poll().into_iter().map(|(_, shown)| shown));
                }
            }
            Step::Pass { ms } => {
                let polled = node.advance(node.now + MS * ms.into());
                shown.extend(polled.into_iter().map(|(_, shown)| shown));
            }
            Step::Turn(busy) => {
                node.load = if busy { Load::Busy } else { Load::Idle };
                shown.extend(node.poll().into_iter().map(|(_, shown)| shown));
            }
        }
    }
    (node, shown)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_run_breaks_a_bound_or_leaves_anybody_waiting(
        steps in proptest::collection::vec(step(), 1..60),
        max_handshakes in 1_usize..200,
        hosts in 1_usize..40,
    ) {
        let sources: Vec<_> = (0..hosts).map(outsider).collect();
        let (mut node, _) = run(&steps, &sources, max_handshakes);
        node.check_rate();
        node.advance(node.now + MAX_WAIT);
        prop_assert_eq!(node.admission.waiting(), 0);
        node.advance(node.now + Duration::from_secs(5));
        prop_assert_eq!(node.admission.under_way(), 0);
        prop_assert!(node.admission.under_way.is_empty());
    }

    #[test]
    fn no_verdict_depends_on_the_order_of_addresses(steps in proptest::collection::vec(step(), 1..60)) {
        let sources: Vec<_> = (0..30).map(outsider).collect();
        let renamed: Vec<_> = (0..30_usize).map(|number| outsider(999 - number * 7)).collect();
        prop_assert_eq!(run(&steps, &sources, 64).1, run(&steps, &renamed, 64).1);
    }

    #[test]
    fn an_honest_peer_gets_in_soon_whatever_one_source_does(
        arrives_ms in 0_u64..4000, busy in any::<bool>(), takes_ms in prop_oneof![1_u64..50, Just(5000)],
    ) {
        let waited = flood(1, MS * takes_ms as u32, arrives_ms, busy);
        prop_assert!(waited <= Duration::from_millis(500), "it waited {waited:?}");
    }

    #[test]
    fn an_honest_peer_gets_in_within_seconds_whatever_a_thousand_sources_do(
        arrives_ms in 0_u64..8000, busy in any::<bool>(), takes_ms in 1_u64..50,
    ) {
        let waited = flood(1000, MS * takes_ms as u32, arrives_ms, busy);
        prop_assert!(waited <= Duration::from_secs(5), "it waited {waited:?}");
    }
}

/// A thousand attempts a second from so many sources, each of which fails after `takes`: how long an honest client that comes
/// after `arrives_ms` has to wait. It repeats what is not answered as QUIC does, and comes back soon when refused.
fn flood(sources: usize, takes: Duration, arrives_ms: u64, busy: bool) -> Duration {
    let mut node = Node::new(128, if busy { Load::Busy } else { Load::Idle });
    let (mut repeat, mut again_at) = (15, Some(arrives_ms));
    for ms in 0..arrives_ms + 20_000 {
        node.advance(node.start + MS * ms as u32);
        if node.settled.iter().any(|(who, admitted)| *who == usize::MAX && *admitted) {
            return MS * (ms - arrives_ms) as u32;
        }
        if node.settled.iter().any(|(who, _)| *who == usize::MAX) {
            again_at = Some(ms + 100);
        }
        node.settled.clear();
        node.insist(ms as usize, outsider(ms as usize % sources), Outcome::Failed, takes);
        if again_at.is_some_and(|at| at <= ms) {
            again_at = match node.insist(usize::MAX, HONEST, Outcome::Done, HANDSHAKE) {
                Shown::Admit => return MS * (ms - arrives_ms) as u32,
                Shown::Wait(_) => None,
                Shown::Refuse => Some(ms + 100),
                Shown::Ignore | Shown::Retry => {
                    repeat *= 2;
                    Some(ms + repeat)
                }
            };
        }
    }
    panic!("never admitted");
}

/// Handshakes that so many sources get in ten seconds by a thousand attempts a second, once they are known.
fn admitted_in_ten_seconds(sources: usize, load: Load) -> usize {
    let mut node = Node::new(128, load);
    let mut begins = 0;
    for ms in 0..30_000 {
        node.advance(node.start + MS * ms);
        let admitted =
            node.insist(0, outsider(ms as usize % sources), Outcome::Failed, HANDSHAKE) == Shown::Admit;
        begins += usize::from(admitted && ms >= 20_000);
        if ms >= 20_000 {
            begins += node.settled.iter().filter(|(_, admitted)| *admitted).count();
        }
        node.settled.clear();
    }
    begins
}

#[tokio::test]
async fn a_source_that_fails_on_and_on_gets_a_trickle() {
    for load in [Load::Idle, Load::Busy] {
        let begins = admitted_in_ten_seconds(1, load);
        assert!((80..=101).contains(&begins), "{begins} in ten seconds, {load:?}");
    }
}

#[tokio::test]
async fn sources_that_fail_on_and_on_share_what_is_left_for_all_of_them() {
    for load in [Load::Idle, Load::Busy] {
        let begins = admitted_in_ten_seconds(50, load);
        assert!((400..=550).contains(&begins), "{begins} in ten seconds, {load:?}");
    }
}

#[tokio::test]
async fn a_busy_node_begins_handshakes_at_its_rate_and_no_faster() {
    for validated in [false, true] {
        let mut node = Node::new(128, Load::Busy);
        for ms in 0..10_000 {
            node.advance(node.start + MS * ms);
            let shown = node.attempt(0, outsider(ms as usize), validated, Outcome::Done, HANDSHAKE);
            if shown == Shown::Retry {
                node.attempt(0, outsider(ms as usize), true, Outcome::Done, HANDSHAKE);
            }
        }
        node.check_rate();
        let most = 10 * BUSY_HANDSHAKES_PER_SECOND + BUSY_BURST;
        assert!((most - 5..=most).contains(&(node.busy_begins.len() as u32)), "{}", node.busy_begins.len());
    }
}

#[tokio::test]
async fn sources_that_failed_leave_a_busy_node_room_for_one_that_has_not() {
    let mut node = Node::new(128, Load::Busy);
    for ms in 0..5000 {
        node.advance(node.start + MS * ms);
        node.insist(0, outsider(ms as usize % 1000), Outcome::Failed, HANDSHAKE);
    }
    // They fail on, and take what there is for them; who has not failed does not wait at all.
    for ms in 5000..8000 {
        node.advance(node.start + MS * ms);
        node.insist(0, outsider(ms as usize % 1000), Outcome::Failed, HANDSHAKE);
        if ms % 20 == 0 {
            assert_eq!(node.insist(1, HONEST, Outcome::Done, HANDSHAKE), Shown::Admit);
        }
    }
    assert!(node.admission.waiting() > 0, "the others had no need to wait either");
}

#[tokio::test]
async fn an_idle_node_admits_as_fast_as_handshakes_end() {
    let mut node = Node::new(128, Load::Idle);
    for round in 0..10_000 {
        assert_eq!(node.attempt(round, HONEST, false, Outcome::Done, MS), Shown::Admit);
        if round % 60 == 0 {
            node.advance(node.now + MS);
        }
    }
}

#[tokio::test]
async fn addresses_are_to_be_proven_beyond_half_of_the_handshakes() {
    let mut node = Node::new(128, Load::Idle);
    for host in 0..64 {
        assert_eq!(node.attempt(0, outsider(host), false, Outcome::Done, HANDSHAKE), Shown::Admit);
    }
    assert_eq!(node.attempt(0, outsider(64), false, Outcome::Done, HANDSHAKE), Shown::Retry);
    for host in 64..128 {
        assert_eq!(node.attempt(0, outsider(host), true, Outcome::Done, HANDSHAKE), Shown::Admit);
    }
    for host in 0..MAX_WAITING {
        let host = host % 128;
        assert!(matches!(node.attempt(0, outsider(host), true, Outcome::Done, HANDSHAKE), Shown::Wait(_)));
    }
    assert_eq!(node.attempt(0, outsider(200), true, Outcome::Done, HANDSHAKE), Shown::Refuse);
    // Those that wait are admitted in their order as soon as there is room.
    node.advance(node.now + HANDSHAKE);
    assert_eq!((node.settled.len(), node.admission.waiting()), (128, MAX_WAITING - 128));
}

#[tokio::test]
async fn nobody_is_framed_by_forged_addresses() {
    let mut node = Node::new(128, Load::Busy);
    for ms in 0..10_000 {
        node.advance(node.start + MS * ms);
        // Forged: it never hears that it should prove the address.
        node.attempt(0, HONEST, false, Outcome::Failed, Duration::from_secs(5));
    }
    assert_eq!(node.admission.remembered(), 0);
    // And what came of it is over with the forged handshakes.
    assert_eq!(node.insist(1, HONEST, Outcome::Done, HANDSHAKE), Shown::Admit);
}

#[tokio::test]
async fn failures_from_unproven_addresses_make_everybody_prove_theirs_for_a_while() {
    let mut node = Node::new(128, Load::Idle);
    for _ in 0..UNPROVEN_FAILURES_BURST {
        assert_eq!(node.attempt(0, outsider(1), false, Outcome::Failed, HANDSHAKE), Shown::Admit);
        node.advance(node.now + HANDSHAKE);
    }
    assert_eq!(node.attempt(0, HONEST, false, Outcome::Done, HANDSHAKE), Shown::Retry);
    assert_eq!(node.attempt(0, HONEST, true, Outcome::Done, HANDSHAKE), Shown::Admit);
    node.advance(node.now + Duration::from_secs(1));
    assert_eq!(node.attempt(0, HONEST, false, Outcome::Done, HANDSHAKE), Shown::Admit);
}

#[tokio::test]
async fn a_host_that_was_mended_is_served_again() {
    let mut node = Node::new(128, Load::Busy);
    for ms in 0..1000 {
        node.advance(node.start + MS * ms);
        node.insist(0, HONEST, Outcome::Failed, HANDSHAKE);
    }
    assert_eq!(node.attempt(0, HONEST, true, Outcome::Failed, HANDSHAKE), Shown::Ignore);
    let mut admitted = 0;
    for _ in 0..10 {
        node.advance(node.now + sources::TRICKLE);
        admitted += usize::from(node.insist(0, HONEST, Outcome::Done, HANDSHAKE) == Shown::Admit);
    }
    assert_eq!(admitted, 10);
    node.advance(node.now + HANDSHAKE);
    assert_eq!(node.admission.remembered(), 0);
}

#[tokio::test]
async fn a_busy_node_bounds_what_it_spends_on_proofs_of_address() {
    let mut node = Node::new(128, Load::Busy);
    let mut retries = 0_u32;
    for us in 0..2_000_000_u32 / 20 {
        node.advance(node.start + Duration::from_micros(20) * us);
        let shown = node.attempt(0, outsider(us as usize % 60_000), false, Outcome::Failed, HANDSHAKE * 100);
        retries += u32::from(shown == Shown::Retry);
    }
    assert!((2000..=2 * BUSY_RETRIES_PER_SECOND + BUSY_RETRIES_BURST).contains(&retries), "{retries}");
}
