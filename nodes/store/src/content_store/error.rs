//! What can go wrong with content.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rdcq_env::Disk;
use rdcq_wire::{Digest, PieceIndex, Span};

use crate::{CatalogueError, StampError};

/// The store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is not ours.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The disk failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The disk is full. A transfer goes on where it was once there is room.
    #[error("no space for {}: {needed} bytes are needed, {free} are free", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// Bytes that were to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A sync failed before. What is on the disk is unknown until the node is started again.
    #[error("the store takes no more changes after a failed sync ({0}); start the node again")]
    Poisoned(Arc<str>),
    /// Another manifest is held under the same digest: one of the two is not of this content.
    #[error("the manifest differs from the one held for {0}; one of them is wrong")]
    OtherManifest(Digest),
    /// The bytes are not the piece's.
    #[error("the bytes given as piece {} of {digest} are not that piece", piece.0)]
    WrongBytes {
        /// The content.
        digest: Digest,
        /// The piece.
        piece: PieceIndex,
    },
    /// All pieces are as the manifest says, but together they are not the content, or are cut otherwise.
    #[error("the pieces of {0} do not make it up, or it should be cut otherwise; its manifest is wrong")]
    WrongContent(Digest),
    /// Pieces that the content does not have, or none at all.
    #[error("{span:?} are not in {digest}, which has {pieces}")]
    NoSuchPieces {
        /// The content.
        digest: Digest,
        /// The pieces asked for.
        span: Span,
        /// How many the content has.
        pieces: u32,
    },
    /// Bytes that the content does not have.
    #[error("bytes up to {end} are not in {digest}, which has {size}")]
    NoSuchBytes {
        /// The content.
        digest: Digest,
        /// Where the range ends.
        end: u64,
        /// The content's size in bytes.
        size: u64,
    },
    /// The content, or one of the pieces asked for, is not here.
    #[error("{0} is not held here, or not that part of it")]
    NotHeld(Digest),
    /// Content was to be sealed before all of it was here.
    #[error("{digest} still lacks {missing} pieces")]
    Incomplete {
        /// The content.
        digest: Digest,
        /// Pieces that are missing.
        missing: u32,
    },
    /// The content was removed while it was written.
    #[error("{0} was removed while it was written")]
    Removed(Digest),
    /// More than one read gives.
    #[error("a read of {bytes} bytes is over the maximum of {max}", max = super::ContentStore::MAX_READ_BYTES)]
    TooMuch {
        /// Bytes asked for.
        bytes: u64,
    },
}

impl StoreError {
    /// What a failed write of `needed` bytes to `path` means.
    pub(super) fn write(disk: &dyn Disk, path: &Path, needed: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let folder = rdcq_env::disk::parent(&path);
                Self::NoSpace { needed, free: disk.free_bytes(folder).unwrap_or(0), path }
            }
            _ => Self::Io { path, source },
        }
    }
}

/// Whether a sync has failed. From then on nothing is written: what the kernel says of the file is no longer true.
#[derive(Default)]
pub(super) struct Poison(OnceLock<Arc<str>>);

impl Poison {
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.0.get().map_or(Ok(()), |reason| Err(StoreError::Poisoned(Arc::clone(reason))))
    }

    /// Turns a failed sync into the error it is, for now and for all that comes.
    pub(super) fn set(&self, path: &Path, error: &dyn std::fmt::Display) -> StoreError {
        let reason = self.0.get_or_init(|| format!("{}: {error}", path.display()).into());
        tracing::error!(%reason, "a sync failed; the store takes no more changes");
        StoreError::Poisoned(Arc::clone(reason))
    }
}
