//! Content in the making: bytes at their places, and a map of the pieces that are verified and there.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rdcq_env::watch;
use rdcq_env::{Disk, DiskFile, Mode};
use rdcq_wire::{Digest, Manifest, PieceIndex, PieceSet, PieceTable, Span};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use super::label::{Kind, Labels};
use super::layout::Layout;
use super::{Buffer, Shared, StoreError, lock};

/// Bytes that may be recorded and not yet synced: what a power loss costs at most.
pub const SYNC_WINDOW_BYTES: u64 = 64 * 1024 * 1024;
const _: () = assert!(SYNC_WINDOW_BYTES >= RUN_BYTES + PieceTable::MAX_PIECE_BYTES as u64);

/// Neighbouring pieces are written together up to this many bytes.
const RUN_BYTES: u64 = 1024 * 1024;

/// The byte of the map that says that a piece is there. Any other byte says that it is not.
const HELD: u8 = 0xa5;

/// A handle to content in the making. Clones share it.
#[derive(Clone)]
pub struct Partial {
    store: Arc<Shared>,
    content: Arc<PartialContent>,
}

impl Partial {
    pub(super) const fn new(store: Arc<Shared>, content: Arc<PartialContent>) -> Self {
        Self { store, content }
    }

    /// What the content is made of.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.content.manifest
    }

    /// The pieces that are here.
    pub fn have(&self) -> PieceSet {
        self.content.have()
    }

    /// How many pieces are here, whenever that changes; closed once the content is sealed or removed.
    pub fn subscribe(&self) -> watch::Receiver<u32> {
        self.content.subscribe()
    }

    /// A buffer for bytes that will be written, one that was used before if there is one.
    pub fn buffer(&self, len: usize) -> Buffer {
        self.store.buffers.take(len)
    }

    /// Verifies, writes and records one piece.
    pub async fn write_piece(&self, piece: PieceIndex, bytes: Bytes) -> Result<(), StoreError> {
        self.write_span(Span { first: piece, count: 1 }, vec![bytes]).await
    }

    /// Verifies, writes and records neighbouring pieces, whose bytes are `chunks` laid end to end, however they are split.
    /// Pieces before a wrong one are kept; pieces that are already here are only verified. What has begun goes on if the
    /// future is dropped.
    pub async fn write_span(&self, span: Span, chunks: Vec<Bytes>) -> Result<(), StoreError> {
        let content = Arc::clone(&self.content);
        let table = &content.manifest.pieces;
        if !span.fits(table.len()) {
            return Err(StoreError::NoSuchPieces { digest: content.digest(), span, pieces: table.len() });
        }
        let stage = Arc::clone(&content.stage).read_owned().await;
        match *stage {
            Stage::Open => {}
            Stage::Sealed => return Ok(()),
            Stage::Removed => return Err(StoreError::Removed(content.digest())),
        }
        let store = Arc::clone(&self.store);
        let write = move || {
            let written = content.write(&store, span, chunks);
            drop(stage);
            written
        };
        self.store.env.blocking(write).await
    }
}

/// How far the content is. Writers hold it for reading, whoever ends the writing for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Sealed,
    Removed,
}

/// The files of content in the making, and what is known of them.
pub(super) struct PartialContent {
    manifest: Arc<Manifest>,
    file: Arc<dyn DiskFile>,
    map: Map,
    /// Locked before `have`, where both are.
    window: Mutex<Window>,
    have: Mutex<PieceSet>,
    /// Gone when the content is sealed or removed.
    count: Mutex<Option<watch::Sender<u32>>>,
    stage: Arc<RwLock<Stage>>,
}

struct Map {
    file: Arc<dyn DiskFile>,
    /// Where the first piece's byte is.
    start: u64,
}

/// What was recorded since the last sync.
struct Window {
    bytes: u64,
    names: Names,
}

/// Whether a power loss would leave the two files' names.
#[derive(PartialEq, Eq)]
enum Names {
    Unsynced,
    Synced,
}

impl PartialContent {
    /// Creates the files and claims their space. Nothing is synced before the first window is full.
    pub(super) fn create(
        disk: &dyn Disk,
        layout: &Layout,
        labels: &Labels,
        manifest: Arc<Manifest>,
    ) -> Result<Self, StoreError> {
        let digest = manifest.content;
        let (path, map_path) = (layout.partial(&digest), layout.map(&digest));
        let create = || {
            let size = manifest.pieces.size();
            let file = make_file(disk, &path, size, &[])?;
            let label = labels.encode(Kind::Map, &manifest);
            let start = label.len() as u64;
            let map = make_file(disk, &map_path, start + u64::from(manifest.pieces.len()), &label)?;
            Ok((file, Map { file: map, start }))
        };
        let created: Result<_, StoreError> = create();
        if created.is_err() {
            // The error that led here says more than one about the leftovers, which the next start removes.
            let _ = disk.remove_file(&path);
            let _ = disk.remove_file(&map_path);
        }
        let (file, map) = created?;
        let have = PieceSet::empty(manifest.pieces.len());
        Ok(Self::from_parts(manifest, file, map, have, 0))
    }

    /// Opens the files that an earlier process left. Pieces that the map claims are read and verified again, and struck
    /// out if they are not what it says. `None` if a file is missing, or the map is damaged or not of this content; files
    /// that cannot be read are an error, for what they hold may be sound.
    pub(super) fn resume(
        disk: &dyn Disk,
        layout: &Layout,
        labels: &Labels,
        digest: &Digest,
    ) -> Result<Option<Self>, StoreError> {
        let (path, map_path) = (layout.partial(digest), layout.map(digest));
        let io = |source| StoreError::Io { path: map_path.clone(), source };
        let max = Labels::MAX_BYTES + PieceTable::MAX_PIECES as u64;
        let bytes = match disk.read(&map_path, max) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge) => {
                return Ok(None);
            }
            read => read.map_err(io)?,
        };
        let Some((manifest, claims)) = labels.split(Kind::Map, &bytes) else { return Ok(None) };
        if manifest.content != *digest || claims.len() > manifest.pieces.len() as usize {
            return Ok(None);
        }
        let map = Map { file: disk.open(&map_path).map_err(io)?, start: (bytes.len() - claims.len()) as u64 };
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| StoreError::Io { path: path.clone(), source })?,
        };
        let size = manifest.pieces.size();
        if let Err(error) = fit(&*file, size) {
            tracing::warn!(path = %path.display(), %error, "cannot claim the space of content in the making");
        }
        let mut have = PieceSet::empty(manifest.pieces.len());
        for (index, claim) in (0..).map(PieceIndex).zip(claims) {
            let there = match *claim {
                0 => continue,
                HELD => is_there(&*file, &manifest, index),
                _ => Ok(false),
            };
            match there {
                Ok(true) => drop(have.insert(index)),
                Ok(false) => map.file.write_all_at(&[0], map.start + u64::from(index.0)).map_err(io)?,
                // The claim stays, for the next start may be able to read the piece.
                Err(error) => {
                    tracing::warn!(path = %path.display(), piece = index.0, %error, "cannot read a piece");
                }
            }
        }
        // Whoever wrote all this may have been killed before a sync: the first piece to come makes it durable.
        Ok(Some(Self::from_parts(Arc::new(manifest), file, map, have, SYNC_WINDOW_BYTES)))
    }

    fn from_parts(
        manifest: Arc<Manifest>,
        file: Arc<dyn DiskFile>,
        map: Map,
        have: PieceSet,
        unsynced_bytes: u64,
    ) -> Self {
        Self {
            manifest,
            file,
            map,
            window: Mutex::new(Window { bytes: unsynced_bytes, names: Names::Unsynced }),
            count: Mutex::new(Some(watch::Sender::new(have.len()))),
            have: Mutex::new(have),
            stage: Arc::new(RwLock::new(Stage::Open)),
        }
    }

    pub(super) const fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    pub(super) fn digest(&self) -> Digest {
        self.manifest.content
    }

    pub(super) fn have(&self) -> PieceSet {
        lock(&self.have).clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u32> {
        match &*lock(&self.count) {
            Some(count) => count.subscribe(),
            None => watch::channel(self.have().len()).1,
        }
    }

    /// Tells whoever is subscribed, and whoever writes, that nothing comes any more.
    pub(super) fn end(&self, stage: &mut Stage, end: Stage) {
        *stage = end;
        lock(&self.count).take();
    }

    pub(super) fn holds(&self, span: Span) -> bool {
        let have = lock(&self.have);
        span.indices().all(|index| have.contains(index))
    }

    pub(super) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Waits until nobody writes, and lets nobody begin.
    pub(super) async fn stop_writing(&self) -> OwnedRwLockWriteGuard<Stage> {
        Arc::clone(&self.stage).write_owned().await
    }

    fn write(&self, store: &Shared, span: Span, chunks: Vec<Bytes>) -> Result<(), StoreError> {
        store.poison.check()?;
        let bytes = joined(chunks);
        let mut rest = &bytes[..];
        let mut run = Run { first: span.first, count: 0, bytes: &rest[..0] };
        for index in span.indices() {
            let Some(piece) = self.split_piece(index, &mut rest) else {
                self.write_run(store, run)?;
                return Err(StoreError::WrongBytes { digest: self.digest(), piece: index });
            };
            if lock(&self.have).contains(index) {
                self.write_run(store, run)?;
                run = Run { first: PieceIndex(index.0 + 1), count: 0, bytes: &rest[..0] };
                continue;
            }
            if (run.bytes.len() + piece.len()) as u64 > RUN_BYTES {
                self.write_run(store, run)?;
                run = Run { first: index, count: 0, bytes: &rest[..0] };
            }
            let start = bytes.len() - rest.len() - piece.len() - run.bytes.len();
            run = Run { count: run.count + 1, bytes: &bytes[start..bytes.len() - rest.len()], ..run };
        }
        self.write_run(store, run)?;
        if rest.is_empty() {
            return Ok(());
        }
        // More bytes than the span has: whoever sent them does not know the content.
        Err(StoreError::WrongBytes { digest: self.digest(), piece: span.first })
    }

    /// Takes a piece off the front of `rest`, if it is the one that the manifest says.
    fn split_piece<'a>(&self, index: PieceIndex, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let piece = self.manifest.pieces.piece(index)?;
        let (bytes, after) = rest.split_at_checked(piece.len as usize)?;
        *rest = after;
        (Digest::of(bytes) == piece.hash).then_some(bytes)
    }

    fn write_run(&self, store: &Shared, run: Run<'_>) -> Result<(), StoreError> {
        let Run { first, count, bytes } = run;
        let span = Span { first, count };
        let Some(place) = self.manifest.pieces.bytes_of_span(span) else { return Ok(()) };
        let path = store.layout.partial(&self.digest());
        let len = bytes.len() as u64;
        let failed = |source| StoreError::write(&**store.env.disk(), &path, len, source);
        self.file.write_all_at(bytes, place.start).map_err(failed)?;
        self.record(store, span, len)
    }

    /// Notes that the pieces of `span` are written. They are not synced before the window is full, so the death of the
    /// process loses nothing and a power loss at most one window.
    fn record(&self, store: &Shared, span: Span, bytes: u64) -> Result<(), StoreError> {
        let mut window = lock(&self.window);
        if window.bytes + bytes > SYNC_WINDOW_BYTES {
            self.sync_window(store, &mut window)?;
        }
        let path = store.layout.map(&self.digest());
        let marks = vec![HELD; span.count as usize];
        let failed = |source| StoreError::write(&**store.env.disk(), &path, marks.len() as u64, source);
        self.map.file.write_all_at(&marks, self.map.start + u64::from(span.first.0)).map_err(failed)?;
        window.bytes += bytes;
        let held = {
            let mut have = lock(&self.have);
            have.insert_span(span);
            have.len()
        };
        if let Some(count) = &*lock(&self.count) {
            count.send_replace(held);
        }
        Ok(())
    }

    /// First the bytes, then the map that claims them.
    fn sync_window(&self, store: &Shared, window: &mut Window) -> Result<(), StoreError> {
        self.sync_bytes(store)?;
        self.synced(store, &store.layout.map(&self.digest()), self.map.file.sync_data())?;
        if window.names == Names::Unsynced {
            let folder = store.layout.partials();
            store.synced(&folder, store.env.disk().sync_dir(&folder))?;
            window.names = Names::Synced;
        }
        window.bytes = 0;
        Ok(())
    }

    /// Makes the pieces' bytes durable, but not the map.
    pub(super) fn sync_bytes(&self, store: &Shared) -> Result<(), StoreError> {
        self.synced(store, &store.layout.partial(&self.digest()), self.file.sync_data())
    }

    /// Judges a sync of one of the two files. After one that failed, pieces may be right in the page cache and nowhere
    /// else; without its map the next start does not believe them.
    fn synced(&self, store: &Shared, path: &Path, outcome: io::Result<()>) -> Result<(), StoreError> {
        store.synced(path, outcome).inspect_err(|_| {
            let map = store.layout.map(&self.digest());
            if let Err(error) = store.env.disk().remove_file(&map) {
                tracing::error!(path = %map.display(), %error, "cannot remove the map of pieces that were not synced");
            }
        })
    }
}

/// Verified pieces that will be written in one go.
struct Run<'a> {
    first: PieceIndex,
    count: u32,
    bytes: &'a [u8],
}

/// The chunks as one; no copy of a single one.
fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    match chunks.len() {
        1 => chunks.swap_remove(0),
        _ => chunks.concat().into(),
    }
}

/// Creates a file of `len` bytes that begins with `start`, in the place of whatever has its name.
fn make_file(disk: &dyn Disk, path: &Path, len: u64, start: &[u8]) -> Result<Arc<dyn DiskFile>, StoreError> {
    let make = || {
        if disk.exists(path)? {
            disk.remove_file(path)?;
        }
        let file = disk.create_new(path, Mode::Private)?;
        file.allocate(len)?;
        file.write_all_at(start, 0)?;
        Ok(file)
    };
    make().map_err(|source| StoreError::write(disk, path, len, source))
}

/// Gives the file the content's length.
fn fit(file: &dyn DiskFile, size: u64) -> io::Result<()> {
    if file.len()? > size { file.set_len(size) } else { file.allocate(size) }
}

/// Reads a piece and verifies it. An error tells nothing about the piece.
fn is_there(file: &dyn DiskFile, manifest: &Manifest, index: PieceIndex) -> io::Result<bool> {
    let (Some(piece), Some(place)) = (manifest.pieces.piece(index), manifest.pieces.bytes_of(index)) else {
        return Ok(false);
    };
    let mut bytes = vec![0; piece.len as usize];
    match file.read_exact_at(&mut bytes, place.start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| Digest::of(&bytes) == piece.hash),
    }
}
