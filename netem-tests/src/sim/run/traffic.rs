//! Requests, pieces, and words of what is held.

use std::time::Duration;

use rdcq_swarm::{Event, Failure, PeerId, RequestId, Time, gathering};
use rdcq_wire::{PieceIndex, Span};

use super::{SOURCE, World};
use crate::sim::faults::Manner;
use crate::sim::happening::Happening;
use crate::sim::links::Job;

/// How often an agent notes that bytes of a long piece come in; well within the silence that it bears.
const STILL_COMES: Duration = Duration::from_millis(200);

/// A piece that is there so soon after its first byte is only noted when it is there.
const SOON: Duration = Duration::from_millis(10);

impl World<'_> {
    /// A request has reached whom it asks, who has what it asks for: nobody tells of what it does not have.
    pub(super) fn serve(&mut self, by: u32, life: u16, of: u32, request: RequestId, span: Span) {
        if of == SOURCE {
            if let Some(failure) = self.source_refuses(by, span) {
                return self.refuse(by, life, of, request, failure);
            }
        } else {
            let slots = self.setting.slots as usize;
            let waiting = self.uplinks[of as usize].waiting;
            let wait = self.wait(of);
            let agent = self.agent(of);
            if !agent.is_up || agent.manner == Manner::Silent {
                return;
            }
            if !span.indices().all(|piece| agent.have().contains(piece)) {
                return self.refuse(by, life, of, request, Failure::NotHeld);
            }
            if slots > 0 && waiting >= slots {
                return self.refuse(by, life, of, request, Failure::Busy { retry_after: wait });
            }
        }
        for piece in span.range() {
            self.uplinks[of as usize].push(Job { to: by, life, request, piece });
        }
        if !self.uplinks[of as usize].busy {
            self.send(of);
        }
    }

    pub(super) fn cancelled(&mut self, by: u32, life: u16, of: u32, request: RequestId) {
        let dropped = self.uplinks[of as usize].cancel(by, life, request);
        if let Some(span) = dropped.filter(|_| of == SOURCE) {
            self.source_keeps(by, span);
        }
    }

    /// A message goes from one to the other.
    pub(super) fn message(&mut self, by: u32, to: u32) {
        let (now, bytes) = (self.now, self.setting.message_bytes.into());
        self.outcome.messages += 1;
        self.uplinks[by as usize].message(now, bytes);
        if to != SOURCE {
            self.downlinks[to as usize - 1].message(now, bytes);
        }
    }

    /// How long what is asked of a node now would wait.
    fn wait(&self, of: u32) -> Duration {
        self.sending(of, self.uplinks[of as usize].waiting)
    }

    /// How long what a node is to send to others than the one that asks takes.
    pub(super) fn wait_for_others(&self, of: u32, asking: u32) -> Duration {
        let uplink = &self.uplinks[of as usize];
        self.sending(of, uplink.waiting - uplink.waiting_for(asking))
    }

    fn sending(&self, by: u32, pieces: usize) -> Duration {
        let mean = self.setting.size as f64 / self.lengths.len().max(1) as f64;
        self.uplinks[by as usize].sending(mean * pieces as f64)
    }

    fn refuse(&mut self, to: u32, life: u16, by: u32, request: RequestId, failure: Failure) {
        self.message(by, to);
        self.outcome.refused += 1;
        self.after(self.setting.latency, Happening::Refused { by, to, life, request, failure });
    }

    pub(super) fn refused(&mut self, _by: u32, to: u32, life: u16, request: RequestId, failure: Failure) {
        let Some(agent) = self.alive(to, life) else { return };
        agent.open.retain(|(open, ..)| *open != request);
        self.tell_swarm(to, Event::RequestFailed { request, failure });
    }

    pub(super) fn sent(&mut self, by: u32, life: u16) {
        if by == SOURCE || self.alive(by, life).is_some() {
            self.send(by);
        }
    }

    /// Begins to send the next piece.
    pub(super) fn send(&mut self, by: u32) {
        let by_life = if by == SOURCE { 0 } else { self.agent(by).life };
        let job = loop {
            let Some(job) = self.uplinks[by as usize].pop() else {
                self.uplinks[by as usize].busy = false;
                return;
            };
            if self.alive(job.to, job.life).is_some() {
                break job;
            }
            if by == SOURCE {
                self.source_keeps(job.to, Span::new(job.piece, 1));
            }
        };
        let length = self.lengths[job.piece as usize];
        let bytes = f64::from(length) * (1.0 + self.setting.headers);
        let uplink = &mut self.uplinks[by as usize];
        uplink.sent += u64::from(length);
        let sending = uplink.begin(self.now, bytes);
        let begin = self.now + self.setting.latency;
        let (first, there) = self.downlinks[job.to as usize - 1].carry(begin, begin + sending, bytes);
        self.after(sending, Happening::Sent { by, life: by_life });
        if there.since(first) > SOON {
            self.agenda.add(first, Happening::Comes { job, until: there });
        }
        self.agenda.add(there, Happening::Arrived { by, by_life, job });
        if by == SOURCE {
            self.source_sent(job);
        }
    }

    /// Bytes of a piece come in, and do so until it is there.
    pub(super) fn comes(&mut self, job: Job, until: Time) {
        let now = self.now;
        if self.alive(job.to, job.life).is_none() {
            return;
        }
        if let Some(swarm) = self.swarm(job.to) {
            swarm.handle_event(now, Event::Progress { request: job.request });
        }
        if now + STILL_COMES < until {
            self.after(STILL_COMES, Happening::Comes { job, until });
        }
    }

    pub(super) fn arrive(&mut self, by: u32, by_life: u16, job: Job) {
        let (now, length) = (self.now, self.lengths[job.piece as usize]);
        let lies = by != SOURCE && self.agent(by).manner == Manner::Liar;
        if by != SOURCE && self.alive(by, by_life).is_none() {
            // It died while it sent.
            return;
        }
        let Some(agent) = self.alive(job.to, job.life) else { return };
        let index = PieceIndex(job.piece);
        let is_new = !agent.have().contains(index);
        if lies {
            agent.open.retain(|(open, ..)| *open != job.request);
            self.outcome.received_bytes += u64::from(length);
            self.outcome.wrong_bytes += u64::from(length);
            return self.tell_swarm(
                job.to,
                Event::RequestFailed { request: job.request, failure: Failure::WrongBytes },
            );
        }
        let Some(swarm) = self.swarm(job.to) else {
            self.outcome.received_bytes += u64::from(length);
            self.outcome.duplicate_bytes += u64::from(length);
            return;
        };
        swarm.handle_event(now, Event::PieceVerified { request: job.request, piece: index });
        let is_complete = is_new && swarm.is_complete();
        let agent = self.agent(job.to);
        // A request's pieces come in order.
        agent.open.retain(|(open, _, span)| *open != job.request || span.range().end != job.piece + 1);
        if is_new {
            agent.will_tell(index);
            agent.received += u64::from(length);
        }
        self.outcome.received_bytes += u64::from(length);
        self.outcome.duplicate_bytes += u64::from(if is_new { 0 } else { length });
        self.act(job.to);
        if is_complete {
            self.finish(job.to);
        }
        if is_new {
            self.tell_soon(job.to, by);
        }
    }

    fn finish(&mut self, number: u32) {
        let now = self.now;
        self.agent(number).finish(now);
        self.unread.forget(number);
        self.outcome.unfinished -= u32::from(self.is_awaited(number));
        self.spread.left(PeerId(number));
    }

    /// Has an agent tell what it has when enough is gathered, or at once if nobody else has it.
    fn tell_soon(&mut self, number: u32, by: u32) {
        let now = self.now;
        let agent = self.agent(number);
        let rate = agent.received as f64 / now.since(agent.began).as_secs_f64().max(1e-3);
        let gathering = gathering(agent.watchers.len(), rate).max(self.setting.have_every);
        let agent = self.agent(number);
        let due = agent.told_at.map_or(now, |told| (told + gathering).max(now));
        let at = if by == SOURCE { now } else { due };
        if agent.tells_at.is_some_and(|before| before <= at) {
            return;
        }
        agent.tells_at = Some(at);
        let life = agent.life;
        self.agenda.add(at, Happening::Tells { agent: number, life });
    }

    pub(super) fn tell_watchers(&mut self, number: u32, life: u16) {
        let (now, latency) = (self.now, self.setting.latency);
        self.swarm(number);
        let Some(agent) = self.alive(number, life).filter(|agent| agent.tells_at == Some(now)) else {
            return;
        };
        agent.tells_at = None;
        agent.told_at = Some(now);
        let spans: Box<[Span]> = std::mem::take(&mut agent.untold).into();
        let watchers = std::mem::take(&mut agent.watchers);
        let told: Box<[u32]> =
            watchers.iter().copied().filter(|to| agent.has_news_for(*to, &spans)).collect();
        agent.watchers = watchers;
        told.iter().for_each(|to| self.message(number, *to));
        self.agenda.add(now + latency, Happening::Told { by: number, life, told, spans });
    }

    pub(super) fn told(&mut self, by: u32, life: u16, to: &[u32], spans: &[Span]) {
        let now = self.now;
        if self.alive(by, life).is_none() {
            return;
        }
        for watcher in to {
            if self.unread.puts_aside(*watcher, now, by, spans) {
                continue;
            }
            let agent = self.agent(*watcher);
            let hears = agent.hears.contains(&by);
            let Some(swarm) = self.swarm(*watcher).filter(|_| hears) else { continue };
            swarm.handle_event(now, Event::PeerHas { peer: PeerId(by), spans: spans.to_vec() });
            self.act(*watcher);
        }
    }
}
