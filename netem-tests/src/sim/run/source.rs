//! The source: whom it offers what, and whom it sends away.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rdcq_swarm::{Asked, Event, Failure, OnOffer, PeerId, PeerKind, Spread, SpreadSettings};
use rdcq_wire::Span;

use super::{SOURCE, World};
use crate::sim::happening::Happening;
use crate::sim::links::Job;
use crate::sim::setting::{Origin, Setting};

/// What a source has on offer at once, as the time in which its link carries it.
const OPEN: Duration = Duration::from_millis(20);
/// A source that has more than this to send to others refuses what it has not offered.
const MOST_WAIT: Duration = Duration::from_millis(50);
/// How long it asks to be left alone then, at least and at most.
const RETRY_MS: std::ops::Range<u64> = 200..600;

impl World<'_> {
    pub(super) fn spread(setting: &Setting, lengths: &Arc<[u32]>) -> Spread {
        let bytes = (setting.source_up.bytes_per_second() as f64 * OPEN.as_secs_f64()) as u64;
        let defaults = SpreadSettings::default();
        let settings =
            SpreadSettings { open_bytes: bytes, span_bytes: defaults.span_bytes.min(bytes), ..defaults };
        Spread::new(settings, Arc::clone(lengths))
    }

    /// An agent comes to know the source.
    pub(super) fn join_source(&mut self, agent: u32) {
        let peer = PeerId(SOURCE);
        let now = self.now;
        if self.setting.origin == Origin::Spreads
            && let Some(swarm) = self.swarm(agent)
        {
            // Its first word, that it offers nothing yet, comes with the connection.
            swarm.handle_event(now, Event::PeerJoined { peer, kind: PeerKind::Origin });
            self.tell_swarm(agent, Event::PeerHas { peer, spans: Vec::new() });
            self.spread.joined(PeerId(agent));
            return self.offer();
        }
        self.tell_swarm(agent, Event::PeerJoined { peer, kind: PeerKind::Origin });
    }

    fn offer(&mut self) {
        if self.setting.origin == Origin::Open {
            return;
        }
        while let Some((agent, span)) = self.spread.poll_offer(self.now, OnOffer::default()) {
            self.message(SOURCE, agent.0);
            let told = Happening::ToldTo { to: agent.0, by: SOURCE, spans: [span].into() };
            self.after(self.setting.latency, told);
        }
        let due = self.spread.poll_timeout();
        if let Some(at) = due.filter(|at| self.source_due.is_none_or(|due| *at < due)) {
            self.source_due = due;
            self.agenda.add(at.max(self.now), Happening::SourceDue);
        }
    }

    pub(super) fn source_due(&mut self) {
        if self.source_due.is_some_and(|due| due <= self.now) {
            self.source_due = None;
            self.spread.handle_timeout(self.now);
            self.offer();
        }
    }

    pub(super) fn declined(&mut self, by: u32, life: u16, spans: &[Span]) {
        if self.alive(by, life).is_some() {
            self.spread.declined(PeerId(by), spans);
            self.offer();
        }
    }

    pub(super) fn source_refuses(&mut self, agent: u32, span: Span) -> Option<Failure> {
        if self.setting.origin == Origin::Open {
            return None;
        }
        let takes_offer = self.spread.asked(PeerId(agent), span) == Asked::Offered;
        let refuses = !takes_offer && self.wait_for_others(SOURCE, agent) > MOST_WAIT;
        if !refuses && !takes_offer {
            self.spread.accepted(span);
        }
        refuses.then(|| Failure::Busy { retry_after: Duration::from_millis(self.rng.random_range(RETRY_MS)) })
    }

    /// An agent no longer wants what it has asked for.
    pub(super) fn source_keeps(&mut self, agent: u32, span: Span) {
        self.spread.cancelled(PeerId(agent), span);
        self.offer();
    }

    pub(super) fn source_sent(&mut self, job: Job) {
        self.spread.sent(PeerId(job.to), job.piece);
        self.offer();
    }
}
