//! How many requests a peer may have open on one connection.

use std::time::Duration;

use tokio::time::Instant;

use crate::Plane;
use crate::profile::Profile;

/// A connection on which as many requests as it has slots come within this time is a busy one.
const BUSY_WITHIN: Duration = Duration::from_millis(100);

/// By how much a connection's slots grow: twice from those that an idle connection begins with to the most that there are.
const GROWTH: u32 = 8;

/// The slots for requests of one connection. They cost memory as long as it lasts, so it begins with few and gets more as
/// it uses them; none are ever taken back.
#[derive(Debug)]
pub(crate) struct RequestSlots {
    given: u32,
    most: u32,
    /// When the requests began to come that are counted.
    since: Option<Instant>,
    count: u32,
}

impl RequestSlots {
    /// What a connection begins with.
    pub(crate) fn new(plane: Plane, most: u32) -> Self {
        Self { given: Profile::of(plane).requests.min(most), most, since: None, count: 0 }
    }

    /// A request has come, and so many are open now. Says how many slots there are to be from now on, if more than before.
    pub(crate) fn used(&mut self, now: impl FnOnce() -> Instant, open: u32) -> Option<u32> {
        if self.given >= self.most {
            return None;
        }
        let now = now();
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) > BUSY_WITHIN {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        if open <= self.given / 2 && self.count < self.given {
            return None;
        }
        self.given = self.given.saturating_mul(GROWTH).min(self.most);
        (self.since, self.count) = (None, 0);
        Some(self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_grow_with_what_is_open() {
        let (mut slots, now) = (RequestSlots::new(Plane::Control, 256), Instant::now());
        assert_eq!([1, 2].map(|open| slots.used(|| now, open)), [None; 2]);
        assert_eq!(slots.used(|| now, 3), Some(32));
        assert_eq!(slots.used(|| now + Duration::from_secs(1), 17), Some(256));
        assert_eq!(slots.used(|| now + Duration::from_secs(1), 256), None);
    }

    #[test]
    fn slots_grow_with_how_fast_requests_come() {
        let (mut slots, now) = (RequestSlots::new(Plane::Control, 256), Instant::now());
        let grown: Vec<_> = (0..4).map(|_| slots.used(|| now, 1)).collect();
        assert_eq!(grown, [None, None, None, Some(32)]);
    }

    #[test]
    fn a_request_now_and_then_needs_no_more_slots() {
        let (mut slots, start) = (RequestSlots::new(Plane::Control, 256), Instant::now());
        for number in 0..1000 {
            assert_eq!(slots.used(|| start + Duration::from_millis(40) * number, 1), None);
        }
    }

    #[test]
    fn slots_never_outgrow_the_limit() {
        let (mut slots, now) = (RequestSlots::new(Plane::Control, 20), Instant::now());
        assert_eq!(slots.used(|| now, 5), Some(20));
        assert_eq!(slots.used(|| now, 20), None);
        assert_eq!(RequestSlots::new(Plane::Control, 3).used(|| now, 3), None);
    }
}
