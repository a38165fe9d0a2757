//! Bytes that do not repeat.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rdcq_wire::Hasher;

/// Bytes written and read at once.
const BLOCK: usize = 1024 * 1024;

/// Bytes of a linear congruential generator (Knuth's MMIX constants), others for another seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Writes a large file quickly: a block of noise again and again, a number of its own in each. Returns its digest.
pub(crate) fn write_large(path: &Path, blocks: u64) -> String {
    let mut file = File::create_new(path).unwrap();
    let mut block = noise(1, BLOCK);
    let mut hasher = Hasher::default();
    for number in 0..blocks {
        block[..8].copy_from_slice(&number.to_be_bytes());
        hasher.update(&block);
        file.write_all(&block).unwrap();
    }
    hasher.finish().to_string()
}

/// The digest of a file, which may be large.
pub(crate) fn digest_of_file(path: &Path) -> String {
    let mut file = File::open(path).unwrap();
    let mut block = vec![0; BLOCK];
    let mut hasher = Hasher::default();
    loop {
        match file.read(&mut block).unwrap() {
            0 => return hasher.finish().to_string(),
            len => hasher.update(&block[..len]),
        }
    }
}
