//! The origin's side: which agent is offered which pieces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{AddAssign, SubAssign};
use std::sync::Arc;
use std::time::Duration;

use rdcq_wire::Span;

use crate::bits::Bits;
use crate::event::PeerId;
use crate::time::Time;

/// How an origin spreads a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpreadSettings {
    /// What is on offer at once of all blobs, in bytes: what the origin's link carries in the time in which an offer is taken up.
    pub open_bytes: u64,
    /// On offer at once are at least so many spans, or one agent that does not take its own would hold the link up.
    pub open_spans: usize,
    /// The longest span, in bytes; always at least one piece.
    pub span_bytes: u64,
    /// An agent that has not asked for what it was offered for this long has no use for it.
    pub patience: Duration,
}

impl Default for SpreadSettings {
    fn default() -> Self {
        Self { open_bytes: 1024 * 1024, open_spans: 8, span_bytes: 64 * 1024, patience: PATIENCE }
    }
}

/// How long an agent has beyond its way there and back.
const PATIENCE: Duration = Duration::from_millis(100);
/// What is on offer at once, as the time that the origin's way out needs for it, beyond the time until it is known to be sent.
const OPEN: Duration = Duration::from_millis(150);
/// The longest span in the same way, and in bytes.
const SPAN: Duration = Duration::from_millis(20);
const LONGEST_SPAN: u64 = 64 * 1024;
/// The longest span where agents are few.
const LONGEST_SHARE: u64 = 1024 * 1024;

/// What was asked for and is not sent for so long no longer counts as on offer: one that takes nothing is not to hold up others.
const STUCK: Duration = Duration::from_secs(2);

/// An offer is made to so many agents, one after the other; nobody having taken it, the agents have it from elsewhere.
const MOST_OFFERS: u8 = 8;

/// What an agent asks an origin for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// What it is offered, for the first time.
    Offered,
    /// What is or will be offered, as likely as not to somebody else.
    Due,
    /// What others have had, or say they have.
    Out,
}

/// What an origin has on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OnOffer {
    /// Bytes that are offered, or asked for and not yet sent.
    pub bytes: u64,
    /// Offers, each a run of pieces for one agent.
    pub spans: usize,
}

impl AddAssign for OnOffer {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.spans += other.spans;
    }
}

impl SubAssign for OnOffer {
    fn sub_assign(&mut self, other: Self) {
        self.bytes -= other.bytes;
        self.spans -= other.spans;
    }
}

/// Gives each agent other pieces to fetch from an origin, so that little more than one copy leaves it, however many the agents
/// and however few of them know of one another. Its driver tells the agents of what they are offered as of pieces that the
/// origin has.
#[derive(Debug)]
pub struct Spread {
    settings: SpreadSettings,
    lengths: Arc<[u32]>,
    /// The first piece that was never offered.
    next: u32,
    /// Spans that were offered in vain, by their first piece: how many pieces, and how often.
    again: BTreeMap<u32, (u32, u8)>,
    /// Who may be offered something, in turn.
    turn: VecDeque<PeerId>,
    agents: BTreeSet<PeerId>,
    open: BTreeMap<PeerId, Offer>,
    /// Bytes of the offers that count.
    open_bytes: u64,
    /// How many do not.
    stuck: usize,
    /// The pieces that were asked for without an offer, or sent: nobody needs an offer of them.
    out: Bits,
    /// Those that were sent.
    sent: Bits,
    /// Those that an agent says are elsewhere: not offered before all others were.
    declined: Bits,
    /// Those of them that are offered in spite of that, when nothing else is left.
    put_off: Bits,
    /// How often each was, for nothing or not.
    tries: Vec<u8>,
    now: Time,
}

#[derive(Debug)]
struct Offer {
    /// Pieces that the agent has not asked for yet.
    unasked: BTreeSet<u32>,
    /// Those that are being sent to it.
    asked: BTreeSet<u32>,
    /// Bytes of both.
    bytes: u64,
    offers: u8,
    reason: Reason,
    /// When the rest is offered to another; never, while something is being sent.
    until: Option<Time>,
    /// When it no longer counts as on offer, unless something of it is sent before; never, if it does not count.
    counts_until: Option<Time>,
}

/// Why pieces are on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Nobody has them, as far as is known.
    Due,
    /// Nothing else is left to offer.
    PutOff,
}

impl Offer {
    fn pieces(&self) -> impl Iterator<Item = u32> {
        self.unasked.iter().chain(&self.asked).copied()
    }

    /// A piece is no longer of this offer; says whether it was.
    fn lose(&mut self, piece: u32, length: u32) -> bool {
        let had = self.unasked.remove(&piece) || self.asked.remove(&piece);
        self.bytes -= if had { u64::from(length) } else { 0 };
        had
    }
}

impl Spread {
    /// Nothing of the blob whose pieces have these `lengths`, in bytes, has been offered.
    pub fn new(settings: SpreadSettings, lengths: impl Into<Arc<[u32]>>) -> Self {
        let lengths = lengths.into();
        Self {
            settings,
            out: Bits::empty(lengths.len() as u32),
            sent: Bits::empty(lengths.len() as u32),
            declined: Bits::empty(lengths.len() as u32),
            put_off: Bits::empty(lengths.len() as u32),
            tries: vec![0; lengths.len()],
            lengths,
            next: 0,
            again: BTreeMap::new(),
            turn: VecDeque::new(),
            agents: BTreeSet::new(),
            open: BTreeMap::new(),
            open_bytes: 0,
            stuck: 0,
            now: Time::default(),
        }
    }

    /// The origin's way out carries so many bytes a second to agents, and what is sent is known to be after `delay`.
    pub fn pace(&mut self, rate: f64, delay: Duration) {
        self.settings.patience = PATIENCE + 2 * delay;
        self.settings.open_bytes = (rate * (OPEN + delay).as_secs_f64()) as u64;
        let short = ((rate * SPAN.as_secs_f64()) as u64).min(LONGEST_SPAN);
        // Few agents have one offer each, and are to keep the way out busy all the same; but others may be about to come.
        let few = if self.next == 0 { 0 } else { self.settings.open_bytes };
        let share = few / self.agents.len().max(1) as u64;
        self.settings.span_bytes = short.max(share.min(LONGEST_SHARE));
    }

    /// An agent listens to what the origin has.
    pub fn joined(&mut self, agent: PeerId) {
        if self.agents.insert(agent) {
            self.turn.push_back(agent);
        }
    }

    /// An agent no longer does, or needs nothing more.
    pub fn left(&mut self, agent: PeerId) {
        if self.agents.remove(&agent) {
            self.turn.retain(|other| *other != agent);
            self.withdraw(agent);
        }
    }

    /// An agent asks for something.
    pub fn asked(&mut self, agent: PeerId, span: Span) -> Asked {
        let is_offered = |offer: &&mut Offer| span.range().all(|piece| offer.unasked.contains(&piece));
        if let Some(offer) = self.open.get_mut(&agent).filter(is_offered) {
            for piece in span.range() {
                offer.unasked.remove(&piece);
                offer.asked.insert(piece);
            }
            offer.until = None;
            offer.counts_until = offer.counts_until.map(|_| self.now + STUCK);
            return Asked::Offered;
        }
        let known = span.first.0..span.range().end.min(self.lengths.len() as u32);
        let is_due = self.agents.len() > 1 && known.into_iter().any(|piece| self.is_due(piece));
        if is_due { Asked::Due } else { Asked::Out }
    }

    /// The origin will send what an agent has asked for.
    pub fn accepted(&mut self, span: Span) {
        self.out.insert_range(span.range(), |_| {});
    }

    /// Pieces that an agent has asked for will not be sent to it: somebody else may have them.
    pub fn cancelled(&mut self, agent: PeerId, span: Span) {
        let kept = span.range().take_while(|piece| (*piece as usize) < self.lengths.len());
        for piece in kept.filter(|piece| !self.sent.contains(*piece)) {
            self.out.remove(piece);
            if self.declined.contains(piece) && self.tries[piece as usize] < MOST_OFFERS {
                self.put_off.insert(piece);
            }
        }
        let known = span.first.0..span.range().end.min(self.next);
        known.for_each(|piece| self.close(agent, piece));
        if span.first.0 < self.next {
            self.offer_again(span.first.0, span.count.min(self.next - span.first.0), 0);
        }
    }

    /// An agent has been sent a piece, or it is about to leave the origin.
    pub fn sent(&mut self, agent: PeerId, piece: u32) {
        self.out.insert(piece);
        self.sent.insert(piece);
        self.close(agent, piece);
    }

    /// An agent has pieces, or will have them from others: it will not ask for those of its offer. Others are offered them last, as
    /// nobody vouches for what it says, and the others may yet be gone. What does not come in order is not looked at.
    pub fn declined(&mut self, agent: PeerId, spans: &[Span]) {
        let (out, put_off) = (&self.out, &mut self.put_off);
        let mut begin = 0;
        for span in
            spans.iter().take_while(|span| std::mem::replace(&mut begin, span.range().end) <= span.first.0)
        {
            self.declined.insert_range(span.range(), |piece| {
                if !out.contains(piece) {
                    put_off.insert(piece);
                }
            });
        }
        // One that declines what is left anyway waits as long as others do for theirs, or it would be offered all of it.
        let Some(offer) = self.open.get(&agent).filter(|offer| offer.reason == Reason::Due) else { return };
        let closed: Vec<u32> =
            offer.unasked.iter().copied().filter(|piece| self.declined.contains(*piece)).collect();
        closed.into_iter().for_each(|piece| self.close(agent, piece));
    }

    /// Nothing more is to be done about a piece of an agent's offer.
    fn close(&mut self, agent: PeerId, piece: u32) {
        let Some(offer) = self.open.get_mut(&agent) else { return };
        let length = self.lengths[piece as usize];
        if !offer.lose(piece, length) {
            return;
        }
        if let Some(until) = &mut offer.counts_until {
            *until = self.now + STUCK;
            self.open_bytes -= u64::from(length);
        }
        if offer.asked.is_empty() {
            offer.until = Some(self.now + self.settings.patience);
            if offer.unasked.is_empty() {
                self.stuck -= usize::from(offer.counts_until.is_none());
                self.open.remove(&agent);
                self.turn.push_back(agent);
            }
        }
    }

    /// What of this blob is on offer.
    pub fn on_offer(&self) -> OnOffer {
        OnOffer { bytes: self.open_bytes, spans: self.open.len() - self.stuck }
    }

    /// Whether nothing is to be offered for now, as the way out has enough to do with this blob and with what is on offer `beside` it.
    pub fn has_plenty(&self, beside: OnOffer) -> bool {
        let mut all = self.on_offer();
        all += beside;
        all.bytes >= self.settings.open_bytes && all.spans >= self.settings.open_spans
    }

    /// What to offer to whom next, while so much of other blobs is on offer; `None` until something happens, or time does.
    pub fn poll_offer(&mut self, now: Time, beside: OnOffer) -> Option<(PeerId, Span)> {
        self.now = self.now.max(now);
        if self.has_plenty(beside) || self.turn.is_empty() {
            return None;
        }
        let due = self.again().or_else(|| self.fresh().map(|span| (span, 0)));
        let due = due.map(|(span, offers)| (span, offers, Reason::Due));
        let (span, offers, reason) =
            due.or_else(|| self.put_off().map(|span| (span, MOST_OFFERS, Reason::PutOff)))?;
        let agent = self.turn.pop_front()?;
        let bytes = self.bytes(span);
        self.open_bytes += bytes;
        let (until, counts_until) = (Some(now + self.settings.patience), Some(now + STUCK));
        let (unasked, asked) = (span.range().collect(), BTreeSet::new());
        self.open
            .insert(agent, Offer { unasked, asked, bytes, offers: offers + 1, reason, until, counts_until });
        Some((agent, span))
    }

    /// Makes offers that were not taken up to others.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = self.now.max(now);
        let late = self.open.iter().filter(|(_, offer)| offer.until.is_some_and(|until| until <= now));
        let late: Vec<PeerId> = late.map(|(agent, _)| *agent).collect();
        for agent in late {
            self.withdraw(agent);
            self.turn.push_back(agent);
        }
        for offer in
            self.open.values_mut().filter(|offer| offer.counts_until.is_some_and(|until| until <= now))
        {
            offer.counts_until = None;
            self.open_bytes -= offer.bytes;
            self.stuck += 1;
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.open.values().flat_map(|offer| [offer.until, offer.counts_until]).flatten().min()
    }

    /// Whether every piece has been sent to somebody, or found no taker.
    pub fn is_out(&self) -> bool {
        let rest = (self.next..self.lengths.len() as u32).any(|piece| self.is_due(piece));
        let put_off = self.put_off.iter().any(|piece| !self.out.contains(piece));
        !rest && !put_off && self.again.is_empty() && self.open.is_empty()
    }

    /// What was offered or asked for in vain, and is neither out nor on offer by now.
    fn again(&mut self) -> Option<(Span, u8)> {
        while let Some((first, (count, offers))) = self.again.pop_first() {
            let end = first + count;
            let is_free = |piece: &u32| self.is_due(*piece) && !self.is_on_offer(*piece);
            let Some(begin) = (first..end).find(is_free) else { continue };
            let len = (begin..end).take_while(is_free).count() as u32;
            if begin + len < end {
                self.offer_again(begin + len, end - begin - len, offers);
            }
            return Some((Span::new(begin, len), offers));
        }
        None
    }

    fn offer_again(&mut self, first: u32, count: u32, offers: u8) {
        let entry = self.again.entry(first).or_insert((count, offers));
        *entry = (entry.0.max(count), entry.1.min(offers));
    }

    /// Whether a piece is neither out nor elsewhere.
    fn is_due(&self, piece: u32) -> bool {
        !self.out.contains(piece) && !self.declined.contains(piece)
    }

    fn fresh(&mut self) -> Option<Span> {
        let span = self.run(self.next, Self::is_due);
        self.next = span.map_or(self.lengths.len() as u32, |span| span.range().end);
        span
    }

    /// What is elsewhere, as far as is known, and was not sent from here.
    fn put_off(&mut self) -> Option<Span> {
        let gone: Vec<u32> = self.put_off.iter().take_while(|piece| self.out.contains(*piece)).collect();
        gone.into_iter().for_each(|piece| self.put_off.remove(piece));
        let is_left = |piece: &u32| !self.out.contains(*piece) && !self.is_on_offer(*piece);
        let first = self.put_off.iter().find(is_left)?;
        let span = self.run(first, |spread, piece| spread.put_off.contains(piece) && is_left(&piece))?;
        for piece in span.range() {
            let tries = &mut self.tries[piece as usize];
            *tries += 1;
            if *tries >= MOST_OFFERS {
                self.put_off.remove(piece);
            }
        }
        Some(span)
    }

    /// The first pieces from `start` on that are to be offered.
    fn run(&self, start: u32, is_offered: impl Fn(&Self, u32) -> bool) -> Option<Span> {
        let count = self.lengths.len() as u32;
        let first = (start..count).find(|piece| is_offered(self, *piece))?;
        let mut bytes = u64::from(self.lengths[first as usize]);
        let more = (first + 1..count).take_while(|piece| {
            bytes += u64::from(self.lengths[*piece as usize]);
            bytes <= self.settings.span_bytes && is_offered(self, *piece)
        });
        Some(Span::new(first, 1 + more.count() as u32))
    }

    fn is_on_offer(&self, piece: u32) -> bool {
        self.open.values().any(|offer| offer.unasked.contains(&piece) || offer.asked.contains(&piece))
    }

    fn bytes(&self, span: Span) -> u64 {
        span.range().map(|piece| u64::from(self.lengths[piece as usize])).sum()
    }

    fn withdraw(&mut self, agent: PeerId) {
        let Some(offer) = self.open.remove(&agent) else { return };
        match offer.counts_until {
            Some(_) => self.open_bytes -= offer.bytes,
            None => self.stuck -= 1,
        }
        let pieces: BTreeSet<u32> = offer.pieces().filter(|piece| !self.out.contains(*piece)).collect();
        if offer.offers >= MOST_OFFERS {
            // Nobody takes it: it is not held back from who asks for it after all.
            pieces.into_iter().for_each(|piece| {
                self.declined.insert_range(piece..piece + 1, |_| {});
            });
        } else {
            let mut pieces = pieces.into_iter().peekable();
            while let Some(first) = pieces.next() {
                let mut count = 1;
                while pieces.next_if_eq(&(first + count)).is_some() {
                    count += 1;
                }
                self.offer_again(first, count, offer.offers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(pieces: usize, agents: u32) -> Spread {
        let settings = SpreadSettings {
            open_bytes: 30,
            open_spans: 1,
            span_bytes: 20,
            patience: Duration::from_secs(1),
        };
        let mut spread = Spread::new(settings, vec![10; pieces]);
        (0..agents).for_each(|agent| spread.joined(PeerId(agent)));
        spread
    }

    fn offers(spread: &mut Spread, at: u64) -> Vec<(u32, Span)> {
        let now = Time(Duration::from_secs(at));
        std::iter::from_fn(|| spread.poll_offer(now, OnOffer::default()).map(|(agent, span)| (agent.0, span)))
            .collect()
    }

    #[test]
    fn each_span_goes_to_one_agent_after_the_other_as_it_is_sent() {
        let mut spread = spread(7, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2)), (1, Span::new(2, 2))]);
        spread.asked(PeerId(0), Span::new(0, 2));
        spread.sent(PeerId(0), 0);
        assert_eq!(offers(&mut spread, 0), []);
        spread.sent(PeerId(0), 1);
        assert_eq!(offers(&mut spread, 0), [(2, Span::new(4, 2))]);
        assert!(!spread.is_out());
    }

    #[test]
    fn what_is_taken_up_in_part_is_offered_to_another_for_the_rest() {
        let mut spread = spread(2, 2);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2))]);
        assert_eq!(spread.asked(PeerId(0), Span::new(0, 1)), Asked::Offered);
        assert_eq!(spread.asked(PeerId(0), Span::new(0, 1)), Asked::Due, "once is enough");
        spread.handle_timeout(Time(Duration::from_secs(5)));
        assert_eq!(offers(&mut spread, 5), [], "it is being sent");
        spread.sent(PeerId(0), 0);
        spread.handle_timeout(Time(Duration::from_secs(6)));
        assert_eq!(offers(&mut spread, 6), [(1, Span::new(1, 1))]);
    }

    #[test]
    fn what_is_asked_for_and_not_sent_soon_makes_room_for_others() {
        let mut spread = spread(8, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2)), (1, Span::new(2, 2))]);
        for agent in [0, 1] {
            assert_eq!(spread.asked(PeerId(agent), Span::new(2 * agent, 2)), Asked::Offered);
        }
        assert_eq!(spread.on_offer(), OnOffer { bytes: 40, spans: 2 });
        spread.handle_timeout(Time(Duration::from_secs(1)));
        assert_eq!(offers(&mut spread, 1), []);
        // One of the two gets something.
        spread.sent(PeerId(1), 2);
        spread.handle_timeout(Time(STUCK));
        assert_eq!(spread.on_offer(), OnOffer { bytes: 10, spans: 1 });
        assert_eq!(offers(&mut spread, 2), [(2, Span::new(4, 2))]);
        spread.sent(PeerId(0), 0);
        assert_eq!(spread.on_offer(), OnOffer { bytes: 30, spans: 2 }, "it does not count again");
        spread.sent(PeerId(0), 1);
        spread.left(PeerId(1));
        spread.left(PeerId(2));
        assert_eq!(spread.on_offer(), OnOffer::default());
        assert_eq!(offers(&mut spread, 2), [(0, Span::new(3, 1))]);
    }

    #[test]
    fn what_nobody_takes_is_not_held_back_from_who_asks_for_it() {
        let mut spread = spread(2, 3);
        for second in 0..u64::from(MOST_OFFERS) {
            assert_eq!(offers(&mut spread, second).len(), 1);
            assert_eq!(spread.asked(PeerId(7), Span::new(0, 1)), Asked::Due);
            spread.handle_timeout(Time(Duration::from_secs(second + 1)));
        }
        assert_eq!(offers(&mut spread, 20), []);
        assert_eq!(spread.asked(PeerId(1), Span::new(0, 1)), Asked::Out);
    }

    #[test]
    fn one_lost_piece_of_an_offer_leaves_the_others() {
        let mut spread = spread(2, 2);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2))]);
        (0..2).for_each(|piece| assert_eq!(spread.asked(PeerId(0), Span::new(piece, 1)), Asked::Offered));
        spread.cancelled(PeerId(0), Span::new(0, 1));
        assert_eq!(offers(&mut spread, 0), [(1, Span::new(0, 1))]);
        spread.sent(PeerId(0), 1);
        spread.sent(PeerId(1), 0);
        assert!(spread.is_out());
    }

    #[test]
    fn what_is_not_taken_up_is_offered_to_another() {
        let mut spread = spread(2, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2))]);
        assert_eq!(spread.poll_timeout(), Some(Time(Duration::from_secs(1))));
        spread.handle_timeout(Time(Duration::from_secs(1)));
        assert_eq!(offers(&mut spread, 1), [(1, Span::new(0, 2))]);
        spread.asked(PeerId(1), Span::new(0, 2));
        assert_eq!(spread.poll_timeout(), Some(Time(Duration::from_secs(1) + STUCK)), "it is being sent");
        spread.left(PeerId(1));
        assert_eq!(offers(&mut spread, 2), [(2, Span::new(0, 2))]);
        spread.left(PeerId(2));
        assert_eq!(offers(&mut spread, 2), [(0, Span::new(0, 2))]);
        spread.sent(PeerId(0), 0);
        spread.sent(PeerId(0), 1);
        assert!(spread.is_out());
    }

    #[test]
    fn what_is_cancelled_is_offered_to_others() {
        let mut spread = spread(6, 2);
        spread.accepted(Span::new(0, 5));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(5, 1))]);
        spread.cancelled(PeerId(1), Span::new(2, 2));
        assert_eq!(offers(&mut spread, 0), [(1, Span::new(2, 2))]);
        assert_eq!(spread.asked(PeerId(0), Span::new(5, 1)), Asked::Offered);
        assert_eq!(spread.asked(PeerId(1), Span::new(2, 2)), Asked::Offered);
        spread.cancelled(PeerId(1), Span::new(2, 2));
        spread.sent(PeerId(0), 5);
        assert_eq!(offers(&mut spread, 0), [(1, Span::new(2, 2))]);
    }

    #[test]
    fn what_several_cancel_is_offered_once_and_what_was_sent_never_again() {
        let mut spread = spread(4, 3);
        spread.accepted(Span::new(0, 2));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(2, 2))]);
        for agent in [1, 2, 1] {
            spread.cancelled(PeerId(agent), Span::new(0, 2));
        }
        assert_eq!(offers(&mut spread, 0), [(1, Span::new(0, 2))]);
        [0, 1].into_iter().for_each(|piece| spread.sent(PeerId(1), piece));
        spread.cancelled(PeerId(2), Span::new(0, 2));
        assert_eq!(offers(&mut spread, 0), []);
    }

    #[test]
    fn what_was_asked_for_without_an_offer_is_offered_to_nobody() {
        let mut spread = spread(4, 2);
        assert_eq!(spread.asked(PeerId(0), Span::new(0, 3)), Asked::Due);
        spread.accepted(Span::new(0, 3));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(3, 1))]);
    }

    #[test]
    fn what_is_elsewhere_is_passed_over_at_once_and_offered_in_the_end() {
        let mut spread = spread(8, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2)), (1, Span::new(2, 2))]);
        spread.declined(PeerId(0), &[Span::new(0, 2), Span::new(3, 2)]);
        // Who was offered a part of it may still ask.
        assert_eq!(offers(&mut spread, 0), [(2, Span::new(5, 2))]);
        assert_eq!(spread.asked(PeerId(1), Span::new(2, 2)), Asked::Offered);
        [2, 3].into_iter().for_each(|piece| spread.sent(PeerId(1), piece));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(7, 1))]);
        assert_eq!(spread.asked(PeerId(2), Span::new(5, 2)), Asked::Offered);
        assert_eq!(spread.asked(PeerId(0), Span::new(7, 1)), Asked::Offered);
        [5, 6].into_iter().for_each(|piece| spread.sent(PeerId(2), piece));
        spread.sent(PeerId(0), 7);
        assert!(!spread.is_out());
        for second in 0..u64::from(MOST_OFFERS) {
            let due: Vec<Span> = offers(&mut spread, second).into_iter().map(|(_, span)| span).collect();
            assert_eq!(due, [Span::new(0, 2), Span::new(4, 1)]);
            (0..3).for_each(|agent| spread.declined(PeerId(agent), &[Span::new(0, 8)]));
            assert_eq!(offers(&mut spread, second), [], "whoever declines waits as others do");
            spread.handle_timeout(Time(Duration::from_secs(second + 1)));
        }
        assert_eq!(offers(&mut spread, 9), []);
        assert!(spread.is_out());
    }

    #[test]
    fn one_that_declines_everything_only_puts_it_off() {
        let mut spread = spread(6, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2)), (1, Span::new(2, 2))]);
        spread.declined(PeerId(0), &[Span::new(0, u32::MAX), Span::new(u32::MAX, u32::MAX)]);
        assert_eq!(offers(&mut spread, 0), [(2, Span::new(0, 2))]);
        assert_eq!(spread.asked(PeerId(1), Span::new(2, 2)), Asked::Offered);
        assert_eq!(spread.asked(PeerId(2), Span::new(0, 2)), Asked::Offered);
        [2, 3].into_iter().for_each(|piece| spread.sent(PeerId(1), piece));
        [0, 1].into_iter().for_each(|piece| spread.sent(PeerId(2), piece));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(4, 2))], "in its turn, as it may have lost them");
    }

    #[test]
    fn what_is_elsewhere_and_on_offer_or_cancelled_is_offered_when_that_is_over() {
        let mut spread = spread(2, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2))]);
        spread.declined(PeerId(1), &[Span::new(0, 2)]);
        assert_eq!(offers(&mut spread, 0), [], "it may yet be asked for");
        assert_eq!(spread.asked(PeerId(0), Span::new(0, 2)), Asked::Offered);
        spread.cancelled(PeerId(0), Span::new(0, 2));
        assert_eq!(offers(&mut spread, 0), [(1, Span::new(0, 2))]);
    }

    #[test]
    fn what_is_declined_while_it_is_on_offer_to_another_is_not_lost() {
        let mut spread = spread(4, 3);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2)), (1, Span::new(2, 2))]);
        spread.declined(PeerId(0), &[Span::new(0, 4)]);
        assert_eq!(offers(&mut spread, 0), [(2, Span::new(0, 2))]);
        assert_eq!(spread.asked(PeerId(2), Span::new(0, 2)), Asked::Offered);
        assert_eq!(offers(&mut spread, 0), []);
        spread.left(PeerId(1));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(2, 2))]);
    }

    #[test]
    fn one_that_declines_again_and_again_leaves_others_their_turn() {
        let mut spread = spread(40, 4);
        spread.settings.open_bytes = 1000;
        let (mut sent, mut now, mut asking) = (0, Time::default(), Vec::new());
        spread.declined(PeerId(0), &[Span::new(0, 40)]);
        // The others take their time to ask, and the first answers at once.
        for step in 0..400 {
            now = Time(Duration::from_millis(500 * step));
            spread.handle_timeout(now);
            for (agent, span) in std::mem::take(&mut asking) {
                assert_eq!(spread.asked(agent, span), Asked::Offered);
                span.range().for_each(|piece| spread.sent(agent, piece));
                sent += span.count;
            }
            while let Some((agent, span)) = spread.poll_offer(now, OnOffer::default()) {
                match agent {
                    PeerId(0) => spread.declined(agent, &[Span::new(0, 40)]),
                    _ => asking.push((agent, span)),
                }
            }
        }
        assert_eq!((sent, spread.is_out()), (40, true), "{now:?}");
    }

    #[test]
    fn what_was_declined_and_cancelled_after_it_had_counted_as_out_is_offered() {
        let mut spread = spread(2, 1);
        spread.declined(PeerId(1), &[Span::new(0, 2)]);
        spread.accepted(Span::new(0, 2));
        assert_eq!(offers(&mut spread, 0), []);
        spread.cancelled(PeerId(0), Span::new(0, 2));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2))]);
    }

    #[test]
    fn what_is_declined_out_of_order_is_not_looked_at() {
        let mut spread = spread(6, 1);
        spread.declined(PeerId(1), &[Span::new(2, 2), Span::new(0, 2), Span::new(4, 2)]);
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(0, 2))]);
        [0, 1].into_iter().for_each(|piece| spread.sent(PeerId(0), piece));
        assert_eq!(offers(&mut spread, 0), [(0, Span::new(4, 2))]);
    }
}
