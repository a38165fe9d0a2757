//! How often a thread for data wakes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Datagrams that a wake-up of the thread should be for. On a link of 25 Mbit/s every single one would wake it otherwise, which costs
/// more than the datagram.
const AT_ONCE: f64 = 8.0;
/// The longest that a datagram is left waiting for others: what peers hold acknowledgements back for.
const LONGEST: Duration = Duration::from_millis(4);
/// Datagrams a second from which on that is worth a delay, and up to which a thread goes to sleep between them at all: with more,
/// batches are large anyway, and the socket's buffer is not to fill up.
const WORTHWHILE: std::ops::Range<f64> = 200.0..20_000.0;
/// The time over which datagrams are counted: nothing that is over within it is ever delayed.
const SAMPLE: Duration = Duration::from_millis(20);

/// Has a thread wake up less often while a steady stream of single datagrams comes to it, as network interfaces moderate their
/// interrupts. Adds at most [`LONGEST`] to what takes at least [`SAMPLE`].
#[derive(Debug)]
pub(super) struct Moderation {
    /// Datagrams that came to the thread's sockets.
    received: Arc<AtomicU64>,
    /// When the thread was last allowed to go to sleep.
    parked: Instant,
    sample: (Instant, u64),
    /// What passes at least between two times of going to sleep.
    gather: Duration,
}

impl Moderation {
    pub(super) fn new(received: Arc<AtomicU64>) -> Self {
        let now = Instant::now();
        Self { received, parked: now, sample: (now, 0), gather: Duration::ZERO }
    }

    /// The thread has nothing to do, and is about to sleep until something comes.
    pub(super) fn park(&mut self) {
        let now = Instant::now();
        if let Some(pause) = self.pause(now) {
            thread::sleep(pause);
            self.parked = Instant::now();
        } else {
            self.parked = now;
        }
    }

    /// For how long nothing is to wake the thread.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let (since, before) = self.sample;
        let passed = now.saturating_duration_since(since);
        if passed >= SAMPLE {
            let received = self.received.load(Ordering::Relaxed);
            let rate = received.wrapping_sub(before) as f64 / passed.as_secs_f64();
            let gather = if WORTHWHILE.contains(&rate) { AT_ONCE / rate } else { 0.0 };
            self.gather = Duration::from_secs_f64(gather).min(LONGEST);
            self.sample = (now, received);
        }
        let rest = self.gather.saturating_sub(now.saturating_duration_since(self.parked));
        (!rest.is_zero()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parks once for each datagram, so many times a second; how long it paused in the last half of a second.
    fn paused(datagrams_a_second: u32) -> Duration {
        let received = Arc::<AtomicU64>::default();
        let mut moderation = Moderation::new(Arc::clone(&received));
        let mut now = moderation.parked;
        let end = now + Duration::from_secs(1);
        let mut paused = Duration::ZERO;
        while now < end {
            now += Duration::from_secs(1) / datagrams_a_second;
            received.fetch_add(1, Ordering::Relaxed);
            let pause = moderation.pause(now).unwrap_or_default();
            now += pause;
            moderation.parked = now;
            if end - now.min(end) < Duration::from_millis(500) {
                paused += pause;
            }
        }
        paused
    }

    #[test]
    fn a_steady_stream_is_gathered_and_neither_a_trickle_nor_a_flood_is() {
        assert_eq!(paused(100), Duration::ZERO);
        assert!(paused(2000) > Duration::from_millis(100), "{:?}", paused(2000));
        assert_eq!(paused(100_000), Duration::ZERO);
    }

    #[test]
    fn what_is_over_soon_is_never_delayed() {
        let received = Arc::<AtomicU64>::default();
        let mut moderation = Moderation::new(Arc::clone(&received));
        let begin = moderation.parked;
        for step in 0..100 {
            received.fetch_add(1, Ordering::Relaxed);
            assert_eq!(moderation.pause(begin + Duration::from_micros(190) * step), None);
        }
    }
}
