//! A token bucket that may go into debt.

use std::time::Duration;

use rdcq_wire::ByteRate;

/// One byte, in the unit that levels are kept in: with it a rate in whole bytes a second fills a bucket by a whole number
/// every nanosecond, and nothing is ever rounded.
const BYTE: i128 = 1_000_000_000;

/// For how long a bucket fills while nobody draws from it. With what one grant may take beyond it and with what is made up for that
/// is less than the hundredth of a second's worth by which a rate may be exceeded within a second.
const DEPTH: Duration = Duration::from_millis(5);

/// How much of what runs over is kept, to be made up for. A driver is late by more than [`DEPTH`] now and then, and a rate is to be
/// kept over ten seconds to a five-hundredth.
const RESERVE: Duration = Duration::from_millis(12);

/// What is made up for at a time: this part of the rate.
const MAKE_UP: i128 = 500;

/// What one grant is worth at most.
const GRANT: Duration = Duration::from_millis(1);

/// In which everybody has a turn, if grants of a datagram are small enough for it: what they had within a second then
/// differs by a tenth at most.
const ROUND: Duration = Duration::from_millis(100);

/// A full frame of plain Ethernet, header included: less is never granted but to who wants less, or has it in part.
pub(crate) const DATAGRAM: u64 = 14 + 1500;

/// Bytes of a send batch: more is never granted at once, so that others have their turn.
pub(crate) const BATCH: u64 = 64 * 1024;

/// A rate, and how much of it may be used now.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: ByteRate,
    /// In [`BYTE`]s. Below zero it is what was used ahead of time.
    level: i128,
    /// What ran over, in [`BYTE`]s.
    reserve: i128,
    /// When the level was that.
    at: Duration,
}

impl Bucket {
    /// An empty one: a limit that is new must not begin with a burst.
    pub(crate) const fn new(rate: ByteRate, now: Duration) -> Self {
        Self { rate, level: 0, reserve: 0, at: now }
    }

    /// Changes the rate and keeps what may be used now.
    pub(crate) fn set_rate(&mut self, rate: ByteRate, now: Duration) {
        self.fill(now);
        self.rate = rate;
        self.level = self.level.min(self.depth());
        self.reserve = self.reserve.min(self.most_reserve());
    }

    /// The most that is granted at once while so many streams wait.
    pub(crate) fn quantum(&self, waiting: u64) -> u64 {
        let quantum = worth(self.rate, GRANT).min(worth(self.rate, ROUND) / waiting.max(1));
        // Whole ones: what a part of one is granted for goes in a datagram of its own, or waits.
        (quantum / DATAGRAM * DATAGRAM).clamp(DATAGRAM, BATCH)
    }

    /// Whether anything may be used now.
    pub(crate) fn is_ready(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.level > 0
    }

    /// When something may be used, if nothing is used before.
    pub(crate) fn ready_at(&self) -> Duration {
        if self.level > 0 {
            return self.at;
        }
        let missing = 1 - self.level;
        let rate = i128::from(self.rate.bytes_per_second());
        self.at + from_ns((missing + rate - 1) / rate)
    }

    /// Uses bytes, also those that are not there; fewer than none were used too many before.
    pub(crate) fn spend(&mut self, bytes: i64) {
        self.put(-i128::from(bytes) * BYTE);
    }

    /// Forgets what was used ahead of time beyond what takes `time` to make up for.
    pub(crate) fn forgive_beyond(&mut self, time: Duration) {
        let least = -i128::from(worth(self.rate, time)) * BYTE;
        self.level = self.level.max(least);
    }

    fn depth(&self) -> i128 {
        i128::from(worth(self.rate, DEPTH).max(DATAGRAM)) * BYTE
    }

    fn fill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.at);
        // A clock that goes back fills nothing, and what it goes back by is not filled twice.
        self.at = self.at.max(now);
        let gained =
            i128::from(self.rate.bytes_per_second()).saturating_mul(elapsed.as_nanos().cast_signed());
        let made_up = self.reserve.min(gained / MAKE_UP);
        self.reserve -= made_up;
        self.put(gained.saturating_add(made_up));
    }

    /// Adds to the level, and keeps some of what runs over.
    fn put(&mut self, amount: i128) {
        let level = self.level.saturating_add(amount);
        self.level = level.min(self.depth());
        self.reserve = (self.reserve + level - self.level).min(self.most_reserve());
    }

    fn most_reserve(&self) -> i128 {
        // A slow rate may be off by two datagrams, which it is without it.
        i128::from(worth(self.rate, RESERVE).saturating_sub(2 * DATAGRAM)) * BYTE
    }
}

/// Bytes that a rate is worth in a short time.
fn worth(rate: ByteRate, time: Duration) -> u64 {
    let bytes = u128::from(rate.bytes_per_second()) * time.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn from_ns(ns: i128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rate(text: &str) -> ByteRate {
        text.parse().unwrap()
    }

    #[test]
    fn a_bucket_is_ready_exactly_when_it_has_filled() {
        let mut bucket = Bucket::new(rate("3kB/s"), Duration::ZERO);
        assert!(!bucket.is_ready(Duration::ZERO));
        let due = bucket.ready_at();
        assert_eq!(due, Duration::from_nanos(1));
        assert!(bucket.is_ready(due));
        bucket.spend(3000);
        assert_eq!(bucket.ready_at(), Duration::from_secs(1) + due);
        assert!(!bucket.is_ready(bucket.ready_at() - Duration::from_nanos(1)));
        assert!(bucket.is_ready(bucket.ready_at()));
    }

    #[test]
    fn what_is_not_used_is_kept_for_a_few_milliseconds() {
        let mut bucket = Bucket::new(rate("1GB/s"), Duration::ZERO);
        assert!(bucket.is_ready(Duration::from_secs(60)));
        assert_eq!(bucket.level, 5_000_000 * BYTE);
        let mut slow = Bucket::new(rate("1kB/s"), Duration::ZERO);
        assert!(slow.is_ready(Duration::from_secs(60)));
        assert_eq!(slow.level, i128::from(DATAGRAM) * BYTE);
    }

    #[test]
    fn what_a_late_driver_loses_is_made_up_for_over_seconds() {
        let mut bucket = Bucket::new(rate("1GB/s"), Duration::ZERO);
        let draw = |bucket: &mut Bucket, now| {
            let mut bytes = 0;
            while bucket.is_ready(now) {
                bucket.spend(1000);
                bytes += 1000;
            }
            bytes
        };
        // Fifteen milliseconds late, once; then every millisecond for ten seconds.
        let mut had: u64 = draw(&mut bucket, MS * 15);
        assert_eq!(had, 5_000_000);
        for ms in 16..=10_015 {
            let bytes = draw(&mut bucket, MS * ms);
            assert!(bytes <= 1_003_000, "{bytes} in a millisecond");
            had += bytes;
        }
        assert!((10_014_000_000..=10_015_001_000).contains(&had), "{had}");
        // Not more than some of it, however late.
        let before = draw(&mut bucket, MS * 20_000);
        let later: u64 = (20_001..=30_000).map(|ms| draw(&mut bucket, MS * ms)).sum();
        assert_eq!(before, 5_000_000);
        assert!((10_011_000_000..=10_012_001_000).contains(&later), "{later}");
    }

    #[test]
    fn a_new_rate_begins_with_the_old_level() {
        let mut bucket = Bucket::new(rate("1GB/s"), Duration::ZERO);
        assert!(bucket.is_ready(MS));
        bucket.set_rate(rate("2GB/s"), MS);
        assert_eq!(bucket.level, 1_000_000 * BYTE);
        bucket.set_rate(rate("1MB/s"), MS);
        assert_eq!(bucket.level, 5000 * BYTE);
        bucket.spend(7000);
        bucket.set_rate(rate("2MB/s"), MS);
        assert_eq!((bucket.level, bucket.ready_at()), (-2000 * BYTE, MS * 2 + Duration::from_nanos(1)));
    }

    #[test]
    fn a_clock_that_goes_back_fills_nothing() {
        let mut bucket = Bucket::new(rate("1MB/s"), MS);
        assert!(!bucket.is_ready(Duration::ZERO));
        assert!(bucket.is_ready(MS * 2));
        let level = bucket.level;
        assert!(bucket.is_ready(MS));
        assert!(bucket.is_ready(MS * 2));
        assert_eq!(bucket.level, level);
    }
}
