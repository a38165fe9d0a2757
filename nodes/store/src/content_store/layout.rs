//! Where things are in the store's folder.
//!
//! ```text
//! FORMAT                 what the folder is, in which format, of which herd
//! blobs/ab/<hex>         content, sealed
//! blobs/ab/<hex>.meta    its label
//! partial/<hex>          content in the making, at its full length
//! partial/<hex>.map      its label, then a byte a piece
//! quarantine/<hex>       what lay among the blobs and is not what its name says
//! ```

use std::path::{Path, PathBuf};

use rdcq_wire::Digest;

pub(super) const SIDECAR_SUFFIX: &str = ".meta";
pub(super) const MAP_SUFFIX: &str = ".map";

/// The store's folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// The names of the folders that blobs are spread over, by the first two digits of their digest.
    pub(super) fn shard_names() -> impl Iterator<Item = String> {
        (0..=u8::MAX).map(|first| format!("{first:02x}"))
    }

    pub(super) fn shard(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(&digest.hex()[..2])
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.shard(digest).join(digest.hex())
    }

    pub(super) fn sidecar(&self, digest: &Digest) -> PathBuf {
        self.shard(digest).join(digest.hex() + SIDECAR_SUFFIX)
    }

    pub(super) fn partial(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex())
    }

    pub(super) fn map(&self, digest: &Digest) -> PathBuf {
        self.partials().join(digest.hex() + MAP_SUFFIX)
    }
}
