//! Content that is whole moves to the blobs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rdcq_env::disk::TEMPORARY_SUFFIX;
use rdcq_env::{Disk, DiskFile, Mode};
use rdcq_wire::{Cutter, Digest, Manifest};

use super::index::Holding;
use super::label::{Kind, Labels};
use super::layout::Layout;
use super::partial::{PartialContent, Stage};
use super::{Shared, StoreError, record};

/// How much is read at once to check a whole content; parts of this size are cut without being copied.
const CHECK_BYTES: u64 = 16 * 1024 * 1024;

/// What a seal trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The manifest, as from a build-index's record: each piece was verified against it when it came.
    Pieces,
    /// Nothing: the content is read back, hashed and cut again.
    Whole,
}

/// Moves whole content to the blobs, and returns when neither a crash nor a power loss takes it away. Runs in a task that
/// nobody ends half-way.
pub(super) async fn seal(store: Arc<Shared>, digest: Digest, check: Check) -> Result<(), StoreError> {
    let _turn = store.turn(digest).lock_owned().await;
    store.poison.check()?;
    let partial = match store.holding(&digest) {
        None => return Err(StoreError::NotHeld(digest)),
        Some(Holding::Complete(_)) => return Ok(()),
        Some(Holding::Partial(partial)) => partial,
    };
    let mut stage = partial.stop_writing().await;
    let have = partial.have();
    if !have.is_full() {
        return Err(StoreError::Incomplete { digest, missing: have.pieces() - have.len() });
    }
    let (mover, moved) = (Arc::clone(&store), Arc::clone(&partial));
    match store.env.blocking(move || move_to_blobs(&mover, &moved, check)).await {
        Err(wrong @ StoreError::WrongContent(_)) => {
            store.forget(&digest);
            partial.end(&mut stage, Stage::Removed);
            return Err(wrong);
        }
        outcome => outcome?,
    }
    let entered = store.catalogue.commit(record::enter(partial.manifest())).await;
    entered.map_err(|error| store.poison.set(store.layout.root(), &error))?;
    store.hold(digest, Holding::Complete(Arc::clone(partial.manifest())));
    partial.end(&mut stage, Stage::Sealed);
    Ok(())
}

/// Bytes first, then the label, then the name: a power loss at any point leaves the partial content or the sealed one.
fn move_to_blobs(store: &Shared, partial: &PartialContent, check: Check) -> Result<(), StoreError> {
    let (disk, layout, digest) = (&**store.env.disk(), &store.layout, partial.digest());
    let path = layout.partial(&digest);
    let io = |source| StoreError::Io { path: path.clone(), source };
    if check == Check::Whole {
        let manifest = &**partial.manifest();
        let found = cut_file(&**partial.file(), manifest.pieces.size()).map_err(io)?;
        if found.as_ref() != Some(manifest) {
            remove_partial(disk, layout, &digest)?;
            return Err(StoreError::WrongContent(digest));
        }
    }
    partial.sync_bytes(store)?;
    write_sidecar(store, partial.manifest())?;
    disk.rename(&path, &layout.blob(&digest)).map_err(io)?;
    let shard = layout.shard(&digest);
    store.synced(&shard, disk.sync_dir(&shard))?;
    if let Err(error) = disk.remove_file(&layout.map(&digest)) {
        tracing::warn!(%digest, %error, "the piece map of sealed content stays until the next start");
    }
    Ok(())
}

/// Writes and syncs the blob's label. Its name becomes durable together with the blob's.
pub(super) fn write_sidecar(store: &Shared, manifest: &Manifest) -> Result<(), StoreError> {
    write_label(&**store.env.disk(), &store.layout, &store.labels, manifest, |path, synced| {
        store.synced(path, synced)
    })
}

/// As [`write_sidecar`], with `check_sync` to judge the sync.
pub(super) fn write_label(
    disk: &dyn Disk,
    layout: &Layout,
    labels: &Labels,
    manifest: &Manifest,
    check_sync: impl FnOnce(&Path, io::Result<()>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let path = layout.sidecar(&manifest.content);
    let temporary = path.with_added_extension(&TEMPORARY_SUFFIX[1..]);
    let label = labels.encode(Kind::Sidecar, manifest);
    let failed = |source| StoreError::write(disk, &path, label.len() as u64, source);
    if disk.exists(&temporary).map_err(failed)? {
        disk.remove_file(&temporary).map_err(failed)?;
    }
    let file = disk.create_new(&temporary, Mode::Private).map_err(failed)?;
    file.write_all_at(&label, 0).map_err(failed)?;
    check_sync(&path, file.sync_all())?;
    disk.rename(&temporary, &path).map_err(failed)
}

/// The manifest of the first `size` bytes of a file, unless they would be too many pieces.
pub(super) fn cut_file(file: &dyn DiskFile, size: u64) -> io::Result<Option<Manifest>> {
    let mut cutter = Cutter::new(size);
    let mut part = vec![0; usize::try_from(size.min(CHECK_BYTES)).expect("CHECK_BYTES fits")];
    let mut offset = 0;
    while offset < size {
        let bytes = usize::try_from((size - offset).min(CHECK_BYTES)).expect("CHECK_BYTES fits");
        file.read_exact_at(&mut part[..bytes], offset)?;
        cutter.update(&part[..bytes]);
        offset += bytes as u64;
    }
    Ok(cutter.finish().ok())
}

/// Removes the two files of content in the making, as far as they are there.
pub(super) fn remove_partial(disk: &dyn Disk, layout: &Layout, digest: &Digest) -> Result<(), StoreError> {
    remove_if_there(disk, &layout.map(digest))?;
    remove_if_there(disk, &layout.partial(digest))
}

pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Io { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}
