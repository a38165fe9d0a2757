//! The catalogue on a disk: fjall, written by one task that commits whatever has gathered.

use std::fmt::Display;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdcq_env::Env;
use rdcq_env::disk::create_dir_durable;
use rdcq_wire::HerdId;
use tokio::sync::{mpsc, oneshot};

use super::{Batch, Catalogue, CatalogueError, Entry, in_scan};
use crate::stamp::Stamp;

/// Commits that wait while another one syncs; whoever comes later waits to be let in.
const QUEUE: usize = 1024;

/// Batches that share one sync at most, so that one journal entry stays of moderate size.
const MAX_GROUP: usize = 256;

/// The one keyspace. Prefixes of keys tell the users apart.
const KEYSPACE: &str = "catalogue";

/// A catalogue in a folder of its own. Dropping all clones closes it.
#[derive(Clone)]
pub struct FjallCatalogue {
    entries: Keyspace,
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<(), CatalogueError>>,
}

impl FjallCatalogue {
    const FORMAT: u16 = 2;

    /// Opens the catalogue in the folder `path`, or creates it there.
    pub async fn open(env: &Env, path: PathBuf, herd: &HerdId) -> Result<Self, CatalogueError> {
        let stamp = Stamp { magic: *b"rdcq-cat", format: Self::FORMAT, herd: herd.clone() };
        let disk = Arc::clone(env.disk());
        let opened = env.blocking(move || {
            let shown = path.display().to_string();
            let failed = |reason: &dyn Display| CatalogueError::Open {
                path: shown.clone(),
                reason: reason.to_string().into(),
            };
            create_dir_durable(&*disk, &path).map_err(|error| failed(&error))?;
            stamp
                .claim(&*disk, &path.join("FORMAT"))
                .map_err(|error| CatalogueError::Stamp(Arc::new(error)))?;
            let database = Database::builder(path.join("fjall")).open().map_err(|error| match error {
                ::fjall::Error::Locked => CatalogueError::InUse { path: shown.clone() },
                error => failed(&error),
            })?;
            let entries = database
                .keyspace(KEYSPACE, KeyspaceCreateOptions::default)
                .map_err(|error| failed(&error))?;
            disk.sync_dir(&path).map_err(|error| failed(&error))?;
            Ok((database, entries))
        });
        let (database, entries) = opened.await?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = Writer { env: env.clone(), database, entries: entries.clone(), failed: None };
        env.spawn(writer.run(waiting));
        Ok(Self { entries, queue })
    }
}

impl Catalogue for FjallCatalogue {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogueError> {
        Ok(self.entries.get(key).map_err(|error| unreadable(&error))?.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, CatalogueError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut found = Vec::new();
        for entry in self.entries.range::<&[u8], _>((from, Bound::Unbounded)).take(limit) {
            let (key, value) = entry.into_inner().map_err(|error| unreadable(&error))?;
            if !in_scan(&key, prefix, after) {
                break;
            }
            found.push((key.to_vec(), value.to_vec()));
        }
        Ok(found)
    }

    fn is_empty(&self) -> Result<bool, CatalogueError> {
        self.entries.is_empty().map_err(|error| unreadable(&error))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CatalogueError>> {
        async move {
            batch.check()?;
            if batch.is_empty() {
                return Ok(());
            }
            let ended = || CatalogueError::Poisoned("its writer has ended".into());
            let (answer, answered) = oneshot::channel();
            self.queue.send(Waiting { batch, answer }).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        }
        .boxed()
    }
}

fn unreadable(error: &::fjall::Error) -> CatalogueError {
    CatalogueError::Read(error.to_string().into())
}

/// The only one who writes.
struct Writer {
    env: Env,
    database: Database,
    entries: Keyspace,
    failed: Option<CatalogueError>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut group = Vec::new();
        while waiting.recv_many(&mut group, MAX_GROUP).await > 0 {
            let (batches, answers): (Vec<_>, Vec<_>) =
                group.drain(..).map(|waiting| (waiting.batch, waiting.answer)).unzip();
            let outcome = self.commit(batches).await;
            for answer in answers {
                // Whoever no longer waits for the answer does not need it.
                let _ = answer.send(outcome.clone());
            }
        }
    }

    /// Commits all batches with one sync. After a failure nothing is tried again.
    async fn commit(&mut self, batches: Vec<Batch>) -> Result<(), CatalogueError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let mut commit = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, value) in last_words(batches) {
            match value {
                Some(value) => commit.insert(&self.entries, key, value),
                None => commit.remove(&self.entries, key),
            }
        }
        let outcome = self.env.blocking(move || commit.commit()).await;
        outcome.map_err(|error| {
            let failed = CatalogueError::Poisoned(error.to_string().into());
            self.failed = Some(failed.clone());
            failed
        })
    }
}

/// What each key ends up as. All entries of a fjall batch share one sequence number, so a key may be in it only once.
fn last_words(batches: Vec<Batch>) -> std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let changes = batches.into_iter().flat_map(|Batch { put, delete }| {
        let deleted = delete.into_iter().map(|key| (key, None));
        deleted.chain(put.into_iter().map(|(key, value)| (key, Some(value))))
    });
    changes.collect()
}
