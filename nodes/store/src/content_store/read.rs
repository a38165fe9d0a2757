//! Reading what is held.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rdcq_env::{Disk, DiskFile};
use rdcq_wire::{Digest, PieceIndex, PieceTable, Span};

use super::buffers::Buffers;
use super::index::Holding;
use super::partial::PartialContent;
use super::{ContentStore, Shared, StoreError};

/// Most bytes of one buffer.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Where bytes come from.
enum Source {
    Blob(PathBuf),
    Partial(Arc<PartialContent>),
}

/// The bytes of `span`, as buffers of up to a megabyte.
pub(super) async fn span(store: Arc<Shared>, digest: Digest, span: Span) -> Result<Vec<Bytes>, StoreError> {
    let holding = store.holding(&digest).ok_or(StoreError::NotHeld(digest))?;
    let pieces = &holding.manifest().pieces;
    let Some(range) = pieces.bytes_of_span(span) else {
        return Err(StoreError::NoSuchPieces { digest, span, pieces: pieces.len() });
    };
    held(store, digest, &holding, span, range).await
}

/// The bytes of `range`, as buffers of up to a megabyte.
pub(super) async fn range(
    store: Arc<Shared>,
    digest: Digest,
    range: Range<u64>,
) -> Result<Vec<Bytes>, StoreError> {
    let holding = store.holding(&digest).ok_or(StoreError::NotHeld(digest))?;
    let pieces = &holding.manifest().pieces;
    if range.end > pieces.size() {
        return Err(StoreError::NoSuchBytes { digest, end: range.end, size: pieces.size() });
    }
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let first = piece_at(pieces, range.start);
    let count = piece_at(pieces, range.end - 1).0 - first.0 + 1;
    held(store, digest, &holding, Span { first, count }, range).await
}

/// The content's file, for reading alone.
pub(super) async fn open_file(store: Arc<Shared>, digest: Digest) -> Result<Arc<dyn DiskFile>, StoreError> {
    let holding = store.holding(&digest).ok_or(StoreError::NotHeld(digest))?;
    let blob = store.layout.blob(&digest);
    let in_the_making = match holding {
        Holding::Complete(_) => None,
        Holding::Partial(_) => Some(store.layout.partial(&digest)),
    };
    let (disk, path) = (Arc::clone(store.env.disk()), blob.clone());
    let open = move || match in_the_making.map(|partial| disk.open_read(&partial)) {
        // It is being sealed, or was since the index was asked.
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => disk.open_read(&path),
        Some(opened) => opened,
        None => disk.open_read(&path),
    };
    store.env.blocking(open).await.map_err(|source| unread(digest, blob, source))
}

/// The piece that holds the byte at `offset`, which the blob must have.
fn piece_at(pieces: &PieceTable, offset: u64) -> PieceIndex {
    let (mut low, mut high) = (0, pieces.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let ends_before = pieces.bytes_of(PieceIndex(middle)).is_some_and(|place| place.end <= offset);
        if ends_before { low = middle + 1 } else { high = middle }
    }
    PieceIndex(low)
}

async fn held(
    store: Arc<Shared>,
    digest: Digest,
    holding: &Holding,
    span: Span,
    range: Range<u64>,
) -> Result<Vec<Bytes>, StoreError> {
    let bytes = range.end - range.start;
    if bytes > ContentStore::MAX_READ_BYTES {
        return Err(StoreError::TooMuch { bytes });
    }
    let source = match holding {
        Holding::Complete(_) => Source::Blob(store.layout.blob(&digest)),
        Holding::Partial(partial) if partial.holds(span) => Source::Partial(Arc::clone(partial)),
        Holding::Partial(_) => return Err(StoreError::NotHeld(digest)),
    };
    let path = store.layout.blob(&digest);
    let disk = Arc::clone(store.env.disk());
    let buffers = store.buffers.clone();
    let read = store.env.blocking(move || source.read(&*disk, &buffers, range)).await;
    read.map_err(|source| unread(digest, path, source))
}

fn unread(digest: Digest, path: PathBuf, source: io::Error) -> StoreError {
    match source.kind() {
        // It was removed after the index was asked.
        io::ErrorKind::NotFound => StoreError::NotHeld(digest),
        _ => StoreError::Io { path, source },
    }
}

impl Source {
    fn read(&self, disk: &dyn Disk, buffers: &Buffers, range: Range<u64>) -> io::Result<Vec<Bytes>> {
        match self {
            Self::Blob(path) => read_chunks(&*disk.open(path)?, buffers, range),
            Self::Partial(partial) => read_chunks(&**partial.file(), buffers, range),
        }
    }
}

fn read_chunks(file: &dyn DiskFile, buffers: &Buffers, mut range: Range<u64>) -> io::Result<Vec<Bytes>> {
    let mut chunks = Vec::new();
    while !range.is_empty() {
        let bytes = (range.end - range.start).min(CHUNK_BYTES);
        let mut chunk = buffers.take(usize::try_from(bytes).expect("CHUNK_BYTES fits"));
        chunk.fill(|chunk| file.read_exact_at(chunk, range.start))?;
        chunks.push(chunk.freeze());
        range.start += bytes;
    }
    Ok(chunks)
}
