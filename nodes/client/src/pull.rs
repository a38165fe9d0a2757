//! A pull: the agent brings the content to this host, the caller delivers it with their own rights.

mod deliver;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rdcq_transport::CallError;
use rdcq_wire::message::{Progress, Pull as PullRequest, Pulled as PulledReply, Release, Sources};
use rdcq_wire::{ErrorCode, Kind, Record, Role, TagQuery};

use crate::{OperationError, Session, ask, retry};

/// What to pull, and where to.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Which tag.
    pub query: TagQuery,
    /// The file to write, or a folder to write it into under the name that its record gives.
    pub target: PathBuf,
    /// How long to go on trying while the herd cannot be reached.
    pub patience: Duration,
}

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullProgress {
    /// Verified bytes on this host, of all.
    Fetching {
        /// Bytes verified.
        done: u64,
        /// Bytes in all.
        size: u64,
    },
    /// Bytes written to the target, of all.
    Delivering {
        /// Bytes written.
        done: u64,
        /// Bytes in all.
        size: u64,
    },
}

/// How a pull went.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What was pulled.
    pub record: Record,
    /// The file that was written.
    pub target: PathBuf,
    /// Where the bytes came from.
    pub sources: Sources,
    /// From the request to the last verified byte on this host.
    pub fetched_in: Duration,
    /// How they came from the agent to the file.
    pub delivered: Delivered,
}

/// On which way bytes came from the agent to the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Read from the agent's own file, which it lent.
    pub lent: u64,
    /// Sent by the agent over QUIC.
    pub sent: u64,
}

/// How long a whole pull may take before the agent is asked again.
const FETCH_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Pulls a tag. The target appears whole or not at all; interrupted, the same pull goes on where it stopped.
pub async fn pull(
    session: &Session,
    pull: &Pull,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<Pulled, OperationError> {
    let folder = deliver::Folder::check(session, &pull.target).await?;
    let fetched = AtomicU64::new(0);
    let follow = |step: PullProgress| {
        if let PullProgress::Fetching { done, .. } = step {
            fetched.store(done, Relaxed);
        }
        progress(step);
    };
    let (reply, manifest) = retry::until(
        &session.env,
        pull.patience,
        || fetched.load(Relaxed),
        || async {
            let reply = fetch(session, &pull.query, &follow).await?;
            let manifest = ask::manifest(session, &reply.record).await?;
            Ok((reply, manifest))
        },
    )
    .await?;
    let target = folder.target_of(&reply.record)?;
    let delivered =
        deliver::deliver(session, &reply.record, &manifest, &target, pull.patience, progress).await?;
    release(session, &reply.record).await;
    let fetched_in = Duration::from_millis(reply.elapsed_ms);
    Ok(Pulled { record: reply.record, target, sources: reply.sources, fetched_in, delivered })
}

/// Lets the agent drop the content when its time comes. If that fails the pin's lease ends it, later.
async fn release(session: &Session, record: &Record) {
    let release = Release { push: session.trace, digest: record.digest };
    if let Err(error) = session.ask(Role::Agent, Session::PATIENCE, &release, Vec::new()).await {
        tracing::debug!(%error, "a pin is left to its lease");
    }
}

/// Has the agent bring the content to this host and delivers nothing: for warming a host's store ahead of time.
pub async fn fetch_only(session: &Session, query: &TagQuery) -> Result<(Record, Sources), OperationError> {
    let reply = fetch(session, query, &|_| ()).await?;
    Ok((reply.record, reply.sources))
}

/// Has the agent bring the content, and follows it.
async fn fetch(
    session: &Session,
    query: &TagQuery,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<PulledReply, OperationError> {
    let failed = |error: CallError| OperationError::of_call("agent", error);
    let addr = session.addr(Role::Agent)?;
    let deadline = session.env.now() + Session::PATIENCE;
    let connection = session.pool.get(addr, Role::Agent, deadline).await.map_err(failed)?;
    let request = PullRequest { query: query.clone() };
    let mut exchange = connection.exchange(session.scope(FETCH_PATIENCE), &request).await.map_err(failed)?;
    while let Some(frame) = exchange.next().await.map_err(failed)? {
        if frame.kind() == Kind::Pulled {
            return frame.decode().map_err(failed);
        }
        let Progress { done, size } = frame.decode().map_err(failed)?;
        progress(PullProgress::Fetching { done, size });
    }
    Err(OperationError::new(ErrorCode::Unavailable, "the agent ended the pull without an answer; pull again"))
}
