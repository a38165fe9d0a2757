//! The sender's side: whether what is asked for is sent now.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Time;

/// How much a node may have under way to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSettings {
    /// Pieces of the usual length that may always be under way: one is sent while the next are read.
    pub least_pieces: u32,
    /// Pieces beyond which [`Self::queue`] is of no use, however fast they go: on fast links the turn of a piece is what counts.
    pub most_pieces: u32,
    /// Time for which what is under way may take, at the rate that peers acknowledge at, beyond its way there and back. Much of it is
    /// in the links down of those who asked, which is not seen from here: with less, links up stand idle. See `POLICIES.md`.
    pub queue: Duration,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self { least_pieces: 4, most_pieces: 16, queue: Duration::from_millis(400) }
    }
}

/// The time over which a rate is measured at least: some datagrams even on slow links.
const SAMPLE: Duration = Duration::from_millis(200);
/// How much of a sample counts that is above what was measured before, and of one that is below: who sends less than it could is not
/// to take that for what it can.
const RISE: f64 = 0.5;
const FALL: f64 = 0.05;
/// Who acknowledges nothing for so long, beyond twice the time that what is under way takes, no longer holds others up.
const STUCK: Duration = Duration::from_secs(1);
/// Who was refused for so long is served in its turn.
const LONGEST_REFUSED: Duration = Duration::from_millis(500);
/// A refusal that is so long ago has no bearing on the next one.
const FORGET_REFUSED: Duration = Duration::from_secs(10);
/// Refusals that are remembered: an origin has this many agents of a large herd at a time.
const MOST_REFUSED: usize = 16_384;
/// Requests that wait: of one peer, as what it is offered is some pieces, and of all.
const MOST_WAITING_EACH: usize = 64;
const MOST_WAITING: usize = 4096;
/// How long somebody is told to ask elsewhere, at least and at most.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(500);
/// How long somebody is told to wait who will be offered something: an offer comes before that.
const UNTIL_OFFERED: Duration = Duration::from_secs(1);

/// What a node has under way to others, from the first byte sent until the last is acknowledged, how fast that goes, and what waits
/// for it.
///
/// Where everybody asks many, some senders have long queues while others stand idle. A sender that refuses what would wait for
/// long says so to whom it can ask elsewhere.
#[derive(Debug)]
pub struct Uploads<K> {
    settings: UploadSettings,
    /// What is under way, by whom it is for.
    under_way: BTreeMap<K, UnderWay>,
    /// What waits, in the order in which it was asked for.
    queue: VecDeque<(Ticket, K, Upload)>,
    next: Ticket,
    /// Who is refused which content, since when: nothing of it was begun for them in between.
    refused: BTreeMap<(K, u64), Time>,
    /// When those whose refusal is long ago were last forgotten.
    swept: Time,
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
    /// Tells contents apart.
    pub content: u64,
    /// Bytes of a usual piece of the same content.
    pub piece: u64,
    /// The shortest time that anything took to the asking peer and back.
    pub round_trip: Duration,
    /// Whether it may be refused.
    pub claim: Claim,
}

/// Why somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It may have the same of others.
    Usual,
    /// It, or others of which it then has the same, will be offered what it asks for.
    Due,
    /// It was offered what it asks for, and is served in any case.
    Offered,
}

/// The number of something that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// How something that was served ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The peer has all of it.
    Arrived,
    /// The peer did not want it any more, or is gone.
    Lost,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is served.
    Now,
    /// It is once [`Uploads::poll_begun`] says so.
    Later(Ticket),
    /// Somebody else is to be asked, or the same again after this time.
    Elsewhere(Duration),
}

impl<K: Ord + Clone> Uploads<K> {
    /// Nothing is under way.
    pub const fn new(settings: UploadSettings) -> Self {
        Self {
            settings,
            under_way: BTreeMap::new(),
            queue: VecDeque::new(),
            next: Ticket(0),
            refused: BTreeMap::new(),
            swept: Time(Duration::ZERO),
            rate: 0.0,
            sample: None,
        }
    }

    /// Somebody asks for something.
    pub fn asked(&mut self, now: Time, by: &K, upload: Upload) -> Turn {
        if self.queue.is_empty() && self.has_room(now, by, upload) {
            self.begin(now, by, upload);
            return Turn::Now;
        }
        if upload.claim == Claim::Due {
            return Turn::Elsewhere(UNTIL_OFFERED);
        }
        let own = self.queue.iter().filter(|(_, other, _)| other == by).count();
        let is_full = own >= MOST_WAITING_EACH || self.queue.len() >= MOST_WAITING;
        // Who waited here for what another could send at once would only think that much is on its way.
        let may_wait = upload.claim == Claim::Offered || self.was_refused_for_long(now, by, upload.content);
        if is_full || !may_wait {
            let wait = self.time_for(self.waiting(now));
            return Turn::Elsewhere(wait.clamp(*RETRY.start(), *RETRY.end()));
        }
        let ticket = self.next;
        self.next = Ticket(ticket.0 + 1);
        self.queue.push_back((ticket, by.clone(), upload));
        Turn::Later(ticket)
    }

    /// What waited and is served now; `None` until something arrives, or time passes.
    pub fn poll_begun(&mut self, now: Time) -> Option<Ticket> {
        let (ticket, by, upload) = self.queue.front().cloned()?;
        if !self.has_room(now, &by, upload) {
            return None;
        }
        self.queue.pop_front();
        self.begin(now, &by, upload);
        Some(ticket)
    }

    /// What waited is no longer wanted.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.queue.retain(|(waiting, ..)| *waiting != ticket);
    }

    /// What was served has arrived, or will not.
    pub fn done(&mut self, now: Time, by: &K, bytes: u64, ended: Ended) {
        if let Some(entry) = self.under_way.get_mut(by) {
            entry.bytes = entry.bytes.saturating_sub(bytes);
            if ended == Ended::Arrived {
                entry.moved = now;
            }
            if entry.bytes == 0 {
                self.under_way.remove(by);
            }
        }
        self.measure(now, if ended == Ended::Arrived { bytes } else { 0 });
    }

    /// Bytes a second that peers acknowledge while something is under way; 0 if that was not measured yet.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// When [`Self::poll_begun`] is due, should nothing arrive before.
    pub fn poll_timeout(&self) -> Option<Time> {
        let due = self.under_way.values().map(|entry| self.stuck_at(entry)).min();
        due.filter(|_| !self.queue.is_empty())
    }

    /// One that has all to itself is limited by its connection alone.
    fn has_room(&self, now: Time, by: &K, upload: Upload) -> bool {
        let others = self.under_way.len() - usize::from(self.under_way.contains_key(by));
        let [least, longest] = [self.settings.least_pieces, self.settings.most_pieces];
        let [least, longest] = [least, longest].map(|pieces| u64::from(pieces) * upload.piece);
        let on_its_way = self.in_time(upload.round_trip);
        let most = (on_its_way + self.in_time(self.settings.queue).min(longest)).max(least);
        let waiting = self.waiting(now);
        others == 0 || waiting < most
    }

    /// Notes a refusal. Who asks in vain for long gets its turn, or those with offers would always be before it.
    fn was_refused_for_long(&mut self, now: Time, by: &K, content: u64) -> bool {
        let key = (by.clone(), content);
        if !self.refused.contains_key(&key) && self.refused.len() >= MOST_REFUSED {
            if now.since(self.swept) >= LONGEST_REFUSED {
                self.swept = now;
                self.refused.retain(|_, since| now.since(*since) < FORGET_REFUSED);
            }
            if self.refused.len() >= MOST_REFUSED {
                return false;
            }
        }
        let since = self.refused.entry(key).or_insert(now);
        // One that comes back after long asks for something else.
        if now.since(*since) >= FORGET_REFUSED {
            *since = now;
        }
        now.since(*since) >= LONGEST_REFUSED
    }

    fn begin(&mut self, now: Time, by: &K, Upload { bytes, content, .. }: Upload) {
        self.refused.remove(&(by.clone(), content));
        if self.under_way.is_empty() {
            self.sample = Some((now, 0));
        }
        let entry = self.under_way.entry(by.clone()).or_insert(UnderWay { bytes: 0, moved: now });
        entry.bytes += bytes;
    }

    /// Bytes under way to those who move.
    fn waiting(&self, now: Time) -> u64 {
        let moving = self.under_way.values().filter(|entry| now < self.stuck_at(entry));
        moving.map(|entry| entry.bytes).sum()
    }

    fn stuck_at(&self, entry: &UnderWay) -> Time {
        entry.moved + STUCK + 2 * self.time_for(entry.bytes)
    }

    fn in_time(&self, time: Duration) -> u64 {
        (self.rate * time.as_secs_f64()) as u64
    }

    fn time_for(&self, bytes: u64) -> Duration {
        if self.rate > 0.0 {
            Duration::from_secs_f64((bytes as f64 / self.rate).min(60.0))
        } else {
            Duration::ZERO
        }
    }

    fn measure(&mut self, now: Time, bytes: u64) {
        let Some((since, sum)) = &mut self.sample else { return };
        *sum += bytes;
        let passed = now.since(*since);
        if passed >= SAMPLE {
            let rate = *sum as f64 / passed.as_secs_f64();
            let part = if rate > self.rate { RISE } else { FALL };
            self.rate = if self.rate > 0.0 { self.rate + part * (rate - self.rate) } else { rate };
            self.sample = Some((now, 0));
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
        Upload { bytes, content: 1, piece: PIECE, round_trip: Duration::ZERO, claim: Claim::Usual }
    }

    fn uploads() -> Uploads<u32> {
        Uploads::new(UploadSettings::default())
    }

    fn offered(bytes: u64) -> Upload {
        Upload { claim: Claim::Offered, ..upload(bytes) }
    }

    #[test]
    fn who_asks_alone_is_never_held_up() {
        let mut uploads = uploads();
        (0..50).for_each(|_| assert_eq!(uploads.asked(at(0), &1, upload(PIECE)), Turn::Now));
        assert!(matches!(uploads.asked(at(0), &2, upload(PIECE)), Turn::Elsewhere(_)));
    }

    #[test]
    fn of_many_some_are_served_and_others_ask_elsewhere_unless_they_were_offered_it() {
        let mut uploads = uploads();
        let turns: Vec<Turn> = (0..6).map(|peer| uploads.asked(at(0), &peer, upload(PIECE))).collect();
        let elsewhere = Turn::Elsewhere(Duration::from_millis(10));
        let later = |ticket| Turn::Later(Ticket(ticket));
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::Now, Turn::Now, elsewhere, elsewhere]);
        assert_eq!(uploads.asked(at(0), &7, offered(PIECE)), later(0));
        assert_eq!(uploads.poll_begun(at(1)), None);
        uploads.done(at(1), &0, PIECE, Ended::Arrived);
        // Nobody overtakes who waits.
        assert_eq!(uploads.asked(at(1), &9, upload(PIECE)), elsewhere);
        assert_eq!((uploads.poll_begun(at(1)), uploads.poll_begun(at(1))), (Some(Ticket(0)), None));
    }

    #[test]
    fn what_will_be_offered_is_served_where_there_is_room_and_never_waits() {
        let mut uploads = uploads();
        let due = Upload { claim: Claim::Due, ..upload(PIECE) };
        let turns: Vec<Turn> = (0..5).map(|peer| uploads.asked(at(0), &peer, due)).collect();
        let later = Turn::Elsewhere(UNTIL_OFFERED);
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::Now, Turn::Now, later]);
        for ms in (0..900).step_by(100) {
            assert_eq!(uploads.asked(at(ms), &4, due), later);
        }
        assert_eq!(uploads.poll_timeout(), None, "nothing waits");
    }

    #[test]
    fn nobody_is_refused_for_ever() {
        let mut uploads = uploads();
        let turns: Vec<Turn> = (0..5).map(|peer| uploads.asked(at(0), &peer, upload(PIECE))).collect();
        assert!(matches!(turns[4], Turn::Elsewhere(_)));
        assert!(matches!(uploads.asked(at(499), &4, upload(PIECE)), Turn::Elsewhere(_)));
        let other = Upload { content: 2, ..upload(PIECE) };
        assert!(matches!(uploads.asked(at(500), &4, other), Turn::Elsewhere(_)));
        assert_eq!(uploads.asked(at(500), &4, upload(PIECE)), Turn::Later(Ticket(0)));
        uploads.done(at(501), &0, PIECE, Ended::Arrived);
        assert_eq!(uploads.poll_begun(at(501)), Some(Ticket(0)));
        assert!(matches!(uploads.asked(at(501), &4, upload(PIECE)), Turn::Elsewhere(_)), "it was served");
    }

    #[test]
    fn who_gives_up_makes_room_for_the_next() {
        let mut uploads = uploads();
        for peer in 0..6 {
            let _ = uploads.asked(at(0), &peer, offered(PIECE));
        }
        uploads.abandon(Ticket(0));
        uploads.done(at(1), &0, PIECE, Ended::Arrived);
        assert_eq!(uploads.poll_begun(at(1)), Some(Ticket(1)));
    }

    /// Two peers, always asking, and a link that carries so many pieces a second. Returns how many are under way then.
    fn keep_busy(uploads: &mut Uploads<u32>, pieces_a_second: u64) -> usize {
        let mut open = VecDeque::new();
        for step in 0..5 * pieces_a_second {
            let now = at(1000 * step / pieces_a_second);
            for peer in [1, 2].into_iter().cycle().take(1000) {
                if open.len() > 1 && open.iter().all(|other| *other == peer) {
                    continue;
                }
                if uploads.asked(now, &peer, upload(PIECE)) == Turn::Now {
                    open.push_back(peer);
                }
            }
            open.pop_front().into_iter().for_each(|peer| uploads.done(now, &peer, PIECE, Ended::Arrived));
        }
        // One has just gone.
        open.len() + 1
    }

    #[test]
    fn faster_links_have_more_under_way_up_to_some_pieces() {
        let settings = UploadSettings { least_pieces: 4, most_pieces: 8, queue: Duration::from_millis(100) };
        let most = [20, 60, 1000].map(|rate| keep_busy(&mut Uploads::new(settings.clone()), rate));
        assert_eq!(most[0], 4);
        assert!((5..=7).contains(&most[1]), "6 pieces are 100 ms: {most:?}");
        assert_eq!(most[2], 8);
    }

    #[test]
    fn who_takes_nothing_holds_nobody_up_for_long() {
        let mut uploads = uploads();
        assert_eq!(uploads.asked(at(0), &1, upload(4 * PIECE)), Turn::Now);
        assert!(matches!(uploads.asked(at(900), &2, offered(PIECE)), Turn::Later(_)));
        assert_eq!(uploads.poll_timeout(), Some(at(1000)));
        assert!(uploads.poll_begun(at(1000)).is_some());
    }

    #[test]
    fn what_is_lost_is_no_rate_and_no_sign_of_life() {
        let mut uploads = uploads();
        assert_eq!(uploads.asked(at(0), &1, upload(100 * PIECE)), Turn::Now);
        uploads.done(at(300), &1, 50 * PIECE, Ended::Lost);
        assert!(uploads.rate() == 0.0, "{}", uploads.rate());
        assert!(matches!(uploads.asked(at(900), &2, offered(PIECE)), Turn::Later(_)));
        uploads.done(at(950), &1, PIECE, Ended::Lost);
        assert!(uploads.poll_begun(at(1000)).is_some());
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut uploads = uploads();
        assert_eq!(uploads.asked(at(0), &0, upload(100 * PIECE)), Turn::Now);
        let later = (0..100).filter(|_| matches!(uploads.asked(at(0), &1, offered(PIECE)), Turn::Later(_)));
        assert_eq!(later.count(), MOST_WAITING_EACH);
    }

    #[test]
    fn idle_time_is_no_slow_rate() {
        let mut uploads = uploads();
        assert_eq!(uploads.asked(at(0), &1, upload(PIECE)), Turn::Now);
        uploads.done(at(100), &1, PIECE, Ended::Arrived);
        let rate = uploads.rate();
        assert_eq!(uploads.asked(at(60_000), &1, upload(PIECE)), Turn::Now);
        uploads.done(at(60_100), &1, PIECE, Ended::Arrived);
        assert!((uploads.rate() - rate).abs() < 1.0, "{} and {rate}", uploads.rate());
    }
}
