//! One download a content, however many wait for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rdcq_config::HerdAddresses;
use rdcq_env::{Env, watch};
use rdcq_runtime::{Arrival, Download, DownloadError, Fetched};
use rdcq_store::ContentStore;
use rdcq_transport::{Pool, Scope};
use rdcq_wire::message::{Note, Transfer};
use rdcq_wire::{Class, Digest, NodeId, Record};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::turns::{LONGEST_TURN, Turn, Turns};

/// Arrivals that may wait for a download; more are found by the tracker.
const ARRIVALS: usize = 64;

/// How long others may wait for a manifest that this agent fetches: somebody else may have it by then.
const MANIFEST_WAIT: Duration = Duration::from_secs(3);

/// The downloads under way.
pub(crate) struct Downloads {
    env: Env,
    pool: Pool,
    store: ContentStore,
    trackers: Vec<SocketAddr>,
    origins: Vec<SocketAddr>,
    node: NodeId,
    port: u16,
    turns: Turns,
    active: Mutex<BTreeMap<Digest, Weak<Active>>>,
}

/// A download under way. It ends when nobody waits for it any more; what was verified stays.
pub(crate) struct Active {
    /// Bytes verified, and bytes in all.
    pub(crate) progress: watch::Receiver<(u64, u64)>,
    outcome: watch::Receiver<Option<Result<Fetched, DownloadError>>>,
    arrivals: mpsc::Sender<Arrival>,
    /// What was asked for first, and how much that matters.
    tag: Note,
    class: Class,
    _task: AbortOnDropHandle<()>,
}

impl Active {
    /// Waits for the end.
    pub(crate) async fn outcome(&self, digest: Digest) -> Result<Fetched, DownloadError> {
        let stopped =
            || DownloadError::Stalled { digest, seconds: 0, why: "the agent is stopping".to_owned() };
        let mut outcome = self.outcome.clone();
        outcome.wait_for(Option::is_some).await.ok().flatten().unwrap_or_else(|| Err(stopped()))
    }
}

impl Downloads {
    pub(crate) fn new(
        env: Env,
        pool: Pool,
        store: ContentStore,
        herd: &HerdAddresses,
        node: NodeId,
        port: u16,
    ) -> Self {
        let (trackers, origins) = (herd.trackers.clone(), herd.origins.clone());
        let turns = Turns::new(env.clone());
        Self { env, pool, store, trackers, origins, node, port, turns, active: Mutex::default() }
    }

    /// Joins the download of a record's content, or begins it.
    pub(crate) fn join(&self, record: &Record, scope: Scope) -> Arc<Active> {
        let mut active = self.active();
        active.retain(|_, download| download.strong_count() > 0);
        if let Some(download) = active.get(&record.digest).and_then(Weak::upgrade) {
            self.turns.hasten(scope.class, record.digest);
            return download;
        }
        let download = Arc::new(self.begin(record, scope));
        active.insert(record.digest, Arc::downgrade(&download));
        download
    }

    /// Tells a download of somebody else who seeks the same.
    pub(crate) fn arrived(&self, digest: &Digest, arrival: Arrival) {
        if let Some(download) = self.active().get(digest).and_then(Weak::upgrade) {
            // A full queue loses nothing that the tracker will not say again.
            let _ = download.arrivals.try_send(arrival);
        }
    }

    /// Waits until a download of the content, if there is one, knows its pieces; not long.
    pub(crate) async fn known(&self, digest: &Digest) {
        let download = self.active().get(digest).and_then(Weak::upgrade);
        // Not the download itself, which ends when those for whom it is are gone.
        let progress = download.map(|download| download.progress.clone());
        if let Some(mut progress) = progress {
            // Who has waited in vain hears what the store says.
            let _ = timeout(MANIFEST_WAIT, progress.changed()).await;
        }
    }

    /// What is on its way.
    pub(crate) fn transfers(&self) -> Vec<Transfer> {
        let held = self.active();
        let active = held.iter().filter_map(|(digest, download)| Some((*digest, download.upgrade()?)));
        let active: Vec<_> = active.collect();
        // Not while the last hold on one may go.
        drop(held);
        let under_way = active.iter().filter(|(_, download)| download.outcome.get().is_none());
        let transfer = |(digest, download): &(Digest, Arc<Active>)| {
            let (done, size) = download.progress.get();
            Transfer { tag: download.tag.clone(), digest: *digest, class: download.class, done, size }
        };
        under_way.map(transfer).collect()
    }

    fn begin(&self, record: &Record, scope: Scope) -> Active {
        let download = Download {
            env: self.env.clone(),
            pool: self.pool.clone(),
            store: self.store.clone(),
            digest: record.digest,
            manifest: record.manifest,
            trackers: self.trackers.clone(),
            origins: self.origins.clone(),
            node: self.node.clone(),
            port: self.port,
            trace: scope.trace,
            class: scope.class,
        };
        let (progress_in, progress) = watch::channel((0, record.size));
        let (outcome_in, outcome) = watch::channel(None);
        let (arrivals, arrivals_out) = mpsc::channel(ARRIVALS);
        let (turns, class, digest) = (self.turns.clone(), scope.class, record.digest);
        let is_here = self.store.is_complete(&digest);
        let task = self.env.spawn(async move {
            let download = download.run(arrivals_out, progress_in);
            let outcome = if is_here {
                download.await
            } else {
                let turn = turns.take(class, digest).await;
                in_turn(turn, download).await
            };
            outcome_in.send_replace(Some(outcome));
        });
        let tag = Note::from(format!("{}:{}", record.name.key, record.version));
        let class = scope.class;
        Active { progress, outcome, arrivals, tag, class, _task: AbortOnDropHandle::new(task) }
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<Digest, Weak<Active>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the turn when the download ends, or goes on for long.
async fn in_turn<T>(turn: Turn, download: impl Future<Output = T>) -> T {
    tokio::pin!(download);
    if let Ok(outcome) = timeout(LONGEST_TURN, &mut download).await {
        return outcome;
    }
    drop(turn);
    download.await
}
