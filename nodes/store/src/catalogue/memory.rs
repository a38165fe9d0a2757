//! The catalogue of simulations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Batch, Catalogue, CatalogueError, Entry, in_scan};

/// A catalogue in memory. Clones share it, so one kept aside survives a simulated crash as committed entries do.
#[derive(Debug, Clone, Default)]
pub struct MemoryCatalogue(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl MemoryCatalogue {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Catalogue for MemoryCatalogue {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogueError> {
        Ok(self.entries().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, CatalogueError> {
        let entries = self.entries();
        let from = Bound::Included(after.map_or(prefix, |after| after.max(prefix)));
        let found = entries.range::<[u8], _>((from, Bound::Unbounded));
        let found = found
            .skip_while(|(key, _)| after == Some(key))
            .take_while(|(key, _)| in_scan(key, prefix, after));
        Ok(found.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn is_empty(&self) -> Result<bool, CatalogueError> {
        Ok(self.entries().is_empty())
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CatalogueError>> {
        async move {
            batch.check()?;
            let mut entries = self.entries();
            for key in batch.delete {
                entries.remove(&key);
            }
            entries.extend(batch.put);
            Ok(())
        }
        .boxed()
    }
}
