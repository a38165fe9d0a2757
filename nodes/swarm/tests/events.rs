//! Arbitrary events in arbitrary order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rdcq_swarm::{Action, Event, Failure, PeerId, PeerKind, RequestId, Settings, Swarm, Time};
use rdcq_wire::{PieceIndex, PieceSet, Span};

const PIECES: u32 = 40;

/// What the driver of an honest or a mad world does next.
#[derive(Debug, Clone)]
enum Step {
    Event(Event),
    /// The n-th open request brings its n-th piece.
    Bring(usize, usize),
    Fail(usize, Failure),
    Wait(u64),
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        4 => (0u64..5000).prop_map(|ms| Failure::Busy { retry_after: Duration::from_millis(ms) }),
        4 => Just(Failure::NotHeld),
        4 => Just(Failure::Lost),
        1 => Just(Failure::WrongBytes),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let peer = (0u32..6).prop_map(PeerId);
    let request = (0u64..60).prop_map(RequestId);
    let kind = prop_oneof![1 => Just(PeerKind::Origin), 3 => Just(PeerKind::Agent)];
    let span = prop_oneof![
        9 => (0u32..PIECES + 4, 0u32..PIECES),
        1 => (any::<u32>(), any::<u32>()),
    ];
    let spans = proptest::collection::vec(span.prop_map(|(first, count)| Span::new(first, count)), 0..4);
    let event = prop_oneof![
        3 => (peer.clone(), kind).prop_map(|(peer, kind)| Event::PeerJoined { peer, kind }),
        1 => peer.clone().prop_map(|peer| Event::PeerLeft { peer }),
        3 => (peer, spans).prop_map(|(peer, spans)| Event::PeerHas { peer, spans }),
        1 => (request.clone(), 0u32..PIECES + 2)
            .prop_map(|(request, piece)| Event::PieceVerified { request, piece: PieceIndex(piece) }),
        1 => request.clone().prop_map(|request| Event::Progress { request }),
        1 => request.clone().prop_map(|request| Event::Alive { request }),
        1 => request.clone().prop_map(|request| Event::RequestDone { request }),
        1 => (request, failure()).prop_map(|(request, failure)| Event::RequestFailed { request, failure }),
    ];
    prop_oneof![
        4 => event.prop_map(Step::Event),
        6 => (any::<usize>(), any::<usize>()).prop_map(|(request, piece)| Step::Bring(request, piece)),
        1 => (any::<usize>(), failure()).prop_map(|(request, failure)| Step::Fail(request, failure)),
        2 => (0u64..1500).prop_map(Step::Wait),
    ]
}

/// What the outside knows: who holds what, what is open, who is banned.
#[derive(Default)]
struct Model {
    peers: BTreeMap<PeerId, (PeerKind, BTreeSet<u32>)>,
    banned: BTreeSet<PeerId>,
    open: BTreeMap<RequestId, Vec<PieceIndex>>,
}

impl Model {
    fn learn(&mut self, event: &Event) {
        match event {
            Event::PeerJoined { peer, kind } => {
                let known = self.peers.entry(*peer).or_insert((*kind, BTreeSet::new()));
                if known.0 != *kind {
                    *known = (*kind, BTreeSet::new());
                }
            }
            Event::PeerLeft { peer } => {
                self.peers.remove(peer);
            }
            Event::PeerHas { peer, spans } => {
                if let Some((_, has)) = self.peers.get_mut(peer) {
                    spans
                        .iter()
                        .for_each(|span| has.extend(span.range().start..span.range().end.min(PIECES)));
                }
            }
            Event::RequestDone { request } | Event::RequestFailed { request, .. } => {
                self.open.remove(request);
            }
            Event::PieceVerified { .. } | Event::Progress { .. } | Event::Alive { .. } => {}
        }
    }

    fn carry_out(&mut self, swarm: &Swarm, action: Action) {
        match action {
            Action::Request { request, peer, span } => {
                assert!(span.fits(PIECES), "{span:?} names pieces");
                assert!(!self.banned.contains(&peer), "{peer:?} is banned");
                let (kind, has) = &self.peers[&peer];
                for piece in span.indices() {
                    assert!(*kind == PeerKind::Origin || has.contains(&piece.0), "{peer:?} lacks {piece:?}");
                    assert!(!swarm.have().contains(piece), "{piece:?} is verified");
                    let asked = self.open.values().flatten().filter(|open| **open == piece).count();
                    assert!(asked < 2, "{piece:?} is asked for a third time");
                }
                assert!(self.open.insert(request, span.indices().collect()).is_none(), "{request:?} is new");
            }
            Action::Cancel { request } => {
                self.open.remove(&request);
            }
            Action::Ban { peer } => assert!(self.banned.insert(peer), "{peer:?} is banned once"),
            Action::GiveUp { peer } => assert!(self.peers.contains_key(&peer)),
            Action::Decline { from, .. } => assert!(swarm.covered(from)[0].first == from, "it is covered"),
        }
    }
}

/// What a step comes to as an event, given what is open.
fn event_of(step: Step, model: &Model) -> Option<Event> {
    let nth = |n: usize| model.open.iter().nth(n.checked_rem(model.open.len())?);
    match step {
        Step::Event(event) => Some(event),
        Step::Bring(request, piece) => {
            let (request, pieces) = nth(request)?;
            Some(Event::PieceVerified { request: *request, piece: pieces[piece % pieces.len()] })
        }
        Step::Fail(request, failure) => Some(Event::RequestFailed { request: *nth(request)?.0, failure }),
        Step::Wait(_) => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_events_makes_it_panic_or_ask_for_what_it_should_not(
        seed in any::<u64>(),
        lengths in proptest::collection::vec(prop_oneof![9 => 1u32..400_000, 1 => Just(0u32)], PIECES as usize),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut swarm = Swarm::new(Settings::default(), lengths, PieceSet::empty(PIECES), seed, Time::default());
        let mut model = Model::default();
        let mut now = Duration::ZERO;
        for step in steps {
            if let Step::Wait(ms) = step {
                now += Duration::from_millis(ms);
                swarm.handle_timeout(Time(now));
            }
            if let Some(event) = event_of(step, &model) {
                model.learn(&event);
                swarm.handle_event(Time(now), event);
            }
            for turn in 0.. {
                let Some(action) = swarm.poll_action() else { break };
                prop_assert!(turn < 500, "actions end");
                model.carry_out(&swarm, action);
            }
        }
        // Whatever went before, an origin that answers brings the rest.
        let origin = PeerId(1000);
        let joined = Event::PeerJoined { peer: origin, kind: PeerKind::Origin };
        model.learn(&joined);
        swarm.handle_event(Time(now), joined);
        let mut asked = Vec::new();
        for _ in 0..2000 {
            while let Some(action) = swarm.poll_action() {
                if let Action::Request { request, peer, span } = action
                    && peer == origin
                {
                    asked.push((request, span));
                }
                model.carry_out(&swarm, action);
            }
            for (request, span) in std::mem::take(&mut asked) {
                for piece in span.indices() {
                    swarm.handle_event(Time(now), Event::PieceVerified { request, piece });
                }
            }
            if swarm.is_complete() {
                break;
            }
            if let Some(due) = swarm.poll_timeout() {
                now = now.max(due.0);
                swarm.handle_timeout(Time(now));
            }
        }
        prop_assert!(swarm.is_complete());
    }
}
