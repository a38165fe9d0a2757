//! A node's disk, catalogue and content, for all tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rdcq_env::disk::{EntryKind, create_dir_durable};
use rdcq_env::{Disk, Env, SimDisk};
use rdcq_store::{Begun, Catalogue, Check, ContentStore, MemoryCatalogue, Partial, StoreError};
use rdcq_wire::manifest::cut_bytes;
use rdcq_wire::{Digest, Manifest, Span};

/// What outlives a process: the disk and the catalogue.
pub(crate) struct Node {
    pub(crate) env: Env,
    pub(crate) root: PathBuf,
    pub(crate) catalogue: MemoryCatalogue,
    _folder: Option<tempfile::TempDir>,
}

impl Node {
    pub(crate) fn on(disk: &SimDisk) -> Self {
        Self {
            env: Env::simulated(1, disk.clone()),
            root: "/node/store".into(),
            catalogue: MemoryCatalogue::new(),
            _folder: None,
        }
    }

    fn on_real_disk() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().join("store");
        Self { env: Env::system(), root, catalogue: MemoryCatalogue::new(), _folder: Some(folder) }
    }

    pub(crate) async fn open(&self) -> Result<ContentStore, StoreError> {
        self.open_with(Arc::new(self.catalogue.clone())).await
    }

    pub(crate) async fn open_with(&self, catalogue: Arc<dyn Catalogue>) -> Result<ContentStore, StoreError> {
        let herd = "herd-1".parse().expect("a herd's name");
        ContentStore::open(self.env.clone(), self.root.clone(), herd, catalogue).await
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &**self.env.disk()
    }

    pub(crate) fn blob(&self, content: &Content) -> PathBuf {
        let hex = content.digest().hex();
        self.root.join("blobs").join(&hex[..2]).join(hex)
    }

    pub(crate) fn sidecar(&self, content: &Content) -> PathBuf {
        self.blob(content).with_added_extension("meta")
    }

    pub(crate) fn partial(&self, content: &Content) -> PathBuf {
        self.root.join("partial").join(content.digest().hex())
    }

    pub(crate) fn map(&self, content: &Content) -> PathBuf {
        self.partial(content).with_added_extension("map")
    }

    pub(crate) fn read(&self, path: &Path) -> Vec<u8> {
        self.disk().read(path, 1 << 30).expect("a file of the test")
    }

    /// Creates a file, or replaces what is in it.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        create_dir_durable(self.disk(), rdcq_env::disk::parent(path)).expect("a folder of the test");
        rdcq_env::disk::write_durable(self.disk(), path, bytes, rdcq_env::Mode::Private)
            .expect("a file of the test");
    }

    pub(crate) fn flip(&self, path: &Path, offset: usize) {
        let mut bytes = self.read(path);
        bytes[offset] ^= 0x40;
        self.put(path, &bytes);
    }

    /// How many files there are in a folder of the store and below.
    pub(crate) fn files_in(&self, folder: &str) -> usize {
        self.files_below(&self.root.join(folder))
    }

    fn files_below(&self, folder: &Path) -> usize {
        let entries = self.disk().read_dir(folder).expect("a folder of the store").into_iter();
        let count = entries.map(|entry| match entry.kind {
            EntryKind::Directory => self.files_below(&folder.join(entry.name)),
            _ => 1,
        });
        count.sum()
    }
}

/// Runs a check on a node with a real disk and on one with a simulated disk.
pub(crate) async fn on_both(check: impl AsyncFn(Node)) {
    check(Node::on(&SimDisk::new())).await;
    check(Node::on_real_disk()).await;
}

/// Some bytes, and what they are made of.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) manifest: Arc<Manifest>,
}

impl Content {
    /// `len` bytes that follow from `seed`.
    pub(crate) fn of(len: usize, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(2) + 1;
        let words = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        });
        let mut bytes: Vec<u8> = words.take(len.div_ceil(4)).flat_map(u32::to_be_bytes).collect();
        bytes.truncate(len);
        let manifest = Arc::new(cut_bytes(&bytes));
        Self { bytes: bytes.into(), manifest }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.manifest.content
    }

    pub(crate) fn all(&self) -> Span {
        Span::new(0, self.manifest.pieces.len())
    }

    pub(crate) fn pieces(&self, span: Span) -> Vec<Bytes> {
        let places = span.indices().map(|index| self.manifest.pieces.bytes_of(index).expect("a piece"));
        places.map(|place| self.bytes.slice(place.start as usize..place.end as usize)).collect()
    }

    /// Begins the content where some of it is missing.
    pub(crate) async fn begin(&self, store: &ContentStore) -> Result<Partial, StoreError> {
        match store.begin(Arc::clone(&self.manifest)).await? {
            Begun::Partial(partial) => Ok(partial),
            Begun::Complete => panic!("{:?} is complete already", self.digest()),
        }
    }

    /// Begins the content and writes all that is missing.
    pub(crate) async fn write(&self, store: &ContentStore) -> Result<Partial, StoreError> {
        let partial = self.begin(store).await?;
        for span in partial.have().missing_spans() {
            partial.write_span(span, self.pieces(span)).await?;
        }
        Ok(partial)
    }

    /// Writes what is missing and seals.
    pub(crate) async fn store(&self, store: &ContentStore) -> Result<(), StoreError> {
        if !store.is_complete(&self.digest()) {
            self.write(store).await?;
        }
        store.seal(&self.digest(), Check::Whole).await
    }

    /// Whether the store gives the whole content back.
    pub(crate) async fn is_in(&self, store: &ContentStore) -> bool {
        let read = store.read_range(&self.digest(), 0..self.bytes.len() as u64).await;
        store.is_complete(&self.digest()) && read.is_ok_and(|chunks| chunks.concat() == self.bytes)
    }

    /// Sees that every piece the store claims to have is right.
    pub(crate) async fn check_claims(&self, store: &ContentStore) {
        for span in store.have(&self.digest()).map(|have| have.spans()).unwrap_or_default() {
            let read = store.read(&self.digest(), span).await.expect("a piece that is held");
            assert_eq!(read.concat(), self.pieces(span).concat(), "{span:?} is claimed and is not there");
        }
    }
}
