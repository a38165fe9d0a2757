//! A file to push, and what is known of it before.

use std::path::PathBuf;

use rdcq_wire::{Cutter, Manifest, PieceIndex};

/// Bytes in a mebibyte.
pub(crate) const MIB: usize = 1024 * 1024;

/// A file of bytes that cannot be compressed.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) content: Vec<u8>,
    pub(crate) manifest: Manifest,
}

impl File {
    pub(crate) fn create(path: PathBuf, len: usize) -> Self {
        let content = noise(len as u64, len);
        std::fs::write(&path, &content).unwrap();
        let mut cutter = Cutter::new(content.len() as u64);
        cutter.update(&content);
        Self { path, content, manifest: cutter.finish().unwrap() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.content.len() as u64
    }

    /// The bytes of the pieces that a store's map says are there.
    pub(crate) fn recorded_in(&self, map: &[u8]) -> u64 {
        // The map ends with a byte a piece; while it is made it is shorter.
        let Some(start) = map.len().checked_sub(self.manifest.pieces.len() as usize) else { return 0 };
        let held = (0..).map(PieceIndex).zip(&map[start..]).filter(|(_, mark)| **mark == HELD);
        held.map(|(index, _)| u64::from(self.manifest.pieces.piece(index).unwrap().len)).sum()
    }
}

/// How a store marks a piece that is there.
const HELD: u8 = 0xa5;

/// splitmix64, for want of a generator among the crate's dependencies.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
