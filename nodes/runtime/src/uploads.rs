//! What a node sends to others at once, and whom it sends away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_swarm::{Time, Upload, UploadSettings};
use rdcq_transport::IncomingCall;
use rdcq_wire::message::Failure;
use rdcq_wire::{ErrorCode, NodeId};
use tokio::time::Instant;

/// The uploads of one role to agents, all contents together: they share its way out.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    env: Env,
    started: Instant,
    state: Mutex<rdcq_swarm::Uploads<NodeId>>,
}

/// A reply that was counted, until it has arrived.
#[must_use = "dropped, it counts as arrived"]
pub(crate) struct UnderWay {
    uploads: Uploads,
    to: NodeId,
    bytes: u64,
}

impl Uploads {
    /// Nothing is under way.
    pub fn new(env: Env) -> Self {
        let started = env.now();
        let state = Mutex::new(rdcq_swarm::Uploads::new(UploadSettings::default()));
        Self(Arc::new(Inner { env, started, state }))
    }

    /// Counts what an agent asks for as under way, or says when to come back.
    pub(crate) fn admit(&self, call: &IncomingCall, bytes: u64, piece: u64) -> Result<UnderWay, Failure> {
        let to = call.peer().node.clone();
        let upload = Upload { bytes, piece, round_trip: call.round_trip() };
        self.state().asked(self.now(), &to, upload).map_err(busy)?;
        Ok(UnderWay { uploads: self.clone(), to, bytes })
    }

    /// Counts what an agent was offered as under way.
    pub(crate) fn begin(&self, call: &IncomingCall, bytes: u64) -> UnderWay {
        let to = call.peer().node.clone();
        self.state().begun(self.now(), &to, bytes);
        UnderWay { uploads: self.clone(), to, bytes }
    }

    /// Bytes a second that agents acknowledge; 0 if that was not measured yet.
    pub(crate) fn rate(&self) -> f64 {
        self.state().rate()
    }

    fn now(&self) -> Time {
        Time(self.0.env.now() - self.0.started)
    }

    fn state(&self) -> MutexGuard<'_, rdcq_swarm::Uploads<NodeId>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.uploads.now();
        self.uploads.state().done(now, &self.to, self.bytes);
    }
}

fn busy(retry_after: Duration) -> Failure {
    let ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
    let reason = "enough is under way to others; ask another, or come back in a moment";
    Failure { retry_after_ms: ms, ..Failure::new(ErrorCode::Busy, reason) }
}
