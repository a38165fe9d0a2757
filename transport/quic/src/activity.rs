//! Whether a node moves data now, beside which everything else stands back.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long after the last piece a node still counts as moving data: the next request of a pull comes sooner.
const AFTERGLOW: Duration = Duration::from_secs(1);

/// Counts what goes on over data connections.
#[derive(Debug)]
pub(crate) struct Activity {
    began: Instant,
    open: AtomicU32,
    /// When the last one ended, in milliseconds after the beginning, plus one; 0 if none has.
    last_ms: AtomicU64,
}

impl Activity {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { began: now, open: AtomicU32::new(0), last_ms: AtomicU64::new(0) }
    }

    pub(crate) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, now: Instant) {
        let ms = now.saturating_duration_since(self.began).as_millis();
        self.last_ms.store(u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        if self.open.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let last = self.last_ms.load(Ordering::Relaxed);
        last > 0 && now.saturating_duration_since(self.began + Duration::from_millis(last - 1)) < AFTERGLOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_busy_while_anything_moves_and_a_moment_after() {
        let start = Instant::now();
        let activity = Activity::new(start);
        assert!(!activity.is_busy(start));
        activity.begin();
        assert!(activity.is_busy(start + Duration::from_secs(60)));
        activity.end(start + Duration::from_secs(60));
        assert!(activity.is_busy(start + Duration::from_millis(60_900)));
        assert!(!activity.is_busy(start + Duration::from_secs(61)));
    }
}
