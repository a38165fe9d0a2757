//! A pull: the agent brings the content to this host, the caller delivers it with their own rights.

mod deliver;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::try_join;
use rdcq_env::watch;
use rdcq_transport::CallError;
use rdcq_wire::message::{
    Found, Progress, Pull as PullRequest, Pulled as PulledReply, Release, Sources, Verified,
};
use rdcq_wire::{ErrorCode, Kind, Record, Role, TagQuery};
use tokio::sync::Mutex;

use self::deliver::{Destination, Draft, Early, News, Published};
use crate::flag::Flag;
use crate::{FileName, OperationError, Session, ask, retry};

/// What to pull, and where to.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Which tag.
    pub query: TagQuery,
    /// The file to write, or a folder to write it into under the name that its record gives.
    pub target: PathBuf,
    /// How long to go on trying while the herd cannot be reached.
    pub patience: Duration,
    /// What becomes of a file that has the target's name already.
    pub existing: Existing,
    /// The flag file that is written once the target is there, if one is.
    pub flag: Option<Flag>,
}

impl Pull {
    /// A pull that replaces what has the target's name, and writes no flag file.
    pub const fn new(query: TagQuery, target: PathBuf, patience: Duration) -> Self {
        Self { query, target, patience, existing: Existing::Replaced, flag: None }
    }
}

/// What becomes of a file that has the target's name already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced, in one step.
    Replaced,
    /// It is left, and the new one gets another name in the same folder.
    Left {
        /// Which; none for the target's with the first number after it that makes it free: `NAME.1`, `NAME.2`.
        name: Option<FileName>,
    },
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
    /// The flag file that was written beside it.
    pub flag: Option<PathBuf>,
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

/// Pulls a tag. The target appears whole, with the permissions and the time of the file that was pushed, or not at all; interrupted, the same pull goes on where it stopped.
///
/// Bytes are written as they come ([`Early`]); the file gets its name once the agent says that all are there.
pub async fn pull(
    session: &Session,
    pull: &Pull,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<Pulled, OperationError> {
    let destination = Destination::check(session, pull).await?;
    let fetched = AtomicU64::new(0);
    let follow = |step: PullProgress| {
        if let PullProgress::Fetching { done, .. } = step {
            fetched.store(done, Relaxed);
        }
        progress(step);
    };
    let early = Mutex::new(Early::new(session, &destination));
    let (reply, draft) = retry::until(
        &session.env,
        pull.patience,
        || fetched.load(Relaxed),
        || async {
            // One attempt at a time.
            let mut early = early.lock().await;
            let (told, news) = watch::channel(None);
            let fetching = fetch(session, &pull.query, told, &follow);
            let (reply, ()) = try_join(fetching, early.follow(news)).await?;
            let draft = match early.take(&reply.record) {
                Some(draft) => draft,
                None => {
                    let manifest = ask::manifest(session, &reply.record).await?;
                    let target = destination.target_of(session, &reply.record).await?;
                    Draft::create(session, &target, manifest).await?
                }
            };
            Ok((reply, draft))
        },
    )
    .await?;
    let delivering = draft.deliver(session, &destination, &reply.record.attributes, pull.patience, progress);
    let (Published { target, flag }, delivered) = delivering.await?;
    release(session, &reply.record).await;
    let fetched_in = Duration::from_millis(reply.elapsed_ms);
    Ok(Pulled { record: reply.record, target, flag, sources: reply.sources, fetched_in, delivered })
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
    let reply = fetch(session, query, watch::Sender::new(None), &|_| ()).await?;
    Ok((reply.record, reply.sources))
}

/// Has the agent bring the content, and passes on what it tells meanwhile.
async fn fetch(
    session: &Session,
    query: &TagQuery,
    told: watch::Sender<Option<News>>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<PulledReply, OperationError> {
    let failed = |error: CallError| OperationError::of_call("agent", error);
    let addr = session.addr(Role::Agent)?;
    let deadline = session.env.now() + Session::PATIENCE;
    let connection = session.pool.get(addr, Role::Agent, deadline).await.map_err(failed)?;
    let request = PullRequest { query: query.clone() };
    let mut exchange = connection.exchange(session.scope(FETCH_PATIENCE), &request).await.map_err(failed)?;
    let mut news = None;
    while let Some(frame) = exchange.next().await.map_err(failed)? {
        match frame.kind() {
            Kind::Pulled => return frame.decode().map_err(failed),
            Kind::Found => {
                let Found { record } = frame.decode().map_err(failed)?;
                news = News::of(record);
            }
            Kind::Verified => {
                let Verified { spans } = frame.decode().map_err(failed)?;
                if let Some(news) = &mut news {
                    news.add(&spans);
                    told.send_replace(Some(news.clone()));
                }
            }
            _ => {
                let Progress { done, size } = frame.decode().map_err(failed)?;
                progress(PullProgress::Fetching { done, size });
            }
        }
    }
    Err(OperationError::new(ErrorCode::Unavailable, "the agent ended the pull without an answer; pull again"))
}
