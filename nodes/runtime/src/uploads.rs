//! What a node sends to others at once, what waits for that, and whom it sends away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_swarm::{Claim, Ended, Ticket, Time, Turn, Upload, UploadSettings};
use rdcq_transport::{IncomingCall, ReplyEnd};
use rdcq_wire::message::Failure;
use rdcq_wire::{ErrorCode, NodeId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::content::Wanted;

/// How often what waits looks whether somebody holds it up who takes nothing.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The uploads of one role to agents, all contents together: they share its way out.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    env: Env,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    uploads: rdcq_swarm::Uploads<NodeId>,
    /// Those who wait, to be told when it is their turn.
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
}

/// A reply that was counted, until it has arrived.
#[must_use = "dropped, it counts as lost"]
pub(crate) struct UnderWay {
    uploads: Uploads,
    to: NodeId,
    bytes: u64,
    ended: Ended,
}

/// A request that waits. Dropped, it does no longer.
struct Waiting {
    uploads: Uploads,
    ticket: Ticket,
    to: NodeId,
    bytes: u64,
    is_over: bool,
}

impl Uploads {
    /// Nothing is under way.
    pub fn new(env: Env) -> Self {
        let started = env.now();
        let uploads = rdcq_swarm::Uploads::new(UploadSettings::default());
        let state = Mutex::new(State { uploads, waiting: BTreeMap::new() });
        Self(Arc::new(Inner { env, started, state }))
    }

    /// Waits until it is an agent's turn and counts what it asks for as under way, or says when to come back.
    pub(crate) async fn admit(
        &self,
        call: &IncomingCall,
        claim: Claim,
        wanted: &Wanted,
    ) -> Result<UnderWay, Failure> {
        let to = call.peer().node.clone();
        let Wanted { bytes, mean, .. } = *wanted;
        // Two contents whose digests begin alike only share their patience.
        let content = wanted.digest.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        let upload = Upload { bytes, content, piece: mean, round_trip: call.round_trip(), claim };
        match self.ask(&to, upload) {
            Ok(None) => {}
            Ok(Some((ticket, turn))) => {
                let waiting =
                    Waiting { uploads: self.clone(), ticket, to: to.clone(), bytes, is_over: false };
                waiting.turn(turn).await;
            }
            Err(retry_after) => return Err(busy(retry_after)),
        }
        Ok(UnderWay { uploads: self.clone(), to, bytes, ended: Ended::Lost })
    }

    /// Bytes a second that agents acknowledge; 0 if that was not measured yet.
    pub(crate) fn rate(&self) -> f64 {
        self.state().uploads.rate()
    }

    fn ask(&self, by: &NodeId, upload: Upload) -> Result<Option<(Ticket, oneshot::Receiver<()>)>, Duration> {
        let mut state = self.state();
        match state.uploads.asked(self.now(), by, upload) {
            Turn::Now => Ok(None),
            Turn::Later(ticket) => {
                let (tell, turn) = oneshot::channel();
                state.waiting.insert(ticket, tell);
                Ok(Some((ticket, turn)))
            }
            Turn::Elsewhere(retry_after) => Err(retry_after),
        }
    }

    /// Tells those whose turn it is.
    fn go_on(&self, mut state: MutexGuard<'_, State>) {
        let now = self.now();
        while let Some(ticket) = state.uploads.poll_begun(now) {
            if let Some(tell) = state.waiting.remove(&ticket) {
                // Who has just given up says so itself.
                let _ = tell.send(());
            }
        }
    }

    fn done(&self, to: &NodeId, bytes: u64, ended: Ended) {
        let mut state = self.state();
        state.uploads.done(self.now(), to, bytes, ended);
        self.go_on(state);
    }

    fn now(&self) -> Time {
        Time(self.0.env.now() - self.0.started)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    async fn turn(mut self, mut turn: oneshot::Receiver<()>) {
        loop {
            tokio::select! {
                biased;
                _ = &mut turn => break,
                () = tokio::time::sleep(LOOK_EVERY) => self.uploads.go_on(self.uploads.state()),
            }
        }
        // It is under way from now on, as what replaces this.
        self.is_over = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.uploads.state();
        if state.waiting.remove(&self.ticket).is_some() {
            state.uploads.abandon(self.ticket);
            self.uploads.go_on(state);
        } else {
            // Its turn had just come.
            drop(state);
            self.uploads.done(&self.to, self.bytes, Ended::Lost);
        }
    }
}

impl UnderWay {
    /// How it ended.
    pub(crate) fn end(mut self, end: ReplyEnd) {
        self.ended = match end {
            ReplyEnd::Arrived => Ended::Arrived,
            ReplyEnd::Lost => Ended::Lost,
        };
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.uploads.done(&self.to, self.bytes, self.ended);
    }
}

fn busy(retry_after: Duration) -> Failure {
    let ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
    let reason = "enough is under way to others; ask another, or come back in a moment";
    Failure { retry_after_ms: ms, ..Failure::new(ErrorCode::Busy, reason) }
}
