//! Who is asked for what next.

use std::time::Duration;

use rand::Rng;
use rdcq_wire::Span;

use super::{Swarm, Timer};
use crate::bits::Bits;
use crate::event::{Action, PeerId, PeerKind, RequestId};
use crate::pace::Load;
use crate::peer::{Offer, Peer, Standing};
use crate::request::{Answer, Request, Waste};
use crate::settings::WindowSettings;
use crate::time::{NEVER, Time};

/// How long a request to a peer of which nothing is known may take before it is overdue.
const UNKNOWN_PACE: Duration = Duration::from_millis(250);
/// How late a request must be at least to be overdue: scheduling on a busy host is no reason for sending twice.
const LEAST_OVERDUE: Duration = Duration::from_millis(20);
/// How many pieces that an origin has offered are looked at: those that others have by now add up where links are slow.
const OFFERS_LOOKED_AT: usize = 64;
/// How many places are compared before a walk begins.
const WALK_CANDIDATES: u32 = 4;
/// An odd number without pattern: products with it put neighbouring numbers into no particular order.
const SPREADS_BITS: u32 = 0x9e37_79b1;

impl Swarm {
    pub(super) fn next_request(&mut self) -> Option<Action> {
        if self.pieces.wanted_count() == 0 {
            self.starved_since = None;
            return self.second_request();
        }
        if self.overdue_from <= self.now {
            let agents = self.requests.values().filter(|request| request.kind == PeerKind::Agent);
            self.overdue_from = agents.map(|request| request.overdue_at).min().unwrap_or(NEVER);
        }
        self.request_from_agents().or_else(|| self.request_from_origins())
    }

    /// When the next request becomes overdue, if anything would come of it.
    pub(super) fn next_overdue(&self) -> Option<Time> {
        let matters = self.is_end_game() || self.pieces.wanted_count() > 0 && !self.agents_have_room();
        let overdue = self.requests.values().map(|request| request.overdue_at);
        if matters { overdue.filter(|due| *due > self.now).min() } else { None }
    }

    /// From when on news of what an agent holds can change what is done, once there is nothing more to do now. What comes before
    /// then may as well be told later, together with what happens next.
    pub fn news_matters_from(&self) -> Time {
        // What is asked of an origin that does not spread gives way to agents.
        let gives_way = |origin: &Peer| origin.offer != Offer::Part && !origin.open.is_empty();
        let is_busy = self.pieces.wanted_count() > 0 && !self.agents_have_room();
        if !is_busy
            || !self.outbox.is_empty()
            || self.peers.any_origin_worthwhile()
            || self.peers.origins().any(|(_, origin)| gives_way(origin))
        {
            return self.now;
        }
        // What is overdue makes room for more.
        let agents = self.requests.values().filter(|request| request.kind == PeerKind::Agent);
        agents.map(|request| request.overdue_at).filter(|due| *due > self.now).min().unwrap_or(NEVER)
    }

    /// An agent has a piece that is in flight to us: where it is also what an origin was asked for, cancels what has not
    /// begun to arrive, and begins elsewhere next time, or both would walk on side by side and fetch everything twice.
    pub(super) fn give_way_at_origins(&mut self) {
        let mut needless = Vec::new();
        let mut met = Vec::new();
        // What one that spreads has offered is for us alone.
        for (origin, peer) in self.peers.origins().filter(|(_, peer)| peer.offer != Offer::Part) {
            for id in &peer.open {
                let Some(request) = self.requests.get(*id) else { continue };
                let held = request.pending.iter().filter(|piece| self.pieces.is_held(**piece)).count();
                if held > 0 {
                    met.push(origin);
                }
                if held == request.pending.len() && request.answer == Answer::Awaited {
                    needless.push(*id);
                }
            }
        }
        for origin in met {
            if let Some(peer) = self.peers.get_mut(origin) {
                peer.cursor = None;
            }
        }
        needless.into_iter().for_each(|id| self.cancel(id));
    }

    /// The first agent has come: takes back what was asked of the origins as if there were none and has not begun to
    /// arrive, newest first.
    pub(super) fn shrink_origin_windows(&mut self) {
        let window = self.window(PeerKind::Origin);
        let mut excess = Vec::new();
        for (_, peer) in self.peers.origins() {
            let mut bytes = peer.in_flight_bytes;
            for id in peer.open.iter().rev() {
                let Some(request) = self.requests.get(*id) else { continue };
                if bytes > peer.pace.window(&window) && request.answer == Answer::Awaited {
                    bytes -= request
                        .pending
                        .iter()
                        .map(|piece| u64::from(self.pieces.length(*piece)))
                        .sum::<u64>();
                    excess.push(*id);
                }
            }
        }
        excess.into_iter().for_each(|id| self.cancel(id));
    }

    fn is_end_game(&self) -> bool {
        self.pieces.wanted_count() == 0 && self.pieces.missing() <= self.settings.end_game_pieces
    }

    fn request_from_agents(&mut self) -> Option<Action> {
        if !self.agents_have_room() {
            return None;
        }
        let window = self.window(PeerKind::Agent);
        while let Some(id) = self.least_busy(PeerKind::Agent, &window) {
            if let Some(span) = self.choose_from_agent(id, &window) {
                if self.peers.origins().all(|(_, origin)| origin.offer == Offer::Part) {
                    self.starved_since = None;
                }
                return Some(self.ask(id, span, &window));
            }
            self.peers.is_exhausted(id);
        }
        None
    }

    fn request_from_origins(&mut self) -> Option<Action> {
        if !self.peers.any_origin_worthwhile() {
            return None;
        }
        let window = self.window(PeerKind::Origin);
        while let Some(id) = self.least_busy(PeerKind::Origin, &window) {
            if let Some(span) = self.choose_from_origin(id, &window) {
                return Some(self.ask(id, span, &window));
            }
            self.peers.is_exhausted(id);
        }
        None
    }

    /// Whether one more piece may be in flight from agents.
    fn agents_have_room(&self) -> bool {
        let window = self.agents_window();
        let mean = self.pieces.mean_length().max(1);
        self.agents_in_flight + mean <= window
            || self.agents_in_flight + mean <= window + self.overdue_bytes()
    }

    fn agents_window(&self) -> u64 {
        self.agents_pace.window(&self.of_this_blob(self.settings.all_agents))
    }

    /// What is overdue at agents. It does not count as in flight: it waits behind a slow link, and ours would stand idle
    /// meanwhile.
    fn overdue_bytes(&self) -> u64 {
        if self.now < self.overdue_from {
            return 0;
        }
        let overdue = self.requests.values();
        let overdue =
            overdue.filter(|request| request.kind == PeerKind::Agent && request.overdue_at <= self.now);
        overdue.flat_map(|request| &request.pending).map(|piece| u64::from(self.pieces.length(*piece))).sum()
    }

    /// The peer with the emptiest window among those that may be asked for a piece of the usual length; equal ones by lot,
    /// or some would be asked by all that know them and others by nobody.
    fn least_busy(&mut self, kind: PeerKind, window: &WindowSettings) -> Option<PeerId> {
        let lot: u32 = self.rng.random();
        if kind == PeerKind::Agent {
            return self.peers.least_busy_agent(lot);
        }
        let least = self.pieces.mean_length().max(1);
        let fill = |(id, peer): (PeerId, &Peer)| Some((peer.fill_with_room(window, least)?, id.0 ^ lot, id));
        self.peers.worthwhile_origins().filter_map(fill).min().map(|(_, _, id)| id)
    }

    fn choose_from_agent(&mut self, id: PeerId, window: &WindowSettings) -> Option<Span> {
        let start = self.rng.random_range(0..self.pieces.count());
        let room = (self.agents_window() + self.overdue_bytes()).saturating_sub(self.agents_in_flight);
        let peer = self.peers.get(id)?;
        let first = self.pieces.rarest(&peer.has, start, peer.room(window))?;
        Some(self.pieces.span_from(first, &peer.has, peer.span_bytes(window).min(room)))
    }

    fn choose_from_origin(&mut self, id: PeerId, window: &WindowSettings) -> Option<Span> {
        let peer = self.peers.get(id)?;
        if peer.offer == Offer::Part
            && self.has_neighbours()
            && self.pieces.any_wanted(&peer.has)
            && let Some(span) = self.offered(peer, window)
        {
            self.starved_since = None;
            return Some(span);
        }
        let orphans = self.pieces.orphans(self.may_ask(peer));
        if orphans == 0 {
            // One that offers a part does not want to be asked by all for the rest while they are well served.
            let is_needed = peer.offer != Offer::Part || self.agents_have_room();
            return if is_needed { self.last_resort(id, window) } else { None };
        }
        self.starved_since = None;
        // Walking on from the last span, rather than picking at random each time, keeps clear of what others have in
        // flight: they walk too.
        let next = peer
            .cursor
            .filter(|cursor| self.pieces.is_orphan(*cursor) && self.may_ask(peer).contains(*cursor));
        let first = next.or_else(|| self.start_of_walk(id, orphans))?;
        let peer = self.peers.get(id)?;
        let fits = u64::from(self.pieces.length(first)) <= peer.room(window);
        fits.then(|| self.pieces.span_from(first, self.may_ask(peer), peer.span_bytes(window)))
    }

    /// What an origin has offered and no agent holds that has delivered anything yet.
    fn offered(&self, origin: &Peer, window: &WindowSettings) -> Option<Span> {
        let room = origin.room(window);
        let mut wanted = self.pieces.wanted_of(&origin.has).take(OFFERS_LOOKED_AT);
        let first = wanted.find(|piece| {
            u64::from(self.pieces.length(*piece)) <= room && !self.is_at_a_proven_agent(*piece)
        })?;
        Some(Span::new(first, 1))
    }

    /// An origin is asked for what agents hold, or for what it did not offer, only when they have left it idle for long.
    fn last_resort(&mut self, id: PeerId, window: &WindowSettings) -> Option<Span> {
        if self.starved_since.is_none() {
            self.timer = Timer::Unknown;
        }
        let since = *self.starved_since.get_or_insert(self.now);
        let patient = self.now.since(since) < self.settings.origin_patience;
        if patient {
            return None;
        }
        let start = self.rng.random_range(0..self.pieces.count());
        let peer = self.peers.get(id)?;
        let first = self.pieces.rarest(self.pieces.all(), start, peer.room(window))?;
        Some(self.pieces.span_from(first, self.pieces.all(), peer.span_bytes(window)))
    }

    /// What an origin may be asked for: what it tells of, and by one that knows no agent everything.
    fn may_ask<'a>(&'a self, origin: &'a Peer) -> &'a Bits {
        if self.has_neighbours() { &origin.has } else { self.pieces.all() }
    }

    /// Where to begin to walk: of a few random orphans the one that is furthest from what agents hold, because others are
    /// about to fetch what comes after theirs, and this walk will end at what comes before theirs.
    fn start_of_walk(&mut self, id: PeerId, orphans: u32) -> Option<u32> {
        let ranks: Vec<u32> = (0..WALK_CANDIDATES).map(|_| self.rng.random_range(0..orphans)).collect();
        let among = self.may_ask(self.peers.get(id)?);
        let candidates = ranks.into_iter().filter_map(|rank| self.pieces.orphan(among, rank));
        candidates.max_by_key(|piece| self.pieces.solitude(*piece))
    }

    /// In the end game, asks a second peer for an overdue piece.
    fn second_request(&mut self) -> Option<Action> {
        if !self.is_end_game() {
            return None;
        }
        let overdue = self.requests.values().filter(|request| request.overdue_at <= self.now);
        let (id, kind, piece) = overdue
            .flat_map(|request| request.pending.iter().map(|piece| (request.peer, *piece)))
            .filter(|(_, piece)| self.pieces.flights(*piece) == 1)
            .find_map(|(asked, piece)| self.second_peer(asked, piece).map(|(id, kind)| (id, kind, piece)))?;
        let window = self.window(kind);
        Some(self.ask(id, Span::new(piece, 1), &window))
    }

    /// Who else may be asked for a piece now: agents before origins, the emptiest window first.
    fn second_peer(&self, asked: PeerId, piece: u32) -> Option<(PeerId, PeerKind)> {
        let length = u64::from(self.pieces.length(piece));
        [PeerKind::Agent, PeerKind::Origin].into_iter().find_map(|kind| {
            let window = self.window(kind);
            let candidates = self.peers.iter().filter(|(id, peer)| {
                *id != asked
                    && peer.kind == kind
                    && peer.has.contains(piece)
                    && peer.standing == Standing::Good
                    && peer.room(&window) >= length.max(1)
            });
            let lot = piece.wrapping_mul(SPREADS_BITS);
            candidates
                .min_by_key(|(id, peer)| (peer.fill(&window), id.0.wrapping_mul(SPREADS_BITS) ^ lot))
                .map(|(id, _)| (id, kind))
        })
    }

    fn ask(&mut self, id: PeerId, span: Span, window: &WindowSettings) -> Action {
        let request = self.next_request;
        self.next_request = RequestId(request.0 + 1);
        let now = self.now;
        let bytes: u64 = span.range().map(|piece| u64::from(self.pieces.length(piece))).sum();
        span.range().for_each(|piece| self.pieces.depart(piece));
        if let Some(peer) = self.peers.get_mut(id) {
            if peer.open.is_empty() {
                peer.heard = now;
                peer.pace.wake(now);
            }
            // An idle peer may be asked for one piece, however long; what was asked before a window shrank stays.
            let alone = peer.open.is_empty() && span.count == 1;
            let before = peer.in_flight_bytes;
            peer.in_flight_bytes += bytes;
            peer.allowed_bytes = if alone { bytes } else { peer.pace.window(window).max(before) };
            peer.open.push(request);
            peer.cursor = Some(span.range().end);
            let full = 2 * peer.in_flight_bytes >= peer.pace.window(window);
            let mark = peer.pace.mark(if full { Load::Full } else { Load::Light });
            let expected = peer.pace.expected(peer.in_flight_bytes).unwrap_or(UNKNOWN_PACE);
            let overdue_at = now + expected.saturating_mul(2) + LEAST_OVERDUE;
            let kind = peer.kind;
            if kind == PeerKind::Agent {
                self.overdue_from = self.overdue_from.min(overdue_at);
            }
            let (agents_window, overdue) = (self.agents_window(), self.overdue_bytes());
            if kind == PeerKind::Agent {
                if self.agents_in_flight == 0 {
                    self.agents_pace.wake(now);
                }
                self.agents_in_flight += bytes;
            }
            // The last piece may be longer than the mean; what is asked for twice comes on top.
            let is_second = span.range().any(|piece| self.pieces.flights(piece) > 1);
            let allowed = agents_window + overdue + self.pieces.longest();
            if kind == PeerKind::Agent {
                self.agents_allowed = if is_second { self.agents_in_flight } else { allowed };
            }
            let full = 2 * self.agents_in_flight >= agents_window;
            let mark_of_all = self.agents_pace.mark(if full { Load::Full } else { Load::Light });
            self.timer = Timer::Unknown;
            self.requests.push(
                request,
                Request {
                    peer: id,
                    kind,
                    pending: span.range().collect(),
                    made_at: now,
                    answer: Answer::Awaited,
                    waste: Waste::Nothing,
                    overdue_at,
                    mark,
                    mark_of_all,
                },
            );
        }
        Action::Request { request, peer: id, span }
    }
}
