//! Tags: the history of every name.
//!
//! The truth is the hash-chained log, a record an entry; the catalogue is its index, rebuilt from the log when it lags
//! behind. Keys in the catalogue:
//!
//! | key | value |
//! |---|---|
//! | `r` key `\0` sequence (8 bytes, big-endian) | the record |
//! | `v` key `\0` version | sequence of the version's newest record |
//! | `d` digest, key `\0` sequence | nothing; there while that record is live |
//! | `f` file name `\0` key | nothing; there once a record of that key was of a file with that name |
//! | `h` key | the key's highest sequence |
//! | `n` | how many log entries the catalogue has taken in |
//!
//! Keys and file names have no control character, so the zero byte ends them.

mod index;
mod writer;

use std::path::Path;
use std::sync::Arc;

use rdcq_env::Env;
use rdcq_store::{Catalogue, CatalogueError, LogError};
use rdcq_wire::message::{Cursor, Fresh, PutTag, Selection};
use rdcq_wire::{Digest, HerdId, NodeId, Record, TagQuery};
use tokio::sync::{mpsc, oneshot};

use self::index::Index;
use self::writer::{Order, Writer};

/// The tags of a herd: reads go to the catalogue, writes to the one task that makes them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tags {
    index: Index,
    orders: mpsc::Sender<Order>,
}

/// Writes that may wait for the writer; whoever has more waits with them.
const QUEUE: usize = 1024;

impl Tags {
    pub(crate) async fn open(
        env: &Env,
        data_dir: &Path,
        herd: &HerdId,
        catalogue: Arc<dyn Catalogue>,
    ) -> Result<Self, TagsError> {
        let index = Index::new(catalogue);
        let (log, entries) = writer::open_log(env, &data_dir.join("tags.log"), herd).await?;
        index.catch_up(&entries).await?;
        let (orders, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(env.clone(), log, index.clone());
        env.spawn(writer.run(queue));
        Ok(Self { index, orders })
    }

    /// The live record that a query leads to.
    pub(crate) fn resolve(&self, query: &TagQuery) -> Result<Option<Record>, TagsError> {
        self.index.resolve(query)
    }

    /// Records in their order, from after `after` on, until `take` says no.
    pub(crate) fn list(
        &self,
        what: &Selection,
        after: Option<&Cursor>,
        take: &mut dyn FnMut(&Record) -> Taken,
    ) -> Result<Option<Cursor>, TagsError> {
        self.index.list(what, after, take)
    }

    /// Whether a live version names the digest. A writer that stopped may have written to the log what the index does
    /// not know, so nobody hears then that anything has no name.
    pub(crate) fn is_live(&self, digest: &Digest) -> Result<bool, TagsError> {
        if self.orders.is_closed() {
            return Err(TagsError::Stopped);
        }
        self.index.is_live(digest)
    }

    /// Writes the record of a push, unless the version stands already.
    pub(crate) async fn put(&self, put: PutTag) -> Result<(Record, Fresh), TagsError> {
        self.order(|answer| Order::Put(put, answer)).await
    }

    /// Writes the tombstone of a version.
    pub(crate) async fn remove(&self, query: TagQuery, by: NodeId) -> Result<Record, TagsError> {
        self.order(|answer| Order::Remove(query, by, answer)).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, TagsError>>) -> Order,
    ) -> Result<T, TagsError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| TagsError::Stopped)?;
        answered.await.map_err(|_| TagsError::Stopped)?
    }
}

/// Whether a listing has room for more.
pub(crate) enum Taken {
    Yes,
    Full,
}

/// What can go wrong with tags.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TagsError {
    #[error("there is no {0}; `rdcq ls` shows what there is")]
    NotFound(TagQuery),
    #[error("{tag} stands with other content, {standing}; push another version, or remove this one first")]
    Conflict { tag: String, standing: Digest },
    #[error("{key} is a tag of {owner}, and {other} may not name content by it")]
    OtherHost { key: String, owner: NodeId, other: NodeId },
    #[error(transparent)]
    Catalogue(#[from] Arc<CatalogueError>),
    #[error(transparent)]
    Log(#[from] Arc<LogError>),
    #[error(
        "the catalogue holds a malformed entry under {0:?}; delete the catalogue's folder, the log rebuilds it"
    )]
    Malformed(String),
    #[error("the log holds {log} entries and the catalogue has taken in {catalogue}: the log was cut")]
    LogBehind { log: u64, catalogue: u64 },
    #[error("the tag writer stopped after a failed write; restart the build-index")]
    Stopped,
}

impl From<CatalogueError> for TagsError {
    fn from(error: CatalogueError) -> Self {
        Self::Catalogue(Arc::new(error))
    }
}

impl From<LogError> for TagsError {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

#[cfg(test)]
mod tests;
