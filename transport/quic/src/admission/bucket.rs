//! A token bucket in whole nanoseconds.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket that starts full. It remembers when it will be full again: no fraction of a token is ever rounded away.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    /// What one token takes to come back.
    interval: Duration,
    burst: u32,
    /// When it is full again; `None` until the first token is taken.
    full_at: Option<Instant>,
}

impl Bucket {
    /// At most `burst` at once, and `per_second` in the long run; neither is 0.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), burst: burst.max(1), full_at: None }
    }

    /// Tokens that are there.
    pub(crate) fn level(&self, now: Instant) -> u32 {
        let missing = self.missing(now).as_nanos().div_ceil(self.interval.as_nanos());
        self.burst.saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) {
        if self.level(now) > 0 {
            self.full_at = Some(now + self.missing(now) + self.interval);
        }
    }

    /// When more than `kept` tokens are there; `None` if they have been from the start, or never will be.
    pub(crate) fn ready_at(&self, kept: u32) -> Option<Instant> {
        let allowed = self.burst.checked_sub(kept + 1)?;
        self.full_at?.checked_sub(self.interval * allowed)
    }

    fn missing(&self, now: Instant) -> Duration {
        self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bucket_gives_its_burst_at_once_and_its_rate_ever_after() {
        let start = Instant::now();
        let mut bucket = Bucket::new(250, 10);
        for left in (0..10).rev() {
            bucket.take(start);
            assert_eq!(bucket.level(start), left);
        }
        bucket.take(start);
        assert_eq!(bucket.ready_at(0), Some(start + Duration::from_millis(4)));
        assert_eq!(bucket.ready_at(4), Some(start + Duration::from_millis(20)));
        assert_eq!(bucket.ready_at(10), None);
        assert_eq!(bucket.level(start + Duration::from_nanos(3_999_999)), 0);
        assert_eq!(bucket.level(start + Duration::from_millis(4)), 1);
        assert_eq!(bucket.level(start + Duration::from_millis(40)), 10);
        assert_eq!(bucket.level(start + Duration::from_secs(3600)), 10);
    }
}
