//! The state machine: events and time in, actions out.

mod choose;
mod invariants;
mod standing;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rdcq_wire::{PieceIndex, PieceSet, Span};

use crate::bits::Bits;
use crate::event::{Action, Event, Failure, PeerId, PeerKind, RequestId};
use crate::pace::Pace;
use crate::peer::{Offer, Standing};
use crate::peers::{Limits, Peers};
use crate::pieces::Pieces;
use crate::report::Report;
use crate::request::{Answer, Waste};
use crate::requests::Requests;
use crate::settings::{Settings, WindowSettings};
use crate::time::{NEVER, Time};

/// How many ended requests are remembered: what a sender had under way when it was cancelled is still its own.
const REMEMBERED_REQUESTS: usize = 256;
/// How many spans of one announcement are looked at; an honest peer needs at most one for every second piece.
const MAX_ANNOUNCED_SPANS: usize = 131_072;

/// How many pieces of an offer are looked at, whether they come from elsewhere; an honest origin offers a few.
const OFFERED_LOOKED_AT: usize = 64;

/// What is known of when time matters next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    Set(Option<Time>),
    Unknown,
}

/// The download of one blob: decides who is asked for which span of pieces, and when.
///
/// After every call of a `handle_*` method the driver takes actions until there are none, then sets its timer. Events
/// about requests or peers that are not known, or no longer, are allowed and change nothing that matters.
#[derive(Debug)]
pub struct Swarm {
    settings: Settings,
    pieces: Pieces,
    peers: Peers,
    /// What all agents together deliver.
    agents_pace: Pace,
    agents_in_flight: u64,
    /// What their window allowed when one was last asked for something.
    agents_allowed: u64,
    /// Nothing that was asked of an agent is overdue before then.
    overdue_from: Time,
    /// Agents that are neither given up nor gone.
    usable_agents: u32,
    banned: BTreeSet<PeerId>,
    requests: Requests,
    ended: VecDeque<(RequestId, PeerId)>,
    next_request: RequestId,
    outbox: VecDeque<Action>,
    /// Since when the origins have had nothing to do although pieces are wanted: agents hold them all.
    starved_since: Option<Time>,
    /// What [`Self::poll_timeout`] says, unless something has changed since that was found out.
    timer: Timer,
    report: Report,
    rng: StdRng,
    now: Time,
}

impl Swarm {
    /// A download of the blob whose pieces have these `lengths` in bytes, of which those in `have` are stored already.
    /// Agents that begin together need different seeds, or they would all fetch the same pieces from the origin.
    ///
    /// # Panics
    ///
    /// If `have` is not a set of `lengths.len()` pieces.
    pub fn new(
        settings: Settings,
        lengths: impl Into<Arc<[u32]>>,
        have: PieceSet,
        seed: u64,
        now: Time,
    ) -> Self {
        let pieces = Pieces::new(lengths.into(), have);
        let limits = Limits {
            silence: settings.silence,
            agent: settings.agent.of_blob(pieces.mean_length()),
            piece: pieces.mean_length().max(1),
        };
        Self {
            settings,
            pieces,
            peers: Peers::new(limits),
            agents_pace: Pace::new(now),
            agents_in_flight: 0,
            agents_allowed: 0,
            overdue_from: NEVER,
            usable_agents: 0,
            banned: BTreeSet::new(),
            requests: Requests::default(),
            ended: VecDeque::new(),
            next_request: RequestId(0),
            outbox: VecDeque::new(),
            starved_since: None,
            timer: Timer::Unknown,
            report: Report::default(),
            rng: StdRng::seed_from_u64(seed),
            now,
        }
    }

    /// Takes in what happened. A `now` before that of an earlier call counts as that of the earlier call.
    pub fn handle_event(&mut self, now: Time, event: Event) {
        self.now = self.now.max(now);
        if !matches!(event, Event::PeerHas { .. } | Event::Progress { .. }) {
            self.timer = Timer::Unknown;
        }
        match event {
            Event::PeerJoined { peer, kind } => self.peer_joined(peer, kind),
            Event::PeerLeft { peer } => self.peer_left(peer),
            Event::PeerHas { peer, spans } => self.peer_has(peer, &spans),
            Event::PieceVerified { request, piece } => self.piece_verified(request, piece),
            Event::Progress { request } => self.progress(request),
            Event::Alive { request } => self.alive(request),
            Event::RequestDone { request } => self.request_done(request),
            Event::RequestFailed { request, failure } => self.request_failed(request, failure),
        }
        self.check();
    }

    /// Takes in what agents hold, as an [`Event::PeerHas`] for each span does.
    pub fn handle_news(&mut self, now: Time, news: &[(PeerId, Span)]) {
        self.now = self.now.max(now);
        news.iter().for_each(|(peer, span)| self.peer_has(*peer, &[*span]));
        self.check();
    }

    /// Takes in that time has passed; due when [`Self::poll_timeout`] says, harmless at any other time.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = self.now.max(now);
        self.timer = Timer::Unknown;
        self.give_up_silent_peers();
        self.end_pauses();
        self.peers.search_again();
        self.check();
    }

    /// The next thing to do; `None` when there is nothing more to do until something happens.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.outbox.pop_front().or_else(|| self.next_request());
        if action.is_none() && self.timer == Timer::Unknown {
            let peers_due = self.peers.earliest_due();
            self.timer = Timer::Set(self.next_due(peers_due));
        }
        self.check();
        action
    }

    /// When [`Self::handle_timeout`] is due, should nothing happen before.
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.timer {
            Timer::Set(due) => due,
            Timer::Unknown => {
                let dues = self.peers.values().filter_map(|peer| peer.due(self.settings.silence));
                self.next_due(dues.min())
            }
        }
    }

    fn next_due(&self, peers_due: Option<Time>) -> Option<Time> {
        if self.is_complete() {
            return None;
        }
        // What is past was acted upon, or nobody could act upon it.
        let starved = self.starved_since.map(|since| since + self.settings.origin_patience);
        let starved = starved.filter(|due| *due > self.now);
        [peers_due, starved, self.next_overdue()].into_iter().flatten().min()
    }

    /// Whether every piece is held.
    pub const fn is_complete(&self) -> bool {
        self.have().is_full()
    }

    /// The pieces that are held.
    pub const fn have(&self) -> &PieceSet {
        self.pieces.have()
    }

    /// Whether a neighbour has told that it holds a piece: it need not be told of it.
    pub fn is_held_by(&self, peer: PeerId, piece: PieceIndex) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.has.contains(piece.0))
    }

    /// The pieces from one on that no origin need offer: those that are held, were asked of agents, or may be asked of
    /// agents that have delivered something.
    pub fn covered(&self, from: PieceIndex) -> Vec<Span> {
        let mut covered = PieceSet::empty(self.pieces.count());
        let asked = self.requests.values().filter(|request| request.kind == PeerKind::Agent);
        let coming = asked.flat_map(|request| request.pending.iter().copied());
        let agents = self.peers.values().filter(|peer| peer.is_proven());
        let held = self.have().iter().map(|piece| piece.0);
        let pieces = held.chain(coming).chain(agents.flat_map(|agent| agent.has.iter()));
        for piece in pieces.filter(|piece| *piece >= from.0) {
            covered.insert(PieceIndex(piece));
        }
        covered.spans()
    }

    fn is_covered(&self, piece: u32) -> bool {
        let mut asked = self.requests.values().filter(|request| request.kind == PeerKind::Agent);
        self.have().contains(PieceIndex(piece))
            || asked.any(|request| request.pending.contains(&piece))
            || self.is_at_a_proven_agent(piece)
    }

    /// Whether an agent that has delivered something has told that it holds a piece: others may lie.
    fn is_at_a_proven_agent(&self, piece: u32) -> bool {
        self.peers.values().any(|peer| peer.has.contains(piece) && peer.is_proven())
    }

    /// What the download has cost so far.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    fn peer_has(&mut self, id: PeerId, spans: &[Span]) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.kind == PeerKind::Origin {
            return self.origin_offers(id, spans);
        }
        let usable = peer.is_usable();
        let mut in_flight = 0;
        for span in spans.iter().take(MAX_ANNOUNCED_SPANS) {
            peer.has.insert_range(span.range(), |piece| {
                in_flight += u32::from(self.pieces.flights(piece));
                if usable {
                    self.pieces.gain_holder(piece);
                }
            });
        }
        self.peers.is_worthwhile(id);
        if in_flight > 0 && self.peers.origins().any(|(_, origin)| !origin.open.is_empty()) {
            self.give_way_at_origins();
        }
    }

    /// An origin says what may be asked of it: what it spreads over the agents through us, or has so far.
    fn origin_offers(&mut self, id: PeerId, spans: &[Span]) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.offer == Offer::Untold {
            peer.has = Bits::empty(self.pieces.count());
        }
        for span in spans.iter().take(MAX_ANNOUNCED_SPANS) {
            peer.has.insert_range(span.range(), |_| {});
        }
        if let Standing::Pausing { .. } = peer.standing {
            // It was busy, and now wants to be asked.
            peer.standing = Standing::Good;
        }
        peer.offer = if peer.has.is_full() { Offer::Everything } else { Offer::Part };
        let spreads = peer.offer == Offer::Part;
        self.peers.is_worthwhile(id);
        if spreads {
            let count = self.pieces.count();
            let offered = spans.iter().flat_map(|span| span.first.0..span.range().end.min(count));
            if let Some(piece) = offered.take(OFFERED_LOOKED_AT).find(|piece| self.is_covered(*piece)) {
                self.outbox.push_back(Action::Decline { peer: id, from: PieceIndex(piece) });
            }
        }
    }

    fn progress(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(id) else { return };
        let Some(peer) = self.peers.get_mut(request.peer) else { return };
        peer.heard = self.now;
        if request.answer == Answer::Awaited {
            request.answer = Answer::Begun;
            peer.pace.answered(self.now.since(request.made_at));
        }
    }

    /// A peer that has much to do is not silent; what it was asked for still waits.
    fn alive(&mut self, id: RequestId) {
        let peer = self.requests.get(id).and_then(|request| self.peers.get_mut(request.peer));
        if let Some(peer) = peer {
            peer.heard = self.now;
        }
    }

    fn piece_verified(&mut self, id: RequestId, piece: PieceIndex) {
        if piece.0 >= self.pieces.count() {
            return;
        }
        self.progress(id);
        let length = self.pieces.length(piece.0);
        self.credit(id, length);
        if !self.pieces.verified(piece) {
            self.report.duplicate(length);
        }
        if self.requests.get_mut(id).is_some_and(|request| request.settle(piece)) {
            self.landed(id, piece.0);
        }
        if self.pieces.flights(piece.0) > 0 {
            self.settle_elsewhere(piece);
        }
        self.end_if_settled(id);
    }

    /// Writes a piece's bytes down to whom they came from.
    fn credit(&mut self, id: RequestId, length: u32) {
        let Some(peer_id) = self.sender(id) else { return self.report.late(length) };
        let Some(peer) = self.peers.get_mut(peer_id) else { return self.report.late(length) };
        self.report.delivered(peer_id, peer.kind, length);
        peer.delivered();
        if let Some(request) = self.requests.get(id) {
            peer.pace.delivered(self.now, length, request.mark);
            if request.kind == PeerKind::Agent {
                self.agents_pace.delivered(self.now, length, request.mark_of_all);
            }
        }
    }

    /// A piece is no longer pending in a request that stays open.
    fn landed(&mut self, id: RequestId, piece: u32) {
        self.pieces.land(piece);
        let Some(peer_id) = self.requests.get(id).map(|request| request.peer) else { return };
        self.unburden(peer_id, self.pieces.length(piece).into());
    }

    /// Other requests need no longer bring a piece that has come.
    fn settle_elsewhere(&mut self, piece: PieceIndex) {
        let others: Vec<RequestId> = self
            .requests
            .iter_mut()
            .filter_map(|(id, request)| request.settle(piece).then_some(id))
            .collect();
        for id in others {
            self.landed(id, piece.0);
            if let Some(request) = self.requests.get_mut(id) {
                request.waste = Waste::SomePiece;
            }
            self.end_if_settled(id);
        }
    }

    /// A request that has nothing more to bring is over; one that would yet bring what came from elsewhere is cancelled.
    fn end_if_settled(&mut self, id: RequestId) {
        let Some(request) = self.requests.get(id).filter(|request| request.pending.is_empty()) else {
            return;
        };
        match request.waste {
            Waste::Nothing => self.end(id),
            Waste::SomePiece => self.cancel(id),
        }
    }

    fn request_done(&mut self, id: RequestId) {
        self.progress(id);
        // Everything verified has ended the request already: the peer left something out.
        self.request_failed(id, Failure::Lost);
    }

    fn request_failed(&mut self, id: RequestId, failure: Failure) {
        let Some(peer_id) = self.sender(id) else { return };
        if failure == Failure::WrongBytes {
            return self.ban(peer_id);
        }
        let Some(request) = self.requests.get(id) else { return };
        let pending = request.pending.clone();
        self.end(id);
        match failure {
            Failure::Busy { retry_after } => self.peer_busy(peer_id, retry_after),
            Failure::NotHeld => self.peer_lacks(peer_id, &pending),
            Failure::Lost | Failure::WrongBytes => self.peer_lost(peer_id),
        }
    }

    /// Whom a request was made of, as long as that is remembered.
    fn sender(&self, id: RequestId) -> Option<PeerId> {
        let open = self.requests.get(id).map(|request| request.peer);
        open.or_else(|| self.ended.iter().find(|(ended, _)| *ended == id).map(|(_, peer)| *peer))
    }

    /// Ends a request that the driver goes on with.
    fn cancel(&mut self, id: RequestId) {
        self.outbox.push_back(Action::Cancel { request: id });
        self.end(id);
    }

    /// Forgets a request; what it has not brought is wanted again.
    fn end(&mut self, id: RequestId) {
        let Some(request) = self.requests.remove(id) else { return };
        if self.ended.len() == REMEMBERED_REQUESTS {
            self.ended.pop_front();
        }
        self.ended.push_back((id, request.peer));
        let bytes: u64 = request.pending.iter().map(|piece| u64::from(self.pieces.length(*piece))).sum();
        if let Some(peer) = self.peers.get_mut(request.peer) {
            peer.open.retain(|open| *open != id);
        }
        self.unburden(request.peer, bytes);
        if !request.pending.is_empty() {
            request.pending.iter().for_each(|piece| self.pieces.land(*piece));
            self.peers.search_again();
        }
        self.timer = Timer::Unknown;
    }

    /// A peer owes less than before.
    fn unburden(&mut self, id: PeerId, bytes: u64) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.in_flight_bytes -= bytes;
        if peer.kind == PeerKind::Agent {
            self.agents_in_flight -= bytes;
            // An origin that offers a part is asked for the rest only while agents have room.
            self.peers.are_worthwhile_origins();
        }
        self.peers.is_worthwhile(id);
    }

    /// How much may be in flight from a peer of this kind now.
    fn window(&self, kind: PeerKind) -> WindowSettings {
        let settings = match kind {
            PeerKind::Agent => self.settings.agent,
            PeerKind::Origin if self.has_neighbours() => self.settings.origin_shared,
            PeerKind::Origin => self.settings.origin_alone,
        };
        self.of_this_blob(settings)
    }

    /// A window for the length that pieces have.
    fn of_this_blob(&self, settings: WindowSettings) -> WindowSettings {
        settings.of_blob(self.pieces.mean_length())
    }

    const fn has_neighbours(&self) -> bool {
        self.usable_agents > 0
    }
}
