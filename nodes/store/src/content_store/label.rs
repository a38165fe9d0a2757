//! What a sidecar and a piece map begin with: stamp, manifest, and a checksum over both.
//!
//! ```text
//! magic, format u16, herd's length u8, herd, manifest's length u32, manifest, SHA-256 of all that
//! ```

use rdcq_wire::{Digest, HerdId, Manifest};

use crate::stamp::{Magic, Stamp};

/// Labels of one herd's files.
#[derive(Debug, Clone)]
pub(super) struct Labels {
    pub(super) herd: HerdId,
}

/// Which file a label is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Sidecar,
    Map,
}

impl Kind {
    const fn magic(self) -> Magic {
        match self {
            Self::Sidecar => *b"rdcqmeta",
            Self::Map => *b"rdcq-map",
        }
    }
}

impl Labels {
    /// Format of the folder and of all labels in it.
    pub(super) const FORMAT: u16 = 1;
    /// Longest label, in bytes.
    pub(super) const MAX_BYTES: u64 =
        (Stamp::MAX_BYTES + 4 + Digest::LEN) as u64 + Manifest::MAX_BYTES as u64;

    /// The stamp of the folder itself.
    pub(super) fn folder(&self) -> Stamp {
        self.stamp(*b"rdcqstor")
    }

    fn stamp(&self, magic: Magic) -> Stamp {
        Stamp { magic, format: Self::FORMAT, herd: self.herd.clone() }
    }

    pub(super) fn encode(&self, kind: Kind, manifest: &Manifest) -> Vec<u8> {
        let manifest = manifest.encode();
        let len = u32::try_from(manifest.len()).expect("a manifest is at most MAX_BYTES");
        let mut label = self.stamp(kind.magic()).encode();
        label.extend_from_slice(&len.to_be_bytes());
        label.extend_from_slice(&manifest);
        let checksum = Digest::of(&label);
        label.extend_from_slice(checksum.as_bytes());
        label
    }

    /// Reads a label off the front of `bytes`; nothing of another herd, format or kind, or damaged anywhere, is one.
    pub(super) fn split<'a>(&self, kind: Kind, bytes: &'a [u8]) -> Option<(Manifest, &'a [u8])> {
        let (stamp, rest) = Stamp::split(bytes)?;
        if stamp != self.stamp(kind.magic()) {
            return None;
        }
        let (len, rest) = rest.split_first_chunk()?;
        let (manifest, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let labelled = bytes.len() - rest.len();
        let (checksum, rest) = rest.split_first_chunk()?;
        if Digest::of(&bytes[..labelled]) != Digest::from_bytes(*checksum) {
            return None;
        }
        Some((Manifest::decode(manifest).ok()?, rest))
    }
}
