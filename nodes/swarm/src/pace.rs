//! How fast a peer delivers.

use std::time::Duration;

use crate::settings::WindowSettings;
use crate::time::Time;

/// A sample over less than this says more about batching than about the peer.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(1);
/// A rate that rises is believed quickly, one that falls slowly: too large a window costs a little waiting, too small a
/// window leaves a link idle.
const RISE: f64 = 0.5;
const FALL: f64 = 0.125;

/// A peer's measured rate and the time that it takes to answer at all.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    bytes_per_second: f64,
    first_byte: Option<Duration>,
    delivered_bytes: u64,
    delivered_at: Time,
}

/// Where a peer's delivery stood when a request was made: what came since, over the time since, is one sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    delivered_bytes: u64,
    at: Time,
    load: Load,
}

/// Whether a request left its peer's window full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// The peer could not have been asked for more: a slow answer means a slow peer.
    Full,
    /// There was nothing more to ask for: a slow answer means nothing.
    Light,
}

impl Pace {
    pub(crate) const fn new(now: Time) -> Self {
        Self { bytes_per_second: 0.0, first_byte: None, delivered_bytes: 0, delivered_at: now }
    }

    /// A request is made of a peer that has nothing in flight: the time that it stood idle is not held against it.
    pub(crate) const fn wake(&mut self, now: Time) {
        self.delivered_at = now;
    }

    pub(crate) const fn mark(&self, load: Load) -> Mark {
        Mark { delivered_bytes: self.delivered_bytes, at: self.delivered_at, load }
    }

    /// Whether anything has ever been delivered.
    pub(crate) const fn is_known(&self) -> bool {
        self.delivered_bytes > 0
    }

    /// A request's first byte came `after` it was made.
    pub(crate) fn answered(&mut self, after: Duration) {
        self.first_byte = Some(self.first_byte.map_or(after, |least| least.min(after)));
    }

    /// A piece of a request came.
    pub(crate) fn delivered(&mut self, now: Time, bytes: u32, mark: Mark) {
        self.delivered_bytes += u64::from(bytes);
        self.delivered_at = now;
        let seconds = now.since(mark.at).max(SHORTEST_SAMPLE).as_secs_f64();
        let sample = (self.delivered_bytes - mark.delivered_bytes) as f64 / seconds;
        let weight = match mark.load {
            _ if sample > self.bytes_per_second => RISE,
            Load::Full => FALL,
            Load::Light => 0.0,
        };
        self.bytes_per_second += weight * (sample - self.bytes_per_second);
    }

    /// The peer asked for less.
    pub(crate) const fn halve(&mut self) {
        self.bytes_per_second /= 2.0;
    }

    /// The bytes to have in flight: the link's content twice over, so that a window that is too small grows, and the
    /// queue that the peer should have before it.
    pub(crate) fn window(&self, settings: &WindowSettings) -> u64 {
        let ahead = 2 * self.first_byte.unwrap_or_default() + settings.queue;
        let bytes = (self.bytes_per_second * ahead.as_secs_f64()) as u64;
        bytes.min(settings.max_bytes).max(settings.min_bytes)
    }

    /// How long `bytes` in flight should take, once anything is known of the peer.
    pub(crate) fn expected(&self, bytes: u64) -> Option<Duration> {
        let known = self.bytes_per_second >= 1.0;
        known.then(|| {
            self.first_byte.unwrap_or_default()
                + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: WindowSettings = WindowSettings {
        min_bytes: 10_000,
        max_bytes: 1_000_000,
        span_bytes: 10_000,
        min_pieces: 2,
        spans: 1,
        queue: Duration::from_millis(10),
    };

    fn run(pace: &mut Pace, start: u64, steps: u64, step_ms: u64, load: Load) {
        for step in 1..=steps {
            let mark = pace.mark(load);
            pace.delivered(Time(Duration::from_millis(start + step * step_ms)), 10_000, mark);
        }
    }

    #[test]
    fn the_window_follows_the_rate_within_its_bounds() {
        let mut pace = Pace::new(Time::default());
        assert_eq!(pace.window(&SETTINGS), 10_000);
        pace.answered(Duration::from_millis(5));
        run(&mut pace, 0, 50, 2, Load::Full);
        let window = pace.window(&SETTINGS);
        assert!((90_000..=100_000).contains(&window), "5 MB/s over 20 ms is 100 kB, not {window}");
        run(&mut pace, 100, 100, 100, Load::Full);
        assert_eq!(pace.window(&SETTINGS), 10_000);
        pace.answered(Duration::from_secs(60));
        assert_eq!(pace.window(&SETTINGS), 10_000, "the least answer time counts");
    }

    #[test]
    fn slow_answers_count_only_while_the_window_is_full() {
        let mut pace = Pace::new(Time::default());
        run(&mut pace, 0, 50, 2, Load::Full);
        let before = pace.window(&SETTINGS);
        run(&mut pace, 100, 50, 1000, Load::Light);
        assert_eq!(pace.window(&SETTINGS), before);
    }
}
