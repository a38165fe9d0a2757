//! One agent.

use std::sync::Arc;

use rdcq_swarm::{PeerId, RequestId, Settings, Swarm, Time};
use rdcq_wire::{PieceIndex, PieceSet, Span};

use super::faults::{Fate, Manner};

/// One agent: what it is, whom it knows, and its scheduler while it lacks something.
pub(super) struct Agent {
    pub(super) manner: Manner,
    pub(super) fate: Fate,
    /// Counts its restarts: what was meant for an earlier life is not heard.
    pub(super) life: u16,
    pub(super) is_up: bool,
    /// While it lacks something and is up.
    pub(super) swarm: Option<Box<Swarm>>,
    /// What it holds while it has no scheduler.
    kept: PieceSet,
    /// Whom it hears.
    pub(super) hears: Vec<u32>,
    /// Who hears what it has.
    pub(super) watchers: Vec<u32>,
    /// What it has and has not told.
    pub(super) untold: Vec<Span>,
    pub(super) told_at: Option<Time>,
    /// When it will tell next, if it has something to tell.
    pub(super) tells_at: Option<Time>,
    /// Bytes that came to it, and since when.
    pub(super) received: u64,
    pub(super) began: Time,
    /// Whom each open request was made of, and which pieces are to come.
    pub(super) open: Vec<(RequestId, PeerId, Span)>,
    /// When it asked the tracker last, and when it does again.
    pub(super) asked_at: Time,
    pub(super) asks_at: Option<Time>,
    /// When it looks at the time next.
    pub(super) due: Option<Time>,
    /// How many it has banned, which it still counts among those that it hears.
    pub(super) banned: usize,
    pub(super) done: Option<Time>,
}

impl Agent {
    pub(super) fn new(manner: Manner, fate: Fate, pieces: u32) -> Self {
        let kept = if manner == Manner::Honest { PieceSet::empty(pieces) } else { PieceSet::full(pieces) };
        Self {
            manner,
            fate,
            life: 0,
            is_up: true,
            swarm: None,
            kept,
            hears: Vec::new(),
            watchers: Vec::new(),
            untold: Vec::new(),
            told_at: None,
            tells_at: None,
            received: 0,
            began: Time::default(),
            open: Vec::new(),
            asked_at: Time::default(),
            asks_at: None,
            due: None,
            banned: 0,
            done: None,
        }
    }

    /// It begins to fetch what it lacks.
    pub(super) fn begin(&mut self, settings: &Settings, lengths: &Arc<[u32]>, seed: u64, now: Time) {
        (self.received, self.began) = (0, now);
        let have = std::mem::replace(&mut self.kept, PieceSet::empty(0));
        self.swarm = Some(Box::new(Swarm::new(settings.clone(), Arc::clone(lengths), have, seed, now)));
    }

    /// It has everything, and needs no scheduler any longer.
    pub(super) fn finish(&mut self, now: Time) {
        self.done = Some(now);
        self.stop();
    }

    fn stop(&mut self) {
        if let Some(swarm) = self.swarm.take() {
            self.kept = swarm.have().clone();
        }
        self.open = Vec::new();
        self.due = None;
    }

    /// It is down: what it was about is forgotten, and what it holds is kept.
    pub(super) fn die(&mut self) {
        self.stop();
        self.life += 1;
        self.is_up = false;
        self.untold = Vec::new();
        (self.tells_at, self.told_at, self.asks_at) = (None, None, None);
        (self.hears, self.watchers, self.banned) = (Vec::new(), Vec::new(), 0);
    }

    pub(super) fn have(&self) -> &PieceSet {
        self.swarm.as_ref().map_or(&self.kept, |swarm| swarm.have())
    }

    /// Notes that it has a piece that it has not told of.
    pub(super) fn will_tell(&mut self, piece: PieceIndex) {
        match self.untold.last_mut() {
            Some(span) if span.range().end == piece.0 => span.count += 1,
            _ => self.untold.push(Span { first: piece, count: 1 }),
        }
    }

    /// Whether another is not known to have all of these.
    pub(super) fn has_news_for(&self, other: u32, spans: &[Span]) -> bool {
        let knows = |piece| self.swarm.as_ref().is_some_and(|swarm| swarm.is_held_by(PeerId(other), piece));
        !spans.iter().flat_map(|span| span.indices()).all(knows)
    }

    /// One that it hears, or that hears it, is gone.
    pub(super) fn forget(&mut self, other: u32) {
        self.hears.retain(|heard| *heard != other);
        self.watchers.retain(|watcher| *watcher != other);
    }
}
