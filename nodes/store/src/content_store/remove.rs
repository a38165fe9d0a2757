//! Content goes.

use std::sync::Arc;

use rdcq_wire::Digest;

use super::index::Holding;
use super::partial::Stage;
use super::seal::{remove_if_there, remove_partial};
use super::{Shared, StoreError, record};

/// Removes content, whole or in the making, and returns when it will not come back. Runs in a task that nobody ends
/// half-way.
pub(super) async fn remove(store: Arc<Shared>, digest: Digest) -> Result<(), StoreError> {
    let _turn = store.turn(digest).lock_owned().await;
    // Removing overwrites nothing, and may be what a full disk needs: only the promise is not made any more.
    let promise = store.poison.check();
    let holding = store.holding(&digest);
    // First of all, for after an error nobody knows which files are left. The next start looks.
    if let Some(Holding::Partial(partial)) = &holding {
        let mut stage = partial.stop_writing().await;
        store.forget(&digest);
        partial.end(&mut stage, Stage::Removed);
    } else {
        store.forget(&digest);
    }
    let files = Arc::clone(&store);
    store.env.blocking(move || remove_files(&files, &digest)).await?;
    if !matches!(holding, Some(Holding::Partial(_))) {
        let struck_out = store.catalogue.commit(record::strike_out(&digest)).await;
        struck_out.map_err(|error| store.poison.set(store.layout.root(), &error))?;
    }
    promise
}

/// Removes all files that content may have, for a seal or a removal that failed may have left any of them. The blob goes
/// first: a sidecar alone is a leftover, a blob alone would be taken in again.
fn remove_files(store: &Shared, digest: &Digest) -> Result<(), StoreError> {
    let (disk, layout) = (&**store.env.disk(), &store.layout);
    remove_if_there(disk, &layout.blob(digest))?;
    remove_if_there(disk, &layout.sidecar(digest))?;
    let shard = layout.shard(digest);
    store.synced(&shard, disk.sync_dir(&shard))?;
    // A power loss right after the seal may bring these names back, and with them the content.
    remove_partial(disk, layout, digest)?;
    let folder = layout.partials();
    store.synced(&folder, disk.sync_dir(&folder))
}
