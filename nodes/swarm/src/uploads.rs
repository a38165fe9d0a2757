//! The sender's side: whether what is asked for is sent now.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;

/// How much a node may have under way to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSettings {
    /// Pieces of the usual length that may always be under way: one is sent while the next ones wait.
    pub least_pieces: u32,
    /// Time for which what is under way may wait, at the rate that peers acknowledge at, beyond its way there and back. With more,
    /// others are told to ask elsewhere: see `POLICIES.md`.
    pub queue: Duration,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self { least_pieces: 4, queue: Duration::from_millis(100) }
    }
}

/// The time over which a rate is measured at least: some datagrams even on slow links.
const SAMPLE: Duration = Duration::from_millis(50);
/// Who acknowledges nothing for so long, beyond twice the time that what is under way takes, no longer holds others up.
const STUCK: Duration = Duration::from_secs(1);
/// How long somebody is told to ask elsewhere, at least and at most.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(500);

/// What a node has under way to others, from the request until the last byte is acknowledged, and how fast that goes.
///
/// Where everybody asks many, some senders have long queues while others stand idle, and what is asked of all at once
/// overflows the queues on the way. A sender that refuses what would wait for long says so to whom it can ask elsewhere.
#[derive(Debug)]
pub struct Uploads<K> {
    settings: UploadSettings,
    /// What is under way, by whom it is for.
    under_way: BTreeMap<K, UnderWay>,
    /// Bytes a second that peers acknowledge while something is under way; 0 if that was not measured yet.
    rate: f64,
    sample: Option<(Time, u64)>,
}

#[derive(Debug)]
struct UnderWay {
    bytes: u64,
    /// When something last arrived, or the first of this was asked for.
    moved: Time,
}

/// What is asked for, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upload {
    /// Bytes that are asked for.
    pub bytes: u64,
    /// Bytes of a usual piece of the same content.
    pub piece: u64,
    /// The shortest time that anything took to the asking peer and back.
    pub round_trip: Duration,
}

impl<K: Ord + Clone> Uploads<K> {
    /// Nothing is under way.
    pub const fn new(settings: UploadSettings) -> Self {
        Self { settings, under_way: BTreeMap::new(), rate: 0.0, sample: None }
    }

    /// Somebody asks for something. Counts it as under way, or says for how long to ask elsewhere.
    pub fn asked(&mut self, now: Time, by: &K, upload: Upload) -> Result<(), Duration> {
        let others = self.under_way.len() - usize::from(self.under_way.contains_key(by));
        let waiting = self.waiting(now);
        if others > 0 && waiting >= self.most(upload) {
            // Half of it is gone by then.
            return Err((self.time_for(waiting) / 2).clamp(*RETRY.start(), *RETRY.end()));
        }
        self.begun(now, by, upload.bytes);
        Ok(())
    }

    /// Counts as under way what is sent in any case.
    pub fn begun(&mut self, now: Time, by: &K, bytes: u64) {
        if self.under_way.is_empty() {
            self.sample = Some((now, 0));
        }
        let entry = self.under_way.entry(by.clone()).or_insert(UnderWay { bytes: 0, moved: now });
        entry.bytes += bytes;
    }

    /// What was counted has arrived, or is no longer wanted.
    pub fn done(&mut self, now: Time, by: &K, bytes: u64) {
        if let Some(entry) = self.under_way.get_mut(by) {
            entry.bytes = entry.bytes.saturating_sub(bytes);
            entry.moved = now;
            if entry.bytes == 0 {
                self.under_way.remove(by);
            }
        }
        self.measure(now, bytes);
    }

    /// Bytes a second that peers acknowledge while something is under way; 0 if that was not measured yet.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// For how long what is asked for now would wait.
    pub fn wait(&self, now: Time) -> Duration {
        self.time_for(self.waiting(now))
    }

    /// Bytes under way to those who move.
    fn waiting(&self, now: Time) -> u64 {
        let all = self.under_way.values().map(|entry| entry.bytes).sum();
        let stuck = STUCK + 2 * self.time_for(all);
        let moving = self.under_way.values().filter(|entry| now.since(entry.moved) < stuck);
        moving.map(|entry| entry.bytes).sum()
    }

    fn time_for(&self, bytes: u64) -> Duration {
        if self.rate > 0.0 {
            Duration::from_secs_f64((bytes as f64 / self.rate).min(60.0))
        } else {
            Duration::ZERO
        }
    }

    fn most(&self, Upload { piece, round_trip, .. }: Upload) -> u64 {
        let least = u64::from(self.settings.least_pieces) * piece;
        let at_rate = self.rate * (self.settings.queue + round_trip).as_secs_f64();
        least.max(at_rate as u64)
    }

    fn measure(&mut self, now: Time, bytes: u64) {
        let Some((since, sum)) = &mut self.sample else { return };
        *sum += bytes;
        let passed = now.since(*since);
        if passed >= SAMPLE {
            let rate = *sum as f64 / passed.as_secs_f64();
            self.rate = if self.rate > 0.0 { f64::midpoint(self.rate, rate) } else { rate };
            self.sample = Some((now, 0));
        }
        if self.under_way.is_empty() {
            self.sample = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 10_000;

    fn at(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    fn upload(bytes: u64) -> Upload {
        Upload { bytes, piece: PIECE, round_trip: Duration::ZERO }
    }

    #[test]
    fn who_asks_alone_is_never_refused() {
        let mut uploads = Uploads::new(UploadSettings::default());
        (0..50).for_each(|_| assert_eq!(uploads.asked(at(0), &1, upload(PIECE)), Ok(())));
        assert!(uploads.asked(at(0), &2, upload(PIECE)).is_err(), "a second one waits for too much");
    }

    #[test]
    fn a_few_pieces_may_always_be_under_way() {
        let mut uploads = Uploads::new(UploadSettings::default());
        let taken = (0..10).filter(|peer| uploads.asked(at(0), peer, upload(PIECE)).is_ok()).count();
        assert_eq!(taken, 4);
        uploads.done(at(1), &0, PIECE);
        assert_eq!(uploads.asked(at(1), &9, upload(PIECE)), Ok(()));
        assert!(uploads.asked(at(1), &8, upload(PIECE)).is_err());
    }

    /// Two peers, always asking, and a link that carries so many pieces a second. Returns how many are under way then.
    fn keep_busy(uploads: &mut Uploads<u32>, pieces_a_second: u64) -> usize {
        // Somebody else, or the first one would be alone.
        uploads.asked(at(0), &0, upload(1)).unwrap();
        let mut open = std::collections::VecDeque::new();
        for step in 0..5 * pieces_a_second {
            let now = at(1000 * step / pieces_a_second);
            for peer in [1, 2].into_iter().cycle().take(1000) {
                if uploads.asked(now, &peer, upload(PIECE)).is_ok() {
                    open.push_back(peer);
                }
            }
            open.pop_front().into_iter().for_each(|peer| uploads.done(now, &peer, PIECE));
        }
        open.len()
    }

    #[test]
    fn fast_links_have_more_under_way() {
        let mut uploads = Uploads::new(UploadSettings::default());
        let most = keep_busy(&mut uploads, 1000);
        assert!((80..=120).contains(&most), "100 pieces are 100 ms: {most}");
    }

    #[test]
    fn who_is_refused_comes_back_when_half_is_gone() {
        let mut uploads = Uploads::new(UploadSettings::default());
        keep_busy(&mut uploads, 1000);
        let refused = (0..1000).find_map(|_| uploads.asked(at(5000), &9, upload(PIECE)).err());
        let retry = refused.unwrap();
        assert!((Duration::from_millis(40)..Duration::from_millis(60)).contains(&retry), "{retry:?}");
    }

    #[test]
    fn who_takes_nothing_holds_nobody_up_for_long() {
        let mut uploads = Uploads::new(UploadSettings::default());
        uploads.asked(at(0), &1, upload(4 * PIECE)).unwrap();
        assert!(uploads.asked(at(900), &2, upload(PIECE)).is_err());
        assert_eq!(uploads.asked(at(1000), &2, upload(PIECE)), Ok(()));
    }

    #[test]
    fn idle_time_is_no_slow_rate() {
        let mut uploads = Uploads::new(UploadSettings::default());
        uploads.asked(at(0), &1, upload(PIECE)).unwrap();
        uploads.done(at(100), &1, PIECE);
        let rate = uploads.rate();
        uploads.asked(at(60_000), &1, upload(PIECE)).unwrap();
        uploads.done(at(60_100), &1, PIECE);
        assert!((uploads.rate() - rate).abs() < 1.0, "{} and {rate}", uploads.rate());
    }
}
