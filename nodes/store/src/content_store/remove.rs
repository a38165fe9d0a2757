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
    store.poison.check()?;
    let files = Arc::clone(&store);
    match store.holding(&digest) {
        None => {}
        Some(Holding::Complete(_)) => {
            store.env.blocking(move || remove_blob(&files, &digest)).await?;
            let struck_out = store.catalogue.commit(record::strike_out(&digest)).await;
            struck_out.map_err(|error| store.poison.set(store.layout.root(), &error))?;
            store.forget(&digest);
        }
        Some(Holding::Partial(partial)) => {
            let mut stage = partial.stop_writing().await;
            store.env.blocking(move || remove_content_in_the_making(&files, &digest)).await?;
            store.forget(&digest);
            partial.end(&mut stage, Stage::Removed);
        }
    }
    Ok(())
}

/// The blob goes first: a sidecar alone is a leftover, a blob alone would be taken in again.
fn remove_blob(store: &Shared, digest: &Digest) -> Result<(), StoreError> {
    let (disk, layout) = (&**store.env.disk(), &store.layout);
    remove_if_there(disk, &layout.blob(digest))?;
    remove_if_there(disk, &layout.sidecar(digest))?;
    let shard = layout.shard(digest);
    store.synced(&shard, disk.sync_dir(&shard))?;
    // A power loss right after the seal may bring these names back, and with them the content.
    remove_content_in_the_making(store, digest)
}

fn remove_content_in_the_making(store: &Shared, digest: &Digest) -> Result<(), StoreError> {
    let (disk, layout) = (&**store.env.disk(), &store.layout);
    remove_partial(disk, layout, digest)?;
    let folder = layout.partials();
    store.synced(&folder, disk.sync_dir(&folder))
}
