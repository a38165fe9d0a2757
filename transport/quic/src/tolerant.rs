//! Cubic for paths that lose datagrams by themselves.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// What cubic's step leaves of a window, in tenths (RFC 9438, section 4.6).
const STEP: u64 = 7;

/// Datagrams that arrive before they are acknowledged together, which a window has to hold besides what the path does. Of a small
/// window no more than a quarter: it would otherwise never be too large.
const UNTOLD: u64 = 20;
const MOST_UNTOLD: u64 = 4;

/// What waits in the path at least when slow start ends before it has lost anything: less may be a busy host's own delay
/// (HyStart++ has 4 to 16 ms; RFC 9406, section 4.3).
const SLOW_START_QUEUE: Duration = Duration::from_millis(8);

/// One byte of so many may be lost without being taken for congestion: a queue too short to be seen by its delay, or a policer, is
/// known by losing more.
const TOLERATED: u64 = 16;

/// Bytes over which losses are counted, at least and at most twice as many at most.
const FEW: u64 = 64 * 1200;
const MANY: u64 = 1 << 20;

/// Cubic to which a loss is told only if datagrams wait in the path, or much is lost. To tell the two kinds of loss apart by
/// what waits is TCP Veno's idea (Fu and Liew, 2003); here cubic decides all else.
#[derive(Debug, Clone)]
pub(crate) struct TolerantCubic {
    cubic: Cubic,
    /// Round trips: the least, and as they are now.
    least: Duration,
    now: Duration,
    mtu: u64,
    /// Bytes that arrived or were lost, lately.
    sent: u64,
    /// Those that were lost.
    lost: u64,
}

/// Makes them.
#[derive(Debug, Clone)]
pub(crate) struct TolerantCubicConfig(Arc<CubicConfig>);

impl TolerantCubicConfig {
    /// For connections that begin with `window` bytes on the way.
    pub(crate) fn new(window: u64) -> Self {
        let mut cubic = CubicConfig::default();
        cubic.initial_window(window);
        Self(Arc::new(cubic))
    }
}

impl ControllerFactory for TolerantCubicConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(Arc::clone(&self.0), now, current_mtu);
        Box::new(TolerantCubic {
            cubic,
            least: Duration::ZERO,
            now: Duration::ZERO,
            mtu: current_mtu.into(),
            sent: 0,
            lost: 0,
        })
    }
}

impl TolerantCubic {
    fn count(&mut self, bytes: u64, lost: u64) {
        self.sent += bytes;
        self.lost += lost;
        if self.sent > MANY {
            self.sent /= 2;
            self.lost /= 2;
        }
    }

    /// Whether so much waits in the path that it stays full with a smaller window. With less waiting, a loss is hardly a full
    /// queue's, and a smaller window would waste the path.
    fn queues(&self) -> bool {
        let window = self.cubic.window();
        let carried =
            window as f64 * self.least.as_secs_f64() / self.now.as_secs_f64().max(f64::MIN_POSITIVE);
        let untold = (UNTOLD * self.mtu).min(window / MOST_UNTOLD);
        (window * STEP / 10) as f64 >= carried + untold as f64
    }

    /// Ends the first slow start when a path that stays full with a smaller window has been found: the next doubling would
    /// overflow its queue. Later ones know where to end, and begin with round trips of what went before.
    fn end_slow_start(&mut self, now: Instant) {
        let first = self.cubic.metrics().ssthresh == Some(u64::MAX);
        let waits = self.now.saturating_sub(self.least);
        if first && waits >= SLOW_START_QUEUE && self.queues() {
            self.cubic.on_congestion_event(now, now, false, 0);
        }
    }

    const fn loses_much(&self) -> bool {
        let sent = if self.sent > FEW { self.sent } else { FEW };
        self.lost * TOLERATED > sent
    }
}

impl Controller for TolerantCubic {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        (self.least, self.now) = (rtt.min(), rtt.get());
        self.count(bytes, 0);
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
        if !app_limited {
            self.end_slow_start(now);
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest);
    }

    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost_bytes: u64) {
        self.count(lost_bytes, lost_bytes);
        // A router that marks instead of dropping says that it is congested.
        let marked = lost_bytes == 0;
        if persistent || marked || self.queues() || self.loses_much() {
            self.cubic.on_congestion_event(now, sent, persistent, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 100_000;

    /// One whose path has carried `kilobytes`, in round trips of `ms` after one of 20 ms.
    fn with_queue(ms: u64, kilobytes: u64) -> (TolerantCubic, Instant) {
        let begin = rdcq_env::Env::system().now().into_std();
        let made = Arc::new(TolerantCubicConfig::new(WINDOW)).build(begin, 1200);
        let mut tolerant = *made.into_any().downcast::<TolerantCubic>().unwrap();
        tolerant.count(kilobytes * 1000, 0);
        (tolerant.least, tolerant.now) = (Duration::from_millis(20), Duration::from_millis(ms));
        (tolerant, begin + Duration::from_secs(1))
    }

    /// Its window after a batch of which so much was lost.
    fn after_loss(ms: u64, persistent: bool, lost: u64) -> u64 {
        let (mut tolerant, now) = with_queue(ms, 1000);
        tolerant.on_congestion_event(now, now, persistent, lost);
        tolerant.window()
    }

    #[tokio::test]
    async fn a_loss_counts_if_the_path_stays_full_with_a_smaller_window() {
        // Seven tenths of the window hold what the path carries and 24 kB that are not acknowledged yet from 43.5 ms on.
        assert_eq!(after_loss(20, false, 1200), WINDOW);
        assert_eq!(after_loss(43, false, 1200), WINDOW);
        assert_eq!(after_loss(44, false, 1200), WINDOW * 7 / 10);
        assert_eq!(after_loss(70, false, 1200), WINDOW * 7 / 10);
    }

    #[tokio::test]
    async fn slow_start_ends_once_before_it_overflows_a_queue() {
        let (mut tolerant, now) = with_queue(43, 1000);
        tolerant.end_slow_start(now);
        assert_eq!(tolerant.window(), WINDOW, "a smaller window would not fill the path");
        tolerant.now = Duration::from_millis(44);
        tolerant.end_slow_start(now);
        tolerant.now = Duration::from_millis(70);
        tolerant.end_slow_start(now + Duration::from_secs(1));
        assert_eq!(tolerant.window(), WINDOW * 7 / 10);
        let later = now + Duration::from_secs(2);
        tolerant.on_congestion_event(later, later, true, 1200);
        let least = tolerant.window();
        tolerant.end_slow_start(later + Duration::from_secs(1));
        assert!(
            tolerant.window() == least && tolerant.cubic.metrics().ssthresh > Some(4 * least),
            "an outage"
        );
        let (mut near, now) = with_queue(7, 1000);
        near.least = Duration::from_micros(100);
        near.end_slow_start(now);
        assert_eq!(near.window(), WINDOW, "a busy host waits as long");
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_yet_is_at_most_a_quarter_of_a_window() {
        for (ms, window) in [(44, WINDOW), (45, WINDOW * 7 / 10)] {
            let (mut tolerant, now) = with_queue(ms, 1000);
            tolerant.on_mtu_update(6500);
            tolerant.on_congestion_event(now, now, false, 1200);
            assert_eq!(tolerant.window(), window, "{ms} ms");
        }
    }

    #[tokio::test]
    async fn much_loss_counts_without_a_queue_and_so_do_marks_and_silence() {
        assert_eq!(after_loss(20, false, 50_000), WINDOW);
        assert_eq!(after_loss(20, false, 80_000), WINDOW * 7 / 10);
        assert_eq!(after_loss(20, false, 0), WINDOW * 7 / 10);
        assert!(after_loss(20, true, 1200) < WINDOW / 10);
    }

    #[tokio::test]
    async fn the_first_few_losses_are_no_great_part_and_old_ones_are_forgotten() {
        let (mut tolerant, now) = with_queue(20, 0);
        tolerant.on_congestion_event(now, now, false, 4 * 1200);
        assert_eq!(tolerant.window(), WINDOW);
        tolerant.on_congestion_event(now, now, false, 1200);
        assert_eq!(tolerant.window(), WINDOW * 7 / 10);
        (0..100).for_each(|_| tolerant.count(100_000, 0));
        assert!(!tolerant.loses_much() && tolerant.sent <= MANY);
    }
}
