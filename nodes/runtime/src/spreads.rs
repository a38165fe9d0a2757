//! An origin's offers: which agent it wants to be asked by for which pieces, so that little more than one copy leaves it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_swarm::{PeerId, Spread, SpreadSettings, Time};
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

/// What an origin spreads: the contents that agents listen to.
#[derive(Clone)]
pub(crate) struct Spreads {
    env: Env,
    contents: Arc<Mutex<BTreeMap<Digest, Weak<Content>>>>,
}

/// One content that is spread, as long as an agent listens.
pub(crate) struct Content {
    env: Env,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    spread: Spread,
    listeners: BTreeMap<PeerId, mpsc::Sender<Span>>,
    /// The number of each agent that listens; of two watches of one agent the later one counts.
    numbers: BTreeMap<NodeId, PeerId>,
    next: u32,
}

/// An agent that listens. Dropped, it does no longer.
pub(crate) struct Seat {
    content: Arc<Content>,
    node: NodeId,
    number: PeerId,
    /// What it is offered.
    pub(crate) offers: mpsc::Receiver<Span>,
}

/// Whether what an agent asks for is what it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Offered,
    Otherwise,
    /// It does not listen: it fetches with nobody, and has nobody else to ask.
    Alone,
}

impl Spreads {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, contents: Arc::default() }
    }

    /// An agent listens to what of a content it is offered.
    pub(crate) fn join(&self, digest: &Digest, manifest: &Manifest, node: &NodeId) -> Seat {
        let content = self.content(digest, manifest);
        let (offer, offers) = mpsc::channel(UNREAD_OFFERS);
        let number = content.state().join(node, offer);
        content.offer();
        Seat { content, node: node.clone(), number, offers }
    }

    /// The content that agents listen to.
    pub(crate) fn of(&self, digest: &Digest) -> Option<Arc<Content>> {
        self.contents().get(digest).and_then(Weak::upgrade)
    }

    fn content(&self, digest: &Digest, manifest: &Manifest) -> Arc<Content> {
        let mut contents = self.contents();
        contents.retain(|_, content| content.strong_count() > 0);
        if let Some(content) = contents.get(digest).and_then(Weak::upgrade) {
            return content;
        }
        let content = Arc::new(Content::new(&self.env, manifest));
        contents.insert(*digest, Arc::downgrade(&content));
        let (weak, env) = (Arc::downgrade(&content), self.env.clone());
        // Ends with the last seat.
        drop(env.spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(content) = weak.upgrade() else { return };
                content.look();
            }
        }));
        content
    }

    fn contents(&self) -> MutexGuard<'_, BTreeMap<Digest, Weak<Content>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn new(env: &Env, manifest: &Manifest) -> Self {
        let lengths: Vec<u32> = manifest.pieces.iter().map(|piece| piece.len).collect();
        // One piece to each of some agents, until it is known how fast the way out is.
        let settings = SpreadSettings { open_bytes: 0, span_bytes: 0, ..SpreadSettings::default() };
        let state = State {
            spread: Spread::new(settings, lengths),
            listeners: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: 0,
        };
        Self { env: env.clone(), started: env.now(), state: Mutex::new(state) }
    }

    /// An agent asks for a span.
    pub(crate) fn asked(&self, node: &NodeId, span: Span) -> Asked {
        let mut state = self.state();
        let Some(number) = state.numbers.get(node).copied() else { return Asked::Alone };
        if state.spread.asked(number, span) { Asked::Offered } else { Asked::Otherwise }
    }

    /// An agent has pieces from elsewhere, or will.
    pub(crate) fn declined(&self, node: &NodeId, spans: &[Span]) {
        let mut state = self.state();
        // Who does not listen was not offered anything.
        let Some(number) = state.numbers.get(node).copied() else { return };
        state.spread.declined(number, spans);
        drop(state);
        self.offer();
    }

    /// What an agent has asked for will be sent, by a way out of such a rate over which so much time passes until it is known to
    /// have arrived.
    pub(crate) fn accepted(&self, asked: Asked, span: Span, rate: f64, delay: Duration) {
        let mut state = self.state();
        if rate > 0.0 {
            state.spread.pace(rate, delay);
        }
        if asked == Asked::Otherwise {
            state.spread.accepted(span);
        }
    }

    /// What was sent to an agent has arrived, or will not.
    pub(crate) fn ended(&self, node: &NodeId, span: Span, end: ReplyEnd) {
        let mut state = self.state();
        let number = state.numbers.get(node).copied().unwrap_or(NOBODY);
        match end {
            ReplyEnd::Arrived => span.range().for_each(|piece| state.spread.sent(number, piece)),
            ReplyEnd::Lost => state.spread.cancelled(number, span),
        }
        drop(state);
        self.offer();
    }

    /// Passes on what there is to offer.
    fn offer(&self) {
        let now = self.now();
        let mut state = self.state();
        while let Some((agent, span)) = state.spread.poll_offer(now) {
            if let Some(listener) = state.listeners.get(&agent) {
                // What does not reach an agent is offered to another one soon.
                let _ = listener.try_send(span);
            }
        }
    }

    fn look(&self) {
        self.state().spread.handle_timeout(self.now());
        self.offer();
    }

    fn now(&self) -> Time {
        Time(self.env.now() - self.started)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
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
        let mut state = self.content.state();
        state.leave(self.number);
        if state.numbers.get(&self.node) == Some(&self.number) {
            state.numbers.remove(&self.node);
        }
        drop(state);
        self.content.offer();
    }
}
