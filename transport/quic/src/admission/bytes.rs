//! How many bytes of replies are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a node is supposed to send in a second, from which follows when there is room again: 2 Gbit/s.
const BYTES_PER_SECOND: u64 = 256 * 1024 * 1024;
/// Shortest delay worth telling anybody: a few round trips.
const MIN_DELAY: Duration = Duration::from_millis(20);

/// A budget of reply bytes under way. Cheap to clone; clones share it, between threads too.
#[derive(Debug, Clone)]
pub(crate) struct BytesInFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    max: u64,
    reserved: AtomicU64,
}

/// Bytes that were set aside; dropped, they are given back.
#[derive(Debug)]
#[must_use = "dropped, it gives its bytes back"]
pub(crate) struct Reservation {
    budget: BytesInFlight,
    bytes: u64,
}

impl BytesInFlight {
    pub(crate) fn new(max: u64) -> Self {
        Self(Arc::new(Budget { max, reserved: AtomicU64::new(0) }))
    }

    /// Sets `bytes` aside, or says after what delay there should be room. More than the whole budget counts as all of it:
    /// such a reply goes alone, rather than never.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Result<Reservation, Duration> {
        let Budget { max, reserved } = &*self.0;
        let bytes = bytes.min(*max);
        // No memory but the number itself is guarded by it.
        let taken = reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |reserved| {
            reserved.checked_add(bytes).filter(|sum| sum <= max)
        });
        match taken {
            Ok(_) => Ok(Reservation { budget: self.clone(), bytes }),
            Err(reserved) => Err(delay(reserved)),
        }
    }

    /// Bytes that are set aside.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> u64 {
        self.0.reserved.load(Ordering::Relaxed)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let before = self.budget.0.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
        debug_assert!(before >= self.bytes, "more bytes were given back than reserved");
    }
}

/// What is under way has to be sent before there is room for whoever was turned away: others wait, too.
fn delay(reserved: u64) -> Duration {
    let ms = reserved.saturating_mul(1000) / BYTES_PER_SECOND;
    Duration::from_millis(ms).max(MIN_DELAY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_BYTES_IN_FLIGHT: u64 = 256 * 1024 * 1024;

    #[test]
    fn a_reply_beyond_the_budget_is_told_when_to_come_back() {
        let budget = BytesInFlight::new(MAX_BYTES_IN_FLIGHT);
        let most = budget.try_reserve(MAX_BYTES_IN_FLIGHT - 10).unwrap();
        let rest = budget.try_reserve(10).unwrap();
        assert_eq!(budget.try_reserve(1).unwrap_err(), Duration::from_secs(1));
        drop(most);
        assert_eq!(budget.try_reserve(u64::MAX).unwrap_err(), MIN_DELAY);
        drop(rest);
        let all = budget.try_reserve(u64::MAX).unwrap();
        assert_eq!(budget.reserved(), MAX_BYTES_IN_FLIGHT);
        drop(all);
        assert_eq!(budget.reserved(), 0);
    }

    proptest! {
        #[test]
        fn reserved_bytes_are_those_of_the_reservations_that_live(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..400), 0..200),
        ) {
            let budget = BytesInFlight::new(1000);
            let mut held = Vec::new();
            for (take, bytes) in steps {
                match (take, held.is_empty()) {
                    (true, _) | (_, true) => match budget.try_reserve(bytes) {
                        Ok(reservation) => held.push(reservation),
                        Err(_) => prop_assert!(budget.reserved() + bytes > 1000),
                    },
                    (false, false) => drop(held.swap_remove(bytes as usize % held.len())),
                }
                prop_assert_eq!(budget.reserved(), held.iter().map(|held| held.bytes).sum::<u64>());
                prop_assert!(budget.reserved() <= 1000);
            }
        }
    }
}
