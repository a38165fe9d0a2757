//! The rules, one by one, on a swarm whose events are made by hand.

use std::time::Duration;

use rdcq_swarm::{Action, Event, Failure, PeerId, PeerKind, RequestId, Settings, Swarm, Time};
use rdcq_wire::{PieceIndex, PieceSet, Span};

const ORIGIN: PeerId = PeerId(0);
const PIECE_BYTES: u32 = 100_000;

/// A swarm and the time.
struct Bench {
    swarm: Swarm,
    now: Duration,
}

impl Bench {
    fn new(pieces: u32, seed: u64) -> Self {
        Self::with(vec![PIECE_BYTES; pieces as usize], PieceSet::empty(pieces), seed)
    }

    fn with(lengths: Vec<u32>, have: PieceSet, seed: u64) -> Self {
        Self {
            swarm: Swarm::new(Settings::default(), lengths, have, seed, Time::default()),
            now: Duration::ZERO,
        }
    }

    fn tell(&mut self, event: Event) -> &mut Self {
        self.swarm.handle_event(Time(self.now), event);
        self
    }

    fn joined(&mut self, peer: PeerId, kind: PeerKind) -> &mut Self {
        self.tell(Event::PeerJoined { peer, kind })
    }

    /// An agent that holds a span.
    fn agent(&mut self, number: u32, span: Span) -> &mut Self {
        let peer = PeerId(number);
        self.joined(peer, PeerKind::Agent).tell(Event::PeerHas { peer, spans: vec![span] })
    }

    fn verified(&mut self, request: RequestId, piece: u32) -> &mut Self {
        self.tell(Event::PieceVerified { request, piece: PieceIndex(piece) })
    }

    fn failed(&mut self, request: RequestId, failure: Failure) -> &mut Self {
        self.tell(Event::RequestFailed { request, failure })
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.swarm.poll_action()).collect()
    }

    fn requests(&mut self) -> Vec<(RequestId, PeerId, Span)> {
        requests(&self.actions())
    }

    /// Lets time pass, calling the swarm whenever its timer is due.
    fn pass(&mut self, duration: Duration) -> Vec<Action> {
        let end = self.now + duration;
        let mut actions = self.actions();
        while let Some(due) = self.swarm.poll_timeout().filter(|due| due.0 <= end) {
            self.now = self.now.max(due.0);
            self.swarm.handle_timeout(Time(self.now));
            actions.extend(self.actions());
            assert!(self.swarm.poll_timeout().is_none_or(|next| next.0 > self.now), "the timer stands still");
        }
        self.now = end;
        actions
    }
}

fn requests(actions: &[Action]) -> Vec<(RequestId, PeerId, Span)> {
    let requests = actions.iter().filter_map(|action| match action {
        Action::Request { request, peer, span } => Some((*request, *peer, *span)),
        _ => None,
    });
    requests.collect()
}

#[test]
fn a_blob_without_pieces_is_complete_at_once() {
    let mut bench = Bench::new(0, 1);
    assert!(bench.swarm.is_complete());
    bench.joined(ORIGIN, PeerKind::Origin).agent(1, Span::new(0, 5));
    assert_eq!(bench.actions(), []);
    assert_eq!(bench.swarm.poll_timeout(), None);
}

#[test]
fn an_agent_alone_asks_for_several_spans_and_for_long_ones_on_a_fast_path() {
    let mut bench = Bench::new(1000, 1);
    let requests = bench.joined(ORIGIN, PeerKind::Origin).requests();
    let pieces: u32 = requests.iter().map(|(_, _, span)| span.count).sum();
    assert!(pieces == 10 && requests.len() >= 4, "1 MiB holds ten pieces: {requests:?}");
    bench.pass(Duration::from_millis(10));
    for (request, _, span) in requests {
        span.range().for_each(|piece| _ = bench.verified(request, piece));
    }
    let requests = bench.requests();
    assert!(requests.iter().any(|(_, _, span)| span.count == 10), "1 MiB in 10 ms: {requests:?}");
}

#[test]
fn what_an_agent_holds_is_not_asked_of_the_origin() {
    let mut bench = Bench::new(1000, 1);
    let requests = bench.agent(1, Span::new(0, 990)).joined(ORIGIN, PeerKind::Origin).requests();
    assert!(requests.iter().any(|(_, peer, _)| *peer == ORIGIN));
    for (_, peer, span) in requests {
        assert_eq!(peer == ORIGIN, span.first.0 >= 990, "{peer:?} was asked for {span:?}");
    }
}

#[test]
fn the_rarest_piece_is_asked_for_first() {
    for seed in 0..20 {
        let mut bench = Bench::new(50, seed);
        bench.agent(1, Span::new(0, 50)).agent(2, Span::new(0, 17)).agent(2, Span::new(18, 32));
        let first =
            bench.requests()[..2].iter().any(|(_, peer, span)| (*peer, span.first.0) == (PeerId(1), 17));
        assert!(first, "seed {seed}: only peer 1 holds piece 17");
    }
}

#[test]
fn agents_with_different_seeds_begin_in_different_places() {
    let starts: std::collections::BTreeSet<u32> = (0..20)
        .map(|seed| {
            let mut bench = Bench::new(1000, seed);
            bench.agent(1, Span::new(0, 0)).joined(ORIGIN, PeerKind::Origin).requests()[0].2.first.0
        })
        .collect();
    assert!(starts.len() > 15, "{starts:?}");
}

#[test]
fn the_first_neighbour_shrinks_what_is_asked_of_the_origin() {
    let mut bench = Bench::new(1000, 1);
    let alone = bench.joined(ORIGIN, PeerKind::Origin).requests().len();
    let cancels = bench.joined(PeerId(1), PeerKind::Agent).actions();
    let cancelled = cancels.iter().filter(|action| matches!(action, Action::Cancel { .. })).count();
    assert_eq!(cancelled, alone - 1, "one span is all that fits the window in a swarm: {cancels:?}");
}

#[test]
fn an_origin_request_is_cancelled_when_an_agent_has_come_to_hold_it() {
    let mut bench = Bench::new(100, 1);
    bench.joined(PeerId(1), PeerKind::Agent).joined(ORIGIN, PeerKind::Origin);
    let (request, _, span) = bench.requests()[0];
    let actions = bench.tell(Event::PeerHas { peer: PeerId(1), spans: vec![span] }).actions();
    assert_eq!(actions[0], Action::Cancel { request });
    assert!(
        requests(&actions).iter().any(|(_, peer, asked)| (*peer, *asked) == (PeerId(1), span)),
        "{actions:?}"
    );
}

#[test]
fn a_busy_peer_is_left_alone_for_as_long_as_it_asks() {
    let mut bench = Bench::new(1, 1);
    let (request, ..) = bench.joined(ORIGIN, PeerKind::Origin).requests()[0];
    bench.failed(request, Failure::Busy { retry_after: Duration::from_millis(700) });
    assert_eq!(bench.pass(Duration::from_millis(699)), []);
    assert_eq!(requests(&bench.pass(Duration::from_millis(1))).len(), 1);
}

#[test]
fn a_peer_that_sends_wrong_bytes_is_banned_for_good() {
    let mut bench = Bench::new(3, 1);
    let (request, ..) = bench.agent(1, Span::new(0, 3)).requests()[0];
    let actions = bench.failed(request, Failure::WrongBytes).actions();
    assert!(actions.contains(&Action::Ban { peer: PeerId(1) }), "{actions:?}");
    bench.tell(Event::PeerLeft { peer: PeerId(1) }).agent(1, Span::new(0, 3));
    assert_eq!(bench.pass(Duration::from_secs(60)), []);
}

#[test]
fn wrong_bytes_of_a_request_that_was_cancelled_ban_too() {
    let mut bench = Bench::new(100, 1);
    bench.joined(PeerId(1), PeerKind::Agent).joined(ORIGIN, PeerKind::Origin);
    let (request, _, span) = bench.requests()[0];
    bench.tell(Event::PeerHas { peer: PeerId(1), spans: vec![span] });
    let actions = bench.failed(request, Failure::WrongBytes).actions();
    assert!(actions.contains(&Action::Ban { peer: ORIGIN }), "{actions:?}");
}

#[test]
fn a_silent_peer_is_asked_again_after_its_rest_only_if_it_is_the_only_hope() {
    let mut bench = Bench::new(1, 1);
    bench.joined(ORIGIN, PeerKind::Origin);
    let (request, ..) = bench.requests()[0];
    let actions = bench.pass(Duration::from_secs(1));
    assert_eq!(actions, [Action::Cancel { request }, Action::GiveUp { peer: ORIGIN }]);
    assert_eq!(bench.pass(Duration::from_millis(2999)), []);
    let (again, ..) = requests(&bench.pass(Duration::from_millis(1)))[0];
    bench.agent(1, Span::new(0, 1)).pass(Duration::from_secs(1));
    let asked: Vec<PeerId> = requests(&bench.actions()).into_iter().map(|(_, peer, _)| peer).collect();
    assert!(!asked.contains(&ORIGIN), "{again:?} was not answered either, and an agent has the piece");
}

#[test]
fn an_origin_that_offers_other_pieces_and_fell_silent_is_asked_again_when_nobody_else_has_what_is_wanted() {
    let mut bench = Bench::new(2, 1);
    bench.joined(ORIGIN, PeerKind::Origin).tell(Event::PeerHas { peer: ORIGIN, spans: Vec::new() });
    assert!(!bench.requests().is_empty());
    assert!(bench.pass(Duration::from_secs(1)).contains(&Action::GiveUp { peer: ORIGIN }));
    assert!(!requests(&bench.pass(Duration::from_secs(3))).is_empty());
}

#[test]
fn an_agent_that_delivered_and_fell_silent_returns_after_its_rest() {
    let mut bench = Bench::new(40, 1);
    let (request, _, span) = bench.joined(ORIGIN, PeerKind::Origin).agent(1, Span::new(0, 40)).requests()[0];
    bench.verified(request, span.first.0);
    let actions = bench.pass(Duration::from_millis(1100));
    assert!(actions.contains(&Action::GiveUp { peer: PeerId(1) }), "{actions:?}");
    let asked = requests(&bench.pass(Duration::from_secs(3)));
    assert!(asked.iter().any(|(_, peer, _)| *peer == PeerId(1)), "{asked:?}");
}

#[test]
fn what_an_origin_offers_is_asked_of_it_although_agents_that_never_delivered_say_to_hold_it() {
    let mut bench = Bench::new(9, 1);
    let (_, _, span) = bench.agent(1, Span::new(0, 9)).requests()[0];
    let offered = Span::new(if span.first.0 < 5 { 8 } else { 0 }, 1);
    bench.joined(ORIGIN, PeerKind::Origin).tell(Event::PeerHas { peer: ORIGIN, spans: Vec::new() }).actions();
    let asked = bench.tell(Event::PeerHas { peer: ORIGIN, spans: vec![offered] }).requests();
    assert!(asked.iter().any(|(_, peer, span)| (*peer, *span) == (ORIGIN, offered)), "{asked:?}");
    let actions = bench.agent(2, Span::new(0, 9)).actions();
    assert!(!actions.iter().any(|action| matches!(action, Action::Cancel { .. })), "{actions:?}");
}

#[test]
fn what_comes_from_elsewhere_is_declined_at_once_and_what_is_only_said_to_be_there_is_not() {
    let mut bench = Bench::new(100, 1);
    bench.joined(ORIGIN, PeerKind::Origin).tell(Event::PeerHas { peer: ORIGIN, spans: vec![] });
    let asked = bench.agent(1, Span::new(0, 50)).requests();
    let declines = |bench: &mut Bench, first| {
        let offer = Event::PeerHas { peer: ORIGIN, spans: vec![Span::new(first, 2)] };
        let actions = bench.tell(offer).actions();
        actions.iter().find_map(|action| match action {
            Action::Decline { peer, from } => Some((*peer, from.0)),
            _ => None,
        })
    };
    let (request, _, coming) = asked[0];
    let elsewhere = (coming.range().end + 10) % 50;
    assert_eq!(declines(&mut bench, elsewhere), None, "who never delivered may lie");
    assert_eq!(declines(&mut bench, coming.first.0), Some((ORIGIN, coming.first.0)));
    bench.verified(request, coming.first.0);
    assert_eq!(declines(&mut bench, elsewhere), Some((ORIGIN, elsewhere)));
    assert_eq!(declines(&mut bench, 49), Some((ORIGIN, 49)));
    assert_eq!(declines(&mut bench, 60), None);
    assert_eq!(bench.swarm.covered(PieceIndex(45)), [Span::new(45, 5)]);
}

#[test]
fn an_offer_ends_the_pause_of_a_busy_origin() {
    let mut bench = Bench::new(9, 1);
    bench.joined(ORIGIN, PeerKind::Origin).agent(1, Span::new(8, 1));
    let (request, ..) = *bench.requests().iter().find(|(_, peer, _)| *peer == ORIGIN).unwrap();
    bench.failed(request, Failure::Busy { retry_after: Duration::from_secs(9) }).actions();
    let asked = bench.tell(Event::PeerHas { peer: ORIGIN, spans: vec![Span::new(5, 1)] }).requests();
    assert!(asked.iter().any(|(_, peer, _)| *peer == ORIGIN), "{asked:?}");
}

#[test]
fn an_agent_that_never_delivered_is_asked_for_one_thing_at_a_time() {
    let mut bench = Bench::new(9, 1);
    let asked = bench.agent(1, Span::new(0, 9)).requests();
    let [(request, _, span)] = asked[..] else { panic!("{asked:?}") };
    assert!(bench.verified(request, span.first.0).requests().len() > 1);
}

#[test]
fn every_byte_resets_the_silence() {
    let mut bench = Bench::new(1, 1);
    let (request, ..) = bench.joined(ORIGIN, PeerKind::Origin).requests()[0];
    for _ in 0..5 {
        assert_eq!(bench.pass(Duration::from_millis(999)), []);
        bench.tell(Event::Progress { request });
    }
    assert_eq!(bench.pass(Duration::from_secs(1)).len(), 2, "a cancel and a give-up");
}

#[test]
fn a_peer_that_lives_is_not_silent_and_what_it_was_asked_for_still_waits() {
    let mut bench = Bench::new(1, 1);
    let (request, ..) = bench.joined(ORIGIN, PeerKind::Origin).requests()[0];
    for _ in 0..5 {
        assert_eq!(bench.pass(Duration::from_millis(999)), []);
        bench.tell(Event::Alive { request });
    }
    // An answer that had begun would be left to end.
    bench.agent(1, Span::new(0, 1));
    assert!(bench.actions().contains(&Action::Cancel { request }), "an agent has the piece");
}

#[test]
fn an_overdue_last_piece_is_asked_once_more_elsewhere_and_the_loser_is_cancelled() {
    let mut bench = Bench::new(1, 1);
    bench.agent(1, Span::new(0, 1)).agent(2, Span::new(0, 1)).agent(3, Span::new(0, 1));
    let (first, asked, _) = bench.requests()[0];
    let hedges = requests(&bench.pass(Duration::from_millis(900)));
    assert_eq!(hedges.len(), 1, "one extra and no more: {hedges:?}");
    let (second, other, _) = hedges[0];
    assert_ne!(asked, other);
    assert_eq!(bench.verified(second, 0).actions(), [Action::Cancel { request: first }]);
    assert!(bench.swarm.is_complete());
    bench.verified(first, 0);
    let report = bench.swarm.report();
    assert_eq!(report.duplicate_bytes, u64::from(PIECE_BYTES));
    assert_eq!(report.peer_bytes[&asked], u64::from(PIECE_BYTES), "late bytes are still their sender's");
    assert_eq!(bench.swarm.poll_timeout(), None);
}

#[test]
fn what_a_peer_turns_out_not_to_hold_is_asked_elsewhere() {
    let mut bench = Bench::new(1, 1);
    let (request, ..) = bench.agent(1, Span::new(0, 1)).joined(ORIGIN, PeerKind::Origin).requests()[0];
    let again = bench.failed(request, Failure::NotHeld).requests();
    assert_eq!(again.iter().map(|(_, peer, _)| *peer).collect::<Vec<_>>(), [ORIGIN]);
}

#[test]
fn an_origin_helps_out_when_agents_leave_it_idle_for_long() {
    let mut bench = Bench::new(1000, 1);
    bench.agent(1, Span::new(0, 1000)).joined(ORIGIN, PeerKind::Origin);
    let early = requests(&bench.pass(Duration::from_millis(299)));
    assert!(early.iter().all(|(_, peer, _)| *peer != ORIGIN), "{early:?}");
    let late = requests(&bench.pass(Duration::from_millis(1)));
    assert!(late.iter().any(|(_, peer, _)| *peer == ORIGIN), "{late:?}");
}

#[test]
fn an_answer_that_leaves_pieces_out_is_asked_again_after_a_pause() {
    let mut bench = Bench::new(2, 1);
    let (request, ..) = bench.joined(ORIGIN, PeerKind::Origin).requests()[0];
    assert_eq!(bench.tell(Event::RequestDone { request }).actions().len(), 0);
    assert!(!requests(&bench.pass(Duration::from_millis(50))).is_empty());
}

#[test]
fn hostile_announcements_are_harmless() {
    let mut bench = Bench::new(10, 1);
    let peer = PeerId(1);
    let spans =
        vec![Span::new(u32::MAX, 1), Span::new(5, u32::MAX), Span::new(9, 4_000_000_000), Span::new(0, 0)];
    bench.joined(peer, PeerKind::Agent).tell(Event::PeerHas { peer, spans });
    let requests = bench.requests();
    assert_eq!(requests.iter().map(|(_, _, span)| *span).collect::<Vec<_>>(), [Span::new(9, 1)]);
}

#[test]
fn a_piece_without_bytes_is_not_asked_beyond_a_window_that_is_overfull() {
    let mut have = PieceSet::full(10);
    have.remove(PieceIndex(0));
    have.remove(PieceIndex(1));
    let mut lengths = vec![0; 10];
    lengths[0] = 300_000;
    let mut bench = Bench::with(lengths, have, 1);
    bench.agent(2, Span::new(0, 1)).agent(1, Span::new(1, 1));
    assert_eq!(bench.requests().len(), 2);
    bench.tell(Event::PeerHas { peer: PeerId(2), spans: vec![Span::new(1, 1)] });
    assert_eq!(bench.pass(Duration::from_millis(900)), []);
}
