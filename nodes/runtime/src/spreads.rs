//! An origin's offers: which agent it wants to be asked by for which pieces, so that little more than one copy leaves it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_swarm::{Asked, OnOffer, PeerId, Spread, SpreadSettings, Time};
use rdcq_transport::ReplyEnd;
use rdcq_wire::{Digest, Manifest, NodeId, Span};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often it is looked whether offers were not taken up: well within the patience of offers.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Offers to one agent that may wait to be sent. It has one at a time, and late ones count for nothing.
const UNREAD_OFFERS: usize = 8;

/// The number of those who do not listen.
const NOBODY: PeerId = PeerId(u32::MAX);

/// What an origin spreads: the contents that agents listen to. They share its way out, and are offered in
/// turn as far as it has room: were all on offer at once, offers would wait for longer than their agents do.
#[derive(Clone)]
pub(crate) struct Spreads(Arc<Inner>);

struct Inner {
    env: Env,
    started: Instant,
    state: Mutex<State>,
}

/// In which order contents began to be listened to.
type Age = u64;

#[derive(Default)]
struct State {
    contents: BTreeMap<Age, Content>,
    ages: BTreeMap<Digest, Age>,
    next: Age,
    /// Contents of which there may be something to offer.
    due: BTreeSet<Age>,
    /// Whose turn it is, or of the next one that is due.
    turn: Age,
    /// Of all contents.
    on_offer: OnOffer,
    /// The rate of the way out in bytes a second, and after which time what is sent is known to have arrived.
    pace: Option<(f64, Duration)>,
    is_looked_after: bool,
}

/// One content that is spread, as long as an agent listens.
struct Content {
    digest: Digest,
    spread: Spread,
    listeners: BTreeMap<PeerId, mpsc::Sender<Span>>,
    /// The number of each agent that listens; of two watches of one agent the later one counts.
    numbers: BTreeMap<NodeId, PeerId>,
    next: u32,
}

/// An agent that listens. Dropped, it does no longer.
pub(crate) struct Seat {
    spreads: Spreads,
    age: Age,
    node: NodeId,
    number: PeerId,
    /// What it is offered.
    pub(crate) offers: mpsc::Receiver<Span>,
}

impl Spreads {
    pub(crate) fn new(env: Env) -> Self {
        let started = env.now();
        Self(Arc::new(Inner { env, started, state: Mutex::default() }))
    }

    /// An agent listens to what of a content it is offered.
    pub(crate) fn join(&self, digest: &Digest, manifest: &Manifest, node: &NodeId) -> Seat {
        let (offer, offers) = mpsc::channel(UNREAD_OFFERS);
        let mut state = self.state();
        let age = state.age_of(digest, manifest);
        let number = state.change(age, |content| content.join(node, offer)).unwrap_or(NOBODY);
        state.offer(self.now());
        if !std::mem::replace(&mut state.is_looked_after, true) {
            let look = Self::look_after(Arc::downgrade(&self.0));
            drop(self.0.env.spawn(look));
        }
        drop(state);
        Seat { spreads: self.clone(), age, node: node.clone(), number, offers }
    }

    /// An agent asks for a span of a content; nothing, if it does not listen.
    pub(crate) fn asked(&self, digest: &Digest, node: &NodeId, span: Span) -> Option<Asked> {
        let mut state = self.state();
        let asked = |content: &mut Content| Some(content.spread.asked(*content.numbers.get(node)?, span));
        state.of(digest, asked).flatten()
    }

    /// An agent has pieces of a content from elsewhere, or will.
    pub(crate) fn declined(&self, digest: &Digest, node: &NodeId, spans: &[Span]) {
        let mut state = self.state();
        state.of(digest, |content| {
            // Who does not listen was not offered anything.
            if let Some(number) = content.numbers.get(node) {
                content.spread.declined(*number, spans);
            }
        });
        state.offer(self.now());
    }

    /// What an agent has asked for will be sent, by a way out of such a rate over which so much time passes until it is known to
    /// have arrived.
    pub(crate) fn accepted(&self, digest: &Digest, asked: Asked, span: Span, rate: f64, delay: Duration) {
        let mut state = self.state();
        if rate > 0.0 {
            state.pace = Some((rate, delay));
        }
        state.of(digest, |content| {
            if asked != Asked::Offered {
                content.spread.accepted(span);
            }
        });
    }

    /// What was sent to an agent has arrived, or will not.
    pub(crate) fn ended(&self, digest: &Digest, node: &NodeId, span: Span, end: ReplyEnd) {
        let mut state = self.state();
        state.of(digest, |content| {
            let number = content.numbers.get(node).copied().unwrap_or(NOBODY);
            match end {
                ReplyEnd::Arrived => span.range().for_each(|piece| content.spread.sent(number, piece)),
                ReplyEnd::Lost => content.spread.cancelled(number, span),
            }
        });
        state.offer(self.now());
    }

    /// Offers again what was not taken up, as long as somebody listens.
    async fn look_after(inner: Weak<Inner>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Some(spreads) = inner.upgrade().map(Spreads) else { return };
            let (now, mut state) = (spreads.now(), spreads.state());
            if state.contents.is_empty() {
                state.is_looked_after = false;
                return;
            }
            state.look(now);
            state.offer(now);
        }
    }

    fn now(&self) -> Time {
        Time(self.0.env.now() - self.0.started)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number of a content, which begins to be spread if it is not.
    fn age_of(&mut self, digest: &Digest, manifest: &Manifest) -> Age {
        if let Some(age) = self.ages.get(digest) {
            return *age;
        }
        let age = self.next;
        self.next += 1;
        self.ages.insert(*digest, age);
        self.contents.insert(age, Content::new(digest, manifest));
        age
    }

    /// Something happens to a content, if an agent listens to it.
    fn of<T>(&mut self, digest: &Digest, event: impl FnOnce(&mut Content) -> T) -> Option<T> {
        let age = *self.ages.get(digest)?;
        self.change(age, event)
    }

    fn change<T>(&mut self, age: Age, event: impl FnOnce(&mut Content) -> T) -> Option<T> {
        let content = self.contents.get_mut(&age)?;
        self.on_offer -= content.spread.on_offer();
        let told = event(content);
        self.on_offer += content.spread.on_offer();
        self.due.insert(age);
        Some(told)
    }

    /// Passes on what there is to offer, one offer of each content in turn.
    fn offer(&mut self, now: Time) {
        while let Some(age) = self.due.range(self.turn..).next().or_else(|| self.due.first()).copied() {
            self.turn = age;
            let Some(content) = self.contents.get_mut(&age) else { return };
            if let Some((rate, delay)) = self.pace {
                content.spread.pace(rate, delay);
            }
            self.on_offer -= content.spread.on_offer();
            let offer = content.spread.poll_offer(now, self.on_offer);
            let has_plenty = content.spread.has_plenty(self.on_offer);
            self.on_offer += content.spread.on_offer();
            match offer {
                Some((agent, span)) => {
                    if let Some(listener) = content.listeners.get(&agent) {
                        // What does not reach an agent is offered to another one soon.
                        let _ = listener.try_send(span);
                    }
                }
                None if has_plenty => return,
                None => drop(self.due.remove(&age)),
            }
            self.turn += 1;
        }
    }

    fn look(&mut self, now: Time) {
        let is_late = |content: &Content| content.spread.poll_timeout().is_some_and(|due| due <= now);
        let late = self.contents.iter().filter(|(_, content)| is_late(content)).map(|(age, _)| *age);
        let late: Vec<Age> = late.collect();
        for age in late {
            self.change(age, |content| content.spread.handle_timeout(now));
        }
    }

    /// An agent no longer listens; nobody doing so, a content is forgotten.
    fn leave(&mut self, age: Age, node: &NodeId, number: PeerId) {
        let is_left = self.change(age, |content| {
            content.leave(number);
            if content.numbers.get(node) == Some(&number) {
                content.numbers.remove(node);
            }
            content.listeners.is_empty()
        });
        if is_left == Some(true)
            && let Some(content) = self.contents.remove(&age)
        {
            self.on_offer -= content.spread.on_offer();
            self.due.remove(&age);
            self.ages.remove(&content.digest);
        }
    }
}

impl Content {
    fn new(digest: &Digest, manifest: &Manifest) -> Self {
        let lengths: Vec<u32> = manifest.pieces.iter().map(|piece| piece.len).collect();
        // One piece to each of some agents, until it is known how fast the way out is.
        let settings = SpreadSettings { open_bytes: 0, span_bytes: 0, ..SpreadSettings::default() };
        Self {
            digest: *digest,
            spread: Spread::new(settings, lengths),
            listeners: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: 0,
        }
    }

    fn join(&mut self, node: &NodeId, offer: mpsc::Sender<Span>) -> PeerId {
        let number = PeerId(self.next);
        self.next += 1;
        if let Some(before) = self.numbers.insert(node.clone(), number) {
            self.leave(before);
        }
        self.listeners.insert(number, offer);
        self.spread.joined(number);
        number
    }

    fn leave(&mut self, number: PeerId) {
        self.listeners.remove(&number);
        self.spread.left(number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.spreads.state();
        state.leave(self.age, &self.node, self.number);
        state.offer(self.spreads.now());
    }
}

#[cfg(test)]
mod tests {
    use rdcq_env::SimDisk;
    use rdcq_wire::{Piece, PieceTable};

    use super::*;

    const PIECE: u32 = 1000;

    fn spreads() -> Spreads {
        Spreads::new(Env::simulated(1, SimDisk::new()))
    }

    /// A content of so many pieces.
    fn content(name: u8, pieces: usize) -> (Digest, Manifest) {
        let digest = Digest::of(&[name]);
        let pieces = vec![Piece { len: PIECE, hash: Digest::of(b"") }; pieces];
        (digest, Manifest::of_file(digest, PieceTable::new(pieces).unwrap()))
    }

    fn node(number: u8) -> NodeId {
        NodeId::try_from(format!("agent-{number}")).unwrap()
    }

    fn seats(spreads: &Spreads, (digest, manifest): &(Digest, Manifest), agents: u8) -> Vec<Seat> {
        (0..agents).map(|agent| spreads.join(digest, manifest, &node(agent))).collect()
    }

    fn offered(seats: &mut [Seat]) -> Vec<Option<Span>> {
        seats.iter_mut().map(|seat| seat.offers.try_recv().ok()).collect()
    }

    /// An agent asks for what it was offered, and gets it.
    fn take(spreads: &Spreads, (digest, _): &(Digest, Manifest), agent: u8, span: Span) {
        assert_eq!(spreads.asked(digest, &node(agent), span), Some(Asked::Offered));
        spreads.ended(digest, &node(agent), span, ReplyEnd::Arrived);
    }

    #[tokio::test(start_paused = true)]
    async fn contents_share_what_is_on_offer_in_turn() {
        let spreads = spreads();
        let [old, young] = [content(1, 12), content(2, 12)];
        let mut first = seats(&spreads, &old, 10);
        let mut second = seats(&spreads, &young, 10);
        let most = SpreadSettings::default().open_spans;
        assert_eq!(offered(&mut first).iter().flatten().count(), most);
        assert_eq!(offered(&mut second).iter().flatten().count(), 0, "the way out has enough to do");
        (0..8).for_each(|agent| take(&spreads, &old, agent, Span::new(agent.into(), 1)));
        let last = offered(&mut first);
        assert_eq!(last.iter().flatten().count(), 4, "{last:?}");
        assert_eq!(offered(&mut second).iter().flatten().count(), most - 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_content_leaves_a_short_one_its_turn() {
        let spreads = spreads();
        let [old, young] = [content(1, 1000), content(2, 1)];
        let mut first = seats(&spreads, &old, 10);
        let mut second = seats(&spreads, &young, 2);
        let (mut sent, mut told) = (0, Vec::new());
        while told.is_empty() {
            assert!(sent < 20, "the other has its turn");
            for (agent, span) in offered(&mut first).into_iter().enumerate() {
                let Some(span) = span else { continue };
                take(&spreads, &old, agent as u8, span);
                sent += 1;
            }
            told = offered(&mut second).into_iter().flatten().collect();
        }
        assert_eq!(told, [Span::new(0, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_offered_in_vain_leaves_room_for_others() {
        let spreads = spreads();
        let [old, young] = [content(1, 8), content(2, 1)];
        let mut first = seats(&spreads, &old, 8);
        let mut second = seats(&spreads, &young, 1);
        assert_eq!(offered(&mut second), [None]);
        drop(first.split_off(4));
        // What those were offered who left goes to nobody who has an offer.
        assert_eq!(offered(&mut second), [Some(Span::new(0, 1))]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(offered(&mut first).iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_listens_to_any_more_is_forgotten() {
        let spreads = spreads();
        let content = content(1, 4);
        for _ in 0..3 {
            let mut seats = seats(&spreads, &content, 3);
            assert_eq!(offered(&mut seats).iter().flatten().count(), 3);
            assert!(spreads.state().is_looked_after);
            drop(seats);
            {
                let state = spreads.state();
                assert!(state.contents.is_empty() && state.ages.is_empty() && state.due.is_empty());
                assert_eq!(state.on_offer, OnOffer::default());
            }
            assert_eq!(spreads.asked(&content.0, &node(1), Span::new(0, 1)), None);
            spreads.ended(&content.0, &node(1), Span::new(0, 1), ReplyEnd::Lost);
            tokio::time::sleep(2 * LOOK_EVERY).await;
            assert!(!spreads.state().is_looked_after);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_watches_of_one_agent_the_later_one_counts() {
        let spreads = spreads();
        let (digest, manifest) = content(1, 2);
        let mut early = spreads.join(&digest, &manifest, &node(1));
        assert_eq!(early.offers.try_recv(), Ok(Span::new(0, 1)));
        let mut late = spreads.join(&digest, &manifest, &node(1));
        assert_eq!(early.offers.try_recv(), Err(mpsc::error::TryRecvError::Disconnected));
        assert!(late.offers.try_recv().is_ok());
        drop(early);
        assert!(spreads.asked(&digest, &node(1), Span::new(0, 1)).is_some(), "it listens");
    }
}
