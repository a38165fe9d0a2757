//! What a host's way out carries, measured where it begins, and kept to.
//!
//! Each connection's congestion controller knows only its own datagrams. A host that serves many peers at once over a slow
//! link has that many controllers which all fill one queue, the interface's: it overflows for all, and until then requests
//! and acknowledgements wait behind everything that is in it. Linux keeps that queue short for TCP ("small queues", see
//! `tcp_limit_output_bytes`), and our sockets do it for QUIC: their buffers are short, so that the kernel refuses what the
//! interface cannot send soon. What it takes between two refusals is then what the interface has sent: the link's rate.
//! Datagrams that would go faster wait for their turn, in the order in which they came, and the queue stays nearly empty.
//!
//! A link further on that is slower than the interface is the affair of the congestion controllers.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time whose bytes tell a rate: what was in the buffers at its two ends hardly counts any more.
const WINDOW: Duration = Duration::from_millis(400);

/// One part of so many of a window may pass with nothing to send. With more, it tells what was sent rather than what could
/// have been.
const IDLE: u32 = 4;

/// Windows of which the middle one counts.
const LATEST: usize = 8;

/// How long a full buffer counts as work for the interface: whoever was refused may have gone.
const FULL: Duration = Duration::from_millis(250);

/// By how much faster datagrams go than was measured, so that the kernel sometimes refuses one, and it is measured again.
/// Too fast by 7 % was as good as exact with 8, 16 and 32 peers; too slow by 3 % cost 1 to 2 %.
const HEADROOM: f64 = 1.02;

/// When the kernel refused nothing for so long, a rate grows by the first part; each time by twice as much, up to the last.
const QUIET: Duration = Duration::from_millis(250);
const LEAST_GROWTH: f64 = 0.02;
const MOST_GROWTH: f64 = 0.25;

/// What a refusal leaves at least of a rate that has grown. A burst may meet a full buffer long before the link is full; if
/// it is full, refusals follow each other quickly.
const KEPT: f64 = 0.9;

/// Bytes a second above which nothing waits: queues are short in time there, and datagrams go in large batches.
const MOST: f64 = 25e6;

/// A rate for which nothing has had to wait in so long is forgotten.
const UNUSED: Duration = Duration::from_secs(10);

/// How early a datagram may go: timers have ticks of a millisecond.
const EARLY: Duration = Duration::from_millis(1);

/// What is made up for after those who send were late.
const LATE: Duration = Duration::from_millis(4);

/// The time in which one batch of datagrams goes out. Longer ones save processor time, but overflow the queues of those
/// whom several serve: 6 ms instead of 2 made 8, 16 and 32 peers slower by 2 to 4 %.
const BATCH: Duration = Duration::from_millis(2);

/// Bytes of the datagrams that are counted in a batch.
const DATAGRAM: f64 = 1500.0;

/// What a host's way out carries. Its sockets report to it, and those for data obey it.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    /// Bytes a second, as [`Pace::rate`]; 0 without a pace.
    rate: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    full: Full,
    window: Option<Window>,
    /// What the latest windows told, in bytes a second.
    told: VecDeque<f64>,
    pace: Option<Pace>,
}

/// Which buffers are full.
#[derive(Debug, Default)]
struct Full {
    sockets: usize,
    /// Until when that counts.
    until: Option<Instant>,
}

/// The time since a buffer was full.
#[derive(Debug)]
struct Window {
    since: Instant,
    /// Until when `idle` is known.
    last: Instant,
    idle: Duration,
    bytes: u64,
}

/// How fast datagrams may go.
#[derive(Debug)]
struct Pace {
    /// Bytes a second.
    rate: f64,
    /// When the next datagram may go.
    free: Instant,
    /// By what part the rate grows next.
    growth: f64,
    /// When a buffer was full, or the rate grew.
    settled: Instant,
    /// When something had to wait.
    used: Instant,
}

impl Uplink {
    /// Takes note that the kernel took so many bytes, headers included.
    pub(crate) fn handle_sent(&self, now: Instant, bytes: usize) {
        let mut state = self.state();
        state.pass(now);
        if let Some(window) = &mut state.window {
            window.bytes += bytes as u64;
        }
    }

    /// Takes note that a socket's buffer is full, which it was not before.
    pub(crate) fn handle_full(&self, now: Instant) {
        let mut state = self.state();
        state.pass(now);
        state.full.sockets += 1;
        state.full.until = Some(now + FULL);
        state.look(now);
        self.publish(&state);
    }

    /// Takes note that a socket's buffer is no longer full.
    pub(crate) fn handle_room(&self, now: Instant) {
        let mut state = self.state();
        state.pass(now);
        state.full.sockets = state.full.sockets.saturating_sub(1);
        if state.full.sockets == 0 {
            state.full.until = None;
        }
    }

    /// Bytes a second, headers included, that are kept to, if any are.
    pub(crate) fn rate(&self) -> Option<u64> {
        Some(self.rate.load(Ordering::Relaxed)).filter(|rate| *rate > 0)
    }

    /// Most datagrams that should go out at once where the socket takes `most`.
    pub(crate) fn batch(&self, most: usize) -> usize {
        let Some(rate) = self.rate() else { return most };
        let datagrams = rate as f64 * BATCH.as_secs_f64() / DATAGRAM;
        (datagrams as usize).clamp(1, most.max(1))
    }

    /// Whether so many bytes may go now; if so, they are counted.
    pub(crate) fn passes(&self, now: Instant, bytes: usize) -> bool {
        let mut state = self.state();
        let Some(pace) = &mut state.pace else { return true };
        let passes = pace.free <= now + EARLY;
        if passes {
            pace.spend(now, bytes);
        }
        passes
    }

    /// Counts so many bytes that do not wait.
    pub(crate) fn charge(&self, now: Instant, bytes: usize) {
        if let Some(pace) = &mut self.state().pace {
            pace.spend(now, bytes);
        }
    }

    /// Counts so many bytes, and says when they may go.
    pub(crate) fn reserve(&self, now: Instant, bytes: usize) -> Instant {
        let mut state = self.state();
        let Some(pace) = &mut state.pace else { return now };
        if now.saturating_duration_since(pace.used) >= UNUSED {
            (state.pace, state.window) = (None, None);
            state.told.clear();
            self.publish(&state);
            return now;
        }
        pace.used = now;
        pace.grow(now);
        let at = pace.spend(now, bytes);
        self.publish(&state);
        at
    }

    fn publish(&self, state: &State) {
        let rate = state.pace.as_ref().map_or(0, |pace| pace.rate as u64);
        self.rate.store(rate, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts the time since the last event: idle is when no buffer was full and nobody waited for a turn.
    fn pass(&mut self, now: Instant) {
        let Some(window) = &mut self.window else { return };
        let turn = self.pace.as_ref().map(|pace| pace.free);
        let busy = turn
            .max(self.full.until)
            .map_or(window.last, |until| until.clamp(window.last, now.max(window.last)));
        window.idle += now.saturating_duration_since(busy);
        window.last = now.max(window.last);
    }

    /// A buffer is full: ends a window if it was long enough, and begins another.
    fn look(&mut self, now: Instant) {
        if let Some(window) = &self.window {
            let length = now.saturating_duration_since(window.since);
            if length < WINDOW {
                self.settle(now);
                return;
            }
            if window.idle <= length / IDLE {
                if self.told.len() == LATEST {
                    self.told.pop_front();
                }
                self.told.push_back(window.bytes as f64 / (length - window.idle).as_secs_f64());
            }
        }
        self.window = Some(Window { since: now, last: now, idle: Duration::ZERO, bytes: 0 });
        self.settle(now);
    }

    /// Goes back towards what was measured: more was too much.
    fn settle(&mut self, now: Instant) {
        let rate = self.measured().map(|rate| rate * HEADROOM).filter(|rate| (1.0..MOST).contains(rate));
        let growth = LEAST_GROWTH;
        self.pace = match (rate, self.pace.take()) {
            (None, _) => None,
            (Some(rate), Some(pace)) => {
                Some(Pace { rate: rate.max(pace.rate * KEPT), growth, settled: now, ..pace })
            }
            (Some(rate), None) => Some(Pace { rate, growth, settled: now, free: now, used: now }),
        };
    }

    /// What the way out carries, in bytes a second, if that is known.
    fn measured(&self) -> Option<f64> {
        let mut told = Vec::from_iter(self.told.iter().copied());
        told.sort_by(|one, other| other.total_cmp(one));
        told.get(told.len().saturating_sub(1) / 2).copied()
    }
}

impl Pace {
    /// When these bytes may go; those that follow go later.
    fn spend(&mut self, now: Instant, bytes: usize) -> Instant {
        let at = self.free.max(now.checked_sub(LATE).unwrap_or(now));
        self.free = at + Duration::from_secs_f64(bytes as f64 / self.rate);
        at
    }

    /// Goes faster if the kernel has taken everything for a while.
    fn grow(&mut self, now: Instant) {
        if now.saturating_duration_since(self.settled) >= QUIET {
            self.rate *= 1.0 + self.growth;
            self.growth = (self.growth * 2.0).min(MOST_GROWTH);
            self.settled = now;
        }
    }
}

#[cfg(test)]
mod tests;
