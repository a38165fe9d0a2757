//! A small ordered map from bytes to bytes whose commits are durable.

mod fjall;
mod memory;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::fjall::FjallCatalogue;
pub use self::memory::MemoryCatalogue;
use crate::StampError;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Longest key, in bytes: a tag with room for prefixes.
pub const MAX_KEY_BYTES: usize = 8 * 1024;

/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// An ordered map with atomic, durable commits. Whoever uses it must be able to rebuild what is theirs in it.
pub trait Catalogue: Send + Sync + 'static {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogueError>;

    /// Up to `limit` entries whose keys begin with `prefix` and come after `after`, in order.
    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, CatalogueError>;

    /// Whether there is no entry at all, as after a loss: time to rebuild.
    fn is_empty(&self) -> Result<bool, CatalogueError>;

    /// Makes all changes or none, and resolves when they are durable. A future dropped before that leaves open which.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CatalogueError>>;
}

/// Changes made together: first the removals, then the insertions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Entries to insert or replace.
    pub put: Vec<Entry>,
    /// Keys to remove.
    pub delete: Vec<Vec<u8>>,
}

impl Batch {
    /// The batch with one more entry.
    pub fn with_put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.put.push((key.into(), value.into()));
        self
    }

    /// The batch with one more key to remove.
    pub fn with_delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.delete.push(key.into());
        self
    }

    /// Whether the batch changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    fn check(&self) -> Result<(), CatalogueError> {
        let keys = self.delete.iter().chain(self.put.iter().map(|(key, _)| key));
        if let Some(key) = keys.into_iter().find(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
            return Err(CatalogueError::KeyLength(key.len()));
        }
        match self.put.iter().find(|(_, value)| value.len() > MAX_VALUE_BYTES) {
            Some((_, value)) => Err(CatalogueError::ValueLength(value.len())),
            None => Ok(()),
        }
    }
}

/// The catalogue did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogueError {
    /// The folder is not ours.
    #[error(transparent)]
    Stamp(Arc<StampError>),
    /// The database could not be opened.
    #[error(
        "cannot open the catalogue in {path}: {reason}; if it is damaged, move it away: it is rebuilt at the next start"
    )]
    Open {
        /// The database's folder.
        path: String,
        /// What the database said.
        reason: Arc<str>,
    },
    /// Another process has the database open.
    #[error(
        "the catalogue in {path} is in use by another process; end it first, or give this node a data_dir of its own"
    )]
    InUse {
        /// The database's folder.
        path: String,
    },
    /// The database could not be read.
    #[error("cannot read the catalogue: {0}")]
    Read(Arc<str>),
    /// A commit failed. What is on the disk is unknown until the node is started again.
    #[error("the catalogue takes no more changes after a failed commit ({0}); start the node again")]
    Poisoned(Arc<str>),
    /// A key that no catalogue takes.
    #[error("a key of {0} bytes is outside 1 to {MAX_KEY_BYTES}")]
    KeyLength(usize),
    /// A value that no catalogue takes.
    #[error("a value of {0} bytes is over the maximum of {MAX_VALUE_BYTES}")]
    ValueLength(usize),
}

/// Whether `key` belongs to a scan.
fn in_scan(key: &[u8], prefix: &[u8], after: Option<&[u8]>) -> bool {
    key.starts_with(prefix) && after.is_none_or(|after| key > after)
}
