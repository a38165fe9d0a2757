//! Content by digest: sealed blobs, and content in the making.
//!
//! [`ContentStore::begin`] makes or resumes content in the making and gives a [`Partial`] to write pieces to;
//! [`ContentStore::seal`] turns it into a blob. What is said to be held was verified piece by piece; what
//! [`ContentStore::seal`] acknowledged survives a power loss. Whoever begins, seals or removes one digest waits for
//! whoever else does; different digests do not wait for one another.

mod buffers;
mod error;
mod index;
mod label;
mod layout;
mod partial;
mod read;
mod record;
mod recovery;
mod remove;
mod seal;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rdcq_env::watch;
use rdcq_env::{DiskFile, Env};
use rdcq_wire::{Digest, HerdId, Manifest, PieceSet, Span};

pub use self::buffers::Buffer;
pub use self::error::StoreError;
pub use self::partial::{Partial, SYNC_WINDOW_BYTES};
pub use self::seal::Check;

use self::buffers::Buffers;
use self::error::Poison;
use self::index::{Holding, Index, Turn};
use self::label::Labels;
use self::layout::Layout;
use self::partial::PartialContent;
use self::recovery::Recovery;
use crate::Catalogue;

/// A node's content. Clones share it.
#[derive(Clone)]
pub struct ContentStore(Arc<Shared>);

/// What a handle and the work it starts have in common.
struct Shared {
    env: Env,
    layout: Layout,
    labels: Labels,
    catalogue: Arc<dyn Catalogue>,
    index: Mutex<Index>,
    poison: Poison,
    buffers: Buffers,
}

/// What there was when content was begun.
pub enum Begun {
    /// All of it, sealed.
    Complete,
    /// Some of it, or nothing yet.
    Partial(Partial),
}

impl ContentStore {
    /// Most bytes of one read.
    pub const MAX_READ_BYTES: u64 = 64 * 1024 * 1024;

    /// Opens the store in the folder `root`, or creates it there. Leftovers of a crash are removed, content in the making
    /// is verified again, and the catalogue is made to say what the blobs say, as far as it takes changes.
    pub async fn open(
        env: Env,
        root: PathBuf,
        herd: HerdId,
        catalogue: Arc<dyn Catalogue>,
    ) -> Result<Self, StoreError> {
        let (layout, labels) = (Layout::new(root), Labels { herd });
        let disk = Arc::clone(env.disk());
        let (places, stamps) = (layout.clone(), labels.clone());
        let recover = move || Recovery { disk: &*disk, layout: &places, labels: &stamps }.run();
        let holdings = env.blocking(recover).await?;
        if let Err(error) = record::reconcile(&*catalogue, &holdings).await {
            // The blobs tell what is held; on a full disk the store must open, if only to remove some.
            tracing::warn!(%error, "the catalogue could not be brought up to date; the next start tries again");
        }
        let index = Mutex::new(Index::new(holdings));
        let (poison, buffers) = (Poison::default(), Buffers::default());
        Ok(Self(Arc::new(Shared { env, layout, labels, catalogue, index, poison, buffers })))
    }

    /// What the content is made of, if any of it is held.
    pub fn manifest(&self, digest: &Digest) -> Option<Arc<Manifest>> {
        Some(Arc::clone(self.0.holding(digest)?.manifest()))
    }

    /// The pieces that are held, or `None` of content that was never begun.
    pub fn have(&self, digest: &Digest) -> Option<PieceSet> {
        Some(match self.0.holding(digest)? {
            Holding::Complete(manifest) => PieceSet::full(manifest.pieces.len()),
            Holding::Partial(partial) => partial.have(),
        })
    }

    /// Whether the content is sealed.
    pub fn is_complete(&self, digest: &Digest) -> bool {
        matches!(self.0.holding(digest), Some(Holding::Complete(_)))
    }

    /// How many pieces are here, whenever that changes; closed once the content is sealed or removed. `None` of content
    /// that was never begun.
    pub fn subscribe(&self, digest: &Digest) -> Option<watch::Receiver<u32>> {
        Some(match self.0.holding(digest)? {
            Holding::Complete(manifest) => watch::channel(manifest.pieces.len()).1,
            Holding::Partial(partial) => partial.subscribe(),
        })
    }

    /// The digests of sealed content, in order.
    pub fn digests(&self) -> Vec<Digest> {
        self.digests_of(|holding| matches!(holding, Holding::Complete(_)))
    }

    /// The digests of content in the making, in order.
    pub fn partial_digests(&self) -> Vec<Digest> {
        self.digests_of(|holding| matches!(holding, Holding::Partial(_)))
    }

    fn digests_of(&self, wanted: impl Fn(&Holding) -> bool) -> Vec<Digest> {
        let index = lock(&self.0.index);
        index.holdings.iter().filter(|(_, holding)| wanted(holding)).map(|(digest, _)| *digest).collect()
    }

    /// Bytes of all content, that in the making at its full size, for its space is claimed.
    pub fn stored_bytes(&self) -> u64 {
        lock(&self.0.index).holdings.values().map(|holding| holding.manifest().pieces.size()).sum()
    }

    /// Makes place for content, or finds what there is of it. Handles of the same digest share one content in the making.
    pub async fn begin(&self, manifest: Arc<Manifest>) -> Result<Begun, StoreError> {
        self.0.env.run_to_end(begin(Arc::clone(&self.0), manifest)).await
    }

    /// Turns content in the making, all of whose pieces are here, into a blob; nothing to do if it is one.
    pub async fn seal(&self, digest: &Digest, check: Check) -> Result<(), StoreError> {
        self.0.env.run_to_end(seal::seal(Arc::clone(&self.0), *digest, check)).await
    }

    /// The bytes of neighbouring pieces, all of which must be held, as buffers of up to a megabyte.
    pub async fn read(&self, digest: &Digest, span: Span) -> Result<Vec<Bytes>, StoreError> {
        read::span(Arc::clone(&self.0), *digest, span).await
    }

    /// The bytes of a range, all of whose pieces must be held, as buffers of up to a megabyte.
    pub async fn read_range(&self, digest: &Digest, range: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
        read::range(Arc::clone(&self.0), *digest, range).await
    }

    /// The content's file, opened anew and for reading alone. Of content in the making it has the pieces that are held at their
    /// places, also those to come, and stays the content's when that is sealed. Whoever has it can read all of it, also after
    /// the content was removed; what they read is theirs to verify.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotHeld`]: nothing of the content is here. [`StoreError::Io`]: its file cannot be opened.
    pub async fn open_file(&self, digest: &Digest) -> Result<Arc<dyn DiskFile>, StoreError> {
        read::open_file(Arc::clone(&self.0), *digest).await
    }

    /// Removes content, sealed or in the making, and whatever an earlier removal that failed left of it. After an error it
    /// is no longer held, but the next start may find it again. After a failed sync files are still removed, and the
    /// error given all the same.
    pub async fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        self.0.env.run_to_end(remove::remove(Arc::clone(&self.0), *digest)).await
    }
}

async fn begin(store: Arc<Shared>, manifest: Arc<Manifest>) -> Result<Begun, StoreError> {
    let digest = manifest.content;
    let _turn = store.turn(digest).lock_owned().await;
    store.poison.check()?;
    let holding = store.holding(&digest);
    if holding.as_ref().is_some_and(|holding| **holding.manifest() != *manifest) {
        return Err(StoreError::OtherManifest(digest));
    }
    let partial = match holding {
        Some(Holding::Complete(_)) => return Ok(Begun::Complete),
        Some(Holding::Partial(partial)) => partial,
        None => {
            let maker = Arc::clone(&store);
            let partial = Arc::new(store.env.blocking(move || maker.create(manifest)).await?);
            store.hold(digest, Holding::Partial(Arc::clone(&partial)));
            partial
        }
    };
    Ok(Begun::Partial(Partial::new(store, partial)))
}

impl Shared {
    fn create(&self, manifest: Arc<Manifest>) -> Result<PartialContent, StoreError> {
        let (disk, path) = (&**self.env.disk(), self.layout.partial(&manifest.content));
        // The start may have left files alone because it could not read them.
        match PartialContent::resume(disk, &self.layout, &self.labels, &manifest.content)? {
            Some(partial) if **partial.manifest() == *manifest => return Ok(partial),
            Some(_) => return Err(StoreError::OtherManifest(manifest.content)),
            None => {}
        }
        let needed = manifest.pieces.size();
        let free = disk.free_bytes(self.layout.root());
        match free.map_err(|source| StoreError::Io { path: path.clone(), source })? {
            free if free < needed => Err(StoreError::NoSpace { path, needed, free }),
            _ => PartialContent::create(disk, &self.layout, &self.labels, manifest),
        }
    }

    fn holding(&self, digest: &Digest) -> Option<Holding> {
        lock(&self.index).holdings.get(digest).cloned()
    }

    fn hold(&self, digest: Digest, holding: Holding) {
        lock(&self.index).holdings.insert(digest, holding);
    }

    fn forget(&self, digest: &Digest) {
        lock(&self.index).holdings.remove(digest);
    }

    fn turn(&self, digest: Digest) -> Turn {
        lock(&self.index).turn(digest)
    }

    /// Judges a sync: one that failed poisons the store.
    fn synced(&self, path: &Path, outcome: io::Result<()>) -> Result<(), StoreError> {
        outcome.map_err(|error| self.poison.set(path, &error))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
