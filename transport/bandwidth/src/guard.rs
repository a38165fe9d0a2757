//! A second opinion: whatever the arbiter decides, no more than a node's rate is granted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use rdcq_wire::ByteRate;

/// Bytes of one of governor's cells. It keeps the time between two cells in whole nanoseconds: with a cell a byte it would be wrong
/// by two thirds at 5 Gbit/s.
const CELL: u64 = 1024;

/// What the guard lets pass at once: half as much again as the arbiter does, so that the two disagree only on a mistake.
const DEPTH: Duration = Duration::from_millis(30);

/// Fewest cells that it lets pass at once: two of the longest grants.
const MIN_CELLS: u64 = 128;

/// A rate, kept by governor. Grants are paid for afterwards, so that they need not be whole cells.
#[derive(Debug)]
pub(crate) struct Guard {
    rate: ByteRate,
    limiter: RateLimiter<NotKeyed, InMemoryState, GivenTime, NoOpMiddleware<Nanos>>,
    time: GivenTime,
    /// Granted, and not paid for.
    owed: u64,
    /// Paid for, and not moved.
    returned: u64,
}

/// The time that the guard was last told, in nanoseconds.
#[derive(Debug, Clone, Default)]
struct GivenTime(Arc<AtomicU64>);

impl GivenTime {
    fn set(&self, now: Duration) {
        self.0.store(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl Clock for GivenTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

impl Guard {
    /// One that has nothing to give at first: a limit that is new must not begin with a burst.
    pub(crate) fn new(rate: ByteRate, now: Duration) -> Self {
        Self::with_cells(rate, now, 0)
    }

    /// One that has so many cells to give.
    fn with_cells(rate: ByteRate, now: Duration, cells: u32) -> Self {
        let burst = burst(rate);
        let period = cell_time(rate);
        let quota = Quota::with_period(period).expect("a cell takes some time").allow_burst(burst);
        let time = GivenTime::default();
        // governor's buckets begin full. This one is emptied as long ago as it takes to fill it so far; the clock goes on from a
        // whole bucket's time, for there is none before 0.
        let fill = period * cells.min(burst.get());
        time.set(now + period * burst.get() - fill);
        let limiter = RateLimiter::direct_with_clock(quota, time.clone());
        let emptied = limiter.check_n(burst);
        debug_assert!(matches!(emptied, Ok(Ok(()))), "a full bucket has its burst");
        Self { rate, limiter, time, owed: 0, returned: 0 }
    }

    /// Changes the rate, and keeps what may be granted now.
    pub(crate) fn set_rate(&mut self, rate: ByteRate, now: Duration) {
        if rate != self.rate {
            let (cells, owed) = (self.drain(now), self.owed);
            *self = Self { owed, returned: self.returned, ..Self::with_cells(rate, now, cells) };
        }
    }

    /// Takes whatever there is, and says how much that was, but for a few cells: governor tells only whether it has so many.
    fn drain(&mut self, now: Duration) -> u32 {
        self.tell(now);
        let (mut taken, mut step) = (0, burst(self.rate).get());
        while let Some(cells) = NonZeroU32::new(step) {
            if matches!(self.limiter.check_n(cells), Ok(Ok(()))) {
                taken += step;
            }
            step /= 2;
        }
        taken
    }

    /// Whether something may be granted now; if not, when.
    pub(crate) fn ready_at(&mut self, now: Duration) -> Option<Duration> {
        self.tell(now);
        let due = u32::try_from(self.owed / CELL).unwrap_or(u32::MAX).min(burst(self.rate).get());
        let cells = NonZeroU32::new(due)?;
        match self.limiter.check_n(cells) {
            Ok(Err(early)) => Some(now + early.wait_time_from(self.time.now())),
            // More than the burst is never asked for.
            Ok(Ok(())) | Err(_) => {
                self.owed -= u64::from(due) * CELL;
                None
            }
        }
    }

    /// Notes what was granted.
    pub(crate) fn spend(&mut self, bytes: u64) {
        let returned = bytes.min(self.returned);
        self.returned -= returned;
        self.owed = self.owed.saturating_add(bytes - returned);
    }

    /// Notes that something was granted and not moved: as much may be granted once more.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        let most = u64::from(burst(self.rate).get()) * CELL;
        self.returned = self.returned.saturating_add(bytes).min(most);
    }

    fn tell(&self, now: Duration) {
        self.time.set(now + cell_time(self.rate) * burst(self.rate).get());
    }
}

/// How long a cell takes to come back.
fn cell_time(rate: ByteRate) -> Duration {
    Duration::from_nanos((CELL * 1_000_000_000 / rate.bytes_per_second()).max(1))
}

fn burst(rate: ByteRate) -> NonZeroU32 {
    let cells = rate.bytes_per_second() / CELL * u64::from(DEPTH.subsec_millis()) / 1000;
    let cells = u32::try_from(cells.max(MIN_CELLS)).unwrap_or(u32::MAX);
    NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> ByteRate {
        text.parse().unwrap()
    }

    /// Grants 64 KiB whenever it may for so long, and returns how much that was.
    fn granted(guard: &mut Guard, from: Duration, time: Duration) -> u64 {
        let (mut now, mut bytes) = (from, 0);
        while now < from + time {
            match guard.ready_at(now) {
                Some(at) => now = at.max(now + Duration::from_nanos(1)),
                None => {
                    guard.spend(64 * 1024);
                    bytes += 64 * 1024;
                }
            }
        }
        bytes
    }

    #[test]
    fn a_rate_is_kept_from_the_start_whatever_it_is() {
        for text in ["1Mbit/s", "100Mbit/s", "1Gbit/s", "5Gbit/s", "40Gbit/s"] {
            let begin = Duration::from_secs(1000);
            let mut guard = Guard::new(rate(text), begin);
            let second = rate(text).bytes_per_second();
            let bytes = granted(&mut guard, begin, Duration::from_secs(4));
            // One grant is paid for afterwards, and a cell takes a whole number of nanoseconds.
            let (least, most) = (second * 4 * 99 / 100, second * 4 * 102 / 100 + 3 * 64 * 1024);
            assert!((least..=most).contains(&bytes), "{text}: {bytes} of {}", second * 4);
        }
    }

    #[test]
    fn a_new_rate_begins_with_what_the_old_one_had_left() {
        let second = Duration::from_secs(1);
        let mut guard = Guard::new(rate("8Mbit/s"), second);
        // Full after a second.
        guard.set_rate(rate("80Mbit/s"), second * 2);
        let full = guard.drain(second * 2);
        assert!((96..=195).contains(&full), "{full}");
        // Empty again, and empty it stays.
        guard.set_rate(rate("800Mbit/s"), second * 2);
        assert!(guard.drain(second * 2) <= 4);
        let changes = (0..1000).map(|number| if number % 2 == 0 { "8Mbit/s" } else { "9Mbit/s" });
        let mut bytes = 0;
        for (number, text) in (0..).zip(changes) {
            let now = second * 3 + Duration::from_millis(number);
            guard.set_rate(rate(text), now);
            bytes += granted(&mut guard, now, Duration::from_millis(1));
        }
        assert!(bytes < 1_300_000, "{bytes} in a second of a thousand changes");
    }
}
