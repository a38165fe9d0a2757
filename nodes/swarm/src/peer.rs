//! One neighbour.

use std::time::Duration;

use crate::bits::Bits;
use crate::event::{PeerKind, RequestId};
use crate::pace::Pace;
use crate::settings::WindowSettings;
use crate::time::Time;

/// The first pause after a request was lost, doubled with each further loss.
const LOST_PAUSE: Duration = Duration::from_millis(50);
/// Doublings of that pause: at most 3.2 s.
const LOST_DOUBLINGS: u32 = 6;
/// Doublings of the silence that is borne from a peer that was given up and is tried again.
const SILENCE_DOUBLINGS: u32 = 4;

/// A neighbour that is not banned.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) kind: PeerKind,
    /// The pieces that it may be asked for: those that it told of, and of an origin that told of none all.
    pub(crate) has: Bits,
    pub(crate) offer: Offer,
    pub(crate) standing: Standing,
    /// Its open requests, oldest first.
    pub(crate) open: Vec<RequestId>,
    pub(crate) in_flight_bytes: u64,
    /// What its window allowed when it was last asked for something.
    pub(crate) allowed_bytes: u64,
    /// When its silence began: its last byte, or the request that ended its idleness.
    pub(crate) heard: Time,
    pub(crate) pace: Pace,
    /// The piece after the last span asked of it.
    pub(crate) cursor: Option<u32>,
    /// Whether it has delivered a piece since it was last given up, if it ever was.
    pub(crate) has_delivered: bool,
    losses: u32,
    give_ups: u32,
}

/// What an origin lets us ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// It has not told of anything: everything.
    Untold,
    /// It has told of everything: the choice is ours.
    Everything,
    /// What it has told of so far: it gives different pieces to different agents, or has no more yet.
    Part,
}

/// Whether a peer may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    /// It was busy, or a request was lost.
    Pausing {
        until: Time,
    },
    /// It was silent.
    GivenUp {
        until: Time,
    },
}

impl Peer {
    pub(crate) fn new(kind: PeerKind, pieces: u32, now: Time) -> Self {
        let has = match kind {
            PeerKind::Origin => Bits::full(pieces),
            PeerKind::Agent => Bits::empty(pieces),
        };
        Self {
            kind,
            has,
            offer: Offer::Untold,
            standing: Standing::Good,
            open: Vec::new(),
            in_flight_bytes: 0,
            allowed_bytes: 0,
            heard: now,
            pace: Pace::new(now),
            cursor: None,
            has_delivered: false,
            losses: 0,
            give_ups: 0,
        }
    }

    /// When it will have been silent for too long, if it owes anything. `silence` is borne the first time, and twice as
    /// much each further time: behind a link slower than anybody thought of, giving up again and again would throw away
    /// what is on its way and never end.
    pub(crate) fn silent_at(&self, silence: Duration) -> Option<Time> {
        let borne = silence.saturating_mul(1 << self.give_ups.min(SILENCE_DOUBLINGS));
        (!self.open.is_empty()).then(|| self.heard + borne)
    }

    /// It was silent for too long, and rests.
    pub(crate) const fn give_up(&mut self, until: Time) {
        self.give_ups = self.give_ups.saturating_add(1);
        self.has_delivered = false;
        self.standing = Standing::GivenUp { until };
    }

    /// Whether its holdings count: it can be asked now, or after a short pause.
    pub(crate) const fn is_usable(&self) -> bool {
        !matches!(self.standing, Standing::GivenUp { .. })
    }

    /// Whether it is an agent that can be asked and has delivered something.
    pub(crate) fn is_proven(&self) -> bool {
        self.kind == PeerKind::Agent && self.is_usable() && self.pace.is_known()
    }

    /// The bytes that may be asked of it now; `u64::MAX` of an idle peer, which may always be asked for one piece.
    pub(crate) fn room(&self, window: &WindowSettings) -> u64 {
        match self.standing {
            Standing::Good if self.open.is_empty() => u64::MAX,
            Standing::Good => self.pace.window(window).saturating_sub(self.in_flight_bytes),
            Standing::Pausing { .. } | Standing::GivenUp { .. } => 0,
        }
    }

    /// How full its window is, if so many bytes may be asked of it now.
    pub(crate) fn fill_with_room(&self, window: &WindowSettings, bytes: u64) -> Option<u64> {
        if self.standing != Standing::Good {
            return None;
        }
        if self.open.is_empty() {
            return Some(0);
        }
        if self.kind == PeerKind::Agent && !self.pace.is_known() {
            // It may be silent or lie: one request shows.
            return None;
        }
        let most = self.pace.window(window);
        let has_room = self.in_flight_bytes + bytes <= most;
        has_room.then(|| self.in_flight_bytes.saturating_mul(1000) / most.max(1))
    }

    /// The longest span that may be asked of it now, in bytes, should its first piece be shorter.
    pub(crate) fn span_bytes(&self, window: &WindowSettings) -> u64 {
        let bytes = self.pace.window(window);
        bytes.saturating_sub(self.in_flight_bytes).min(window.span_bytes).min(bytes / window.spans.max(1))
    }

    /// How full its window is, in thousandths.
    pub(crate) fn fill(&self, window: &WindowSettings) -> u64 {
        self.in_flight_bytes.saturating_mul(1000) / self.pace.window(window).max(1)
    }

    /// Leaves the peer alone for a while; never shortens a pause.
    pub(crate) fn pause(&mut self, until: Time) {
        self.standing = match self.standing {
            Standing::Good => Standing::Pausing { until },
            Standing::Pausing { until: before } => Standing::Pausing { until: before.max(until) },
            given_up @ Standing::GivenUp { .. } => given_up,
        };
    }

    /// A request was lost.
    pub(crate) fn lost(&mut self, now: Time) {
        self.pause(now + LOST_PAUSE * (1 << self.losses.min(LOST_DOUBLINGS)));
        self.losses = self.losses.saturating_add(1);
    }

    /// A piece came.
    pub(crate) const fn delivered(&mut self) {
        self.losses = 0;
        self.has_delivered = true;
    }

    /// When something about the peer is due, if `silence` is borne.
    pub(crate) fn due(&self, silence: Duration) -> Option<Time> {
        [self.silent_at(silence), self.rests_until()].into_iter().flatten().min()
    }

    /// Until when it is left alone.
    pub(crate) const fn rests_until(&self) -> Option<Time> {
        match self.standing {
            Standing::Good => None,
            Standing::Pausing { until } | Standing::GivenUp { until } => Some(until),
        }
    }
}
