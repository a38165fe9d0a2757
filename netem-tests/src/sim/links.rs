//! A node's link, up and down.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rdcq_swarm::{RequestId, Time};
use rdcq_wire::Span;

/// A piece that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) to: u32,
    /// Which life of the receiver asked for it.
    pub(super) life: u16,
    pub(super) request: RequestId,
    pub(super) piece: u32,
}

/// A link up: receivers take turns, piece by piece.
#[derive(Debug)]
pub(super) struct Uplink {
    bytes_per_second: f64,
    turns: VecDeque<u32>,
    jobs: BTreeMap<u32, VecDeque<Job>>,
    /// Pieces that wait.
    pub(super) waiting: usize,
    pub(super) busy: bool,
    /// Bytes of pieces that it has sent.
    pub(super) sent: u64,
    /// Bytes of messages that go before the next piece, and since when.
    owed: (f64, Time),
}

impl Uplink {
    pub(super) const fn new(bytes_per_second: f64) -> Self {
        Self {
            bytes_per_second,
            turns: VecDeque::new(),
            jobs: BTreeMap::new(),
            waiting: 0,
            busy: false,
            sent: 0,
            owed: (0.0, Time(Duration::ZERO)),
        }
    }

    pub(super) fn push(&mut self, job: Job) {
        let receiver = job.to;
        self.waiting += 1;
        let jobs = self.jobs.entry(receiver).or_default();
        if jobs.is_empty() {
            self.turns.push_back(receiver);
        }
        jobs.push_back(job);
    }

    /// The next piece to be sent.
    pub(super) fn pop(&mut self) -> Option<Job> {
        while let Some(receiver) = self.turns.pop_front() {
            let Some(jobs) = self.jobs.get_mut(&receiver) else { continue };
            let job = jobs.pop_front();
            if jobs.is_empty() {
                self.jobs.remove(&receiver);
            } else {
                self.turns.push_back(receiver);
            }
            if let Some(job) = job {
                self.waiting -= 1;
                return Some(job);
            }
        }
        None
    }

    /// Pieces that wait for one receiver.
    pub(super) fn waiting_for(&self, receiver: u32) -> usize {
        self.jobs.get(&receiver).map_or(0, VecDeque::len)
    }

    /// Drops what is left of a request, and says which pieces that is; they follow one another.
    pub(super) fn cancel(&mut self, receiver: u32, life: u16, request: RequestId) -> Option<Span> {
        let jobs = self.jobs.get_mut(&receiver)?;
        let is_meant = |job: &Job| job.life == life && job.request == request;
        let first = jobs.iter().find(|job| is_meant(job))?.piece;
        let before = jobs.len();
        jobs.retain(|job| !is_meant(job));
        let dropped = before - jobs.len();
        self.waiting -= dropped;
        if jobs.is_empty() {
            self.jobs.remove(&receiver);
            self.turns.retain(|turn| *turn != receiver);
        }
        Some(Span::new(first, dropped as u32))
    }

    /// A message goes out, before what waits.
    pub(super) fn message(&mut self, now: Time, bytes: f64) {
        let before = self.owed_at(now);
        self.owed = (before + bytes, now);
    }

    /// Bytes of messages that are still to go out. While nothing else does, they do.
    fn owed_at(&self, now: Time) -> f64 {
        let (bytes, since) = self.owed;
        let gone = if self.busy { 0.0 } else { self.bytes_per_second * now.since(since).as_secs_f64() };
        (bytes - gone).max(0.0)
    }

    /// How long a piece takes that begins now, after the messages before it.
    pub(super) fn begin(&mut self, now: Time, bytes: f64) -> Duration {
        let owed = self.owed_at(now);
        self.owed = (0.0, now);
        self.busy = true;
        self.sending(bytes + owed)
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.forget();
        self.busy = false;
    }

    /// What waits is no longer sent; what has begun is.
    pub(super) fn forget(&mut self) {
        self.turns.clear();
        self.jobs.clear();
        self.waiting = 0;
    }

    pub(super) fn sending(&self, bytes: f64) -> Duration {
        Duration::from_secs_f64(bytes / self.bytes_per_second)
    }
}

/// A link down: first come, first served.
#[derive(Debug)]
pub(super) struct Downlink {
    bytes_per_second: f64,
    free: Time,
}

impl Downlink {
    pub(super) fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, free: Time::default() }
    }

    /// A message comes in between.
    pub(super) fn message(&mut self, now: Time, bytes: f64) {
        self.free = self.free.max(now) + Duration::from_secs_f64(bytes / self.bytes_per_second);
    }

    /// When the first and the last byte are there of what begins and ends to reach the link at these times.
    pub(super) fn carry(&mut self, begin: Time, end: Time, bytes: f64) -> (Time, Time) {
        let first = self.free.max(begin);
        let own = first + Duration::from_secs_f64(bytes / self.bytes_per_second);
        self.free = own.max(end);
        (first, self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    #[test]
    fn receivers_take_turns_and_a_cancelled_request_sends_nothing_more() {
        let mut uplink = Uplink::new(1000.0);
        let job = |to, request, piece| Job { to, life: 0, request: RequestId(request), piece };
        for piece in 0..3 {
            uplink.push(job(1, 1, piece));
        }
        uplink.push(job(2, 2, 7));
        uplink.push(job(2, 3, 8));
        assert_eq!(uplink.pop(), Some(job(1, 1, 0)));
        assert_eq!(uplink.pop(), Some(job(2, 2, 7)));
        assert_eq!(uplink.cancel(1, 0, RequestId(1)), Some(Span::new(1, 2)));
        assert_eq!(uplink.waiting, 1);
        assert_eq!(uplink.pop(), Some(job(2, 3, 8)));
        assert_eq!(uplink.pop(), None);
        uplink.push(job(1, 4, 4));
        assert_eq!(uplink.pop(), Some(job(1, 4, 4)));
        assert_eq!(uplink.sending(500.0), Duration::from_millis(500));
    }

    #[test]
    fn a_link_down_is_as_slow_as_itself_or_as_the_sender() {
        let mut downlink = Downlink::new(1000.0);
        // A slow sender: there when its last byte is.
        assert_eq!(downlink.carry(at(0), at(900), 100.0), (at(0), at(900)));
        // A fast one, behind it.
        assert_eq!(downlink.carry(at(800), at(810), 100.0), (at(900), at(1000)));
        assert_eq!(downlink.carry(at(2000), at(2010), 100.0), (at(2000), at(2100)));
    }
}
