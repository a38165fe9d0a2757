//! Where a blob is cut into pieces: FastCDC (Xia et al., 2020, normalised chunking level 1), frozen by test vectors.

use crate::{Digest, Hasher, Manifest, Piece, PieceTable, manifest::ManifestError};

/// The sizes that pieces of a blob may have, in bytes. They follow from the blob's size alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceSizes {
    /// Shortest piece but for the last: a quarter of the mean.
    pub min: u32,
    /// What the cut points aim at: a power of two.
    pub mean: u32,
    /// Longest piece: twice the mean.
    pub max: u32,
}

impl PieceSizes {
    /// Smallest mean size, in bytes: with half as much, agents on slow links need a quarter more processor time and are no sooner done.
    pub const MIN_MEAN: u32 = 32 * 1024;
    /// Largest mean size, in bytes.
    pub const MAX_MEAN: u32 = 4 * 1024 * 1024;
    /// The mean is the smallest power of two that makes at most this many pieces.
    const MOST_PIECES: u64 = 2048;

    /// The sizes for a blob of `size` bytes.
    pub fn of_blob(size: u64) -> Self {
        let ideal = size.div_ceil(Self::MOST_PIECES).clamp(Self::MIN_MEAN.into(), Self::MAX_MEAN.into());
        let mean = u32::try_from(ideal).expect("clamped to a u32").next_power_of_two();
        Self { min: mean / 4, mean, max: 2 * mean }
    }
}

/// Cuts a blob into pieces and hashes it while its bytes stream by.
pub struct Cutter {
    sizes: PieceSizes,
    size: u64,
    seen: u64,
    whole: Hasher,
    pieces: Vec<Piece>,
    /// Bytes that no cut point has been found for yet.
    rest: Vec<u8>,
}

impl Cutter {
    /// A cutter for a blob of `size` bytes.
    pub fn new(size: u64) -> Self {
        let sizes = PieceSizes::of_blob(size);
        Self { sizes, size, seen: 0, whole: Hasher::default(), pieces: Vec::new(), rest: Vec::new() }
    }

    /// Takes the next part of the blob.
    pub fn update(&mut self, part: &[u8]) {
        self.seen += part.len() as u64;
        self.whole.update(part);
        if self.rest.is_empty() {
            let used = self.cut(part);
            self.rest.extend_from_slice(&part[used..]);
            return;
        }
        self.rest.extend_from_slice(part);
        let rest = std::mem::take(&mut self.rest);
        let used = self.cut(&rest);
        self.rest = rest;
        self.rest.drain(..used);
    }

    /// The blob's digest and manifest. Fails if the bytes were not as many as announced.
    pub fn finish(mut self) -> Result<Manifest, CutError> {
        if self.seen != self.size {
            return Err(CutError::Size { announced: self.size, seen: self.seen });
        }
        debug_assert!(self.rest.is_empty(), "the last part is cut to its end");
        let content = self.whole.finish();
        let pieces = PieceTable::new(std::mem::take(&mut self.pieces))?;
        Ok(Manifest::of_file(content, pieces))
    }

    /// Cuts `bytes` as far as their cut points no longer depend on what follows, and says how far that is.
    fn cut(&mut self, bytes: &[u8]) -> usize {
        let PieceSizes { min, mean, max } = self.sizes;
        let cutter = fastcdc::v2020::FastCDC::new(bytes, min as usize, mean as usize, max as usize);
        let last = self.seen >= self.size;
        let mut start = 0;
        while start < bytes.len() && (last || bytes.len() - start >= max as usize) {
            let (_, end) = cutter.cut(start, bytes.len() - start);
            let piece = &bytes[start..end];
            let len = u32::try_from(piece.len()).expect("a piece is at most twice MAX_MEAN");
            self.pieces.push(Piece { len, hash: Digest::of(piece) });
            start = end;
        }
        start
    }
}

/// Cuts bytes that are all in memory.
pub fn cut_bytes(bytes: &[u8]) -> Manifest {
    let mut cutter = Cutter::new(bytes.len() as u64);
    cutter.update(bytes);
    cutter.finish().expect("all bytes were given, and memory holds no blob of too many pieces")
}

/// A blob that could not be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The blob changed its size while it was read.
    #[error("{seen} bytes were read where {announced} were announced")]
    Size {
        /// Bytes announced.
        announced: u64,
        /// Bytes read.
        seen: u64,
    },
    /// The blob is too large for the largest pieces.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a linear congruential generator (Knuth's MMIX constants), the same on every machine.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn the_mean_makes_one_to_two_thousand_pieces() {
        let kib = 1024;
        for (size, mean) in [
            (0, 32 * kib),
            (64 << 20, 32 * kib),
            ((64 << 20) + 1, 64 * kib),
            (1 << 30, 512 * kib),
            (8 << 30, 4096 * kib),
            (1 << 40, 4096 * kib),
        ] {
            assert_eq!(PieceSizes::of_blob(size).mean, mean, "of {size} bytes");
        }
    }

    #[test]
    fn cut_points_are_frozen() {
        let manifest = cut_bytes(&noise(400_000));
        let lens: Vec<_> = manifest.pieces.iter().map(|piece| piece.len).collect();
        assert_eq!(lens, FROZEN);
    }

    #[test]
    fn the_parts_do_not_matter() {
        let bytes = noise(300_000);
        let whole = cut_bytes(&bytes);
        for part in [1_000, 4_096, 32_768, 65_537] {
            let mut cutter = Cutter::new(bytes.len() as u64);
            bytes.chunks(part).for_each(|part| cutter.update(part));
            assert_eq!(cutter.finish().unwrap(), whole, "in parts of {part}");
        }
    }

    #[test]
    fn a_byte_in_front_moves_only_the_first_pieces() {
        let bytes = noise(1 << 20);
        let before = cut_bytes(&bytes);
        let after = cut_bytes(&[&[7], &bytes[..]].concat());
        let known: Vec<_> = before.pieces.iter().map(|piece| piece.hash).collect();
        let fresh = after.pieces.iter().filter(|piece| !known.contains(&piece.hash)).count();
        assert!(fresh <= 3, "{fresh} of {} pieces are new", after.pieces.len());
    }

    #[test]
    fn the_edges_of_size_cut_as_they_should() {
        let sizes = PieceSizes::of_blob(0);
        for (len, pieces) in [(0, 0), (1, 1), (sizes.min as usize, 1)] {
            assert_eq!(cut_bytes(&noise(len)).pieces.len(), pieces, "{len} bytes");
        }
        // Bytes without any variety have no cut points but the longest piece's.
        let max = sizes.max as usize;
        assert_eq!(cut_bytes(&vec![0; max]).pieces.len(), 1);
        assert_eq!(cut_bytes(&vec![0; max + 1]).pieces.len(), 2);
    }

    #[test]
    fn a_blob_of_another_size_than_announced_is_refused() {
        let mut cutter = Cutter::new(10);
        cutter.update(b"only nine");
        assert_eq!(cutter.finish(), Err(CutError::Size { announced: 10, seen: 9 }));
    }

    const FROZEN: [u32; 12] =
        [32334, 53878, 39599, 9325, 35283, 54907, 33366, 13322, 33608, 48589, 30096, 15693];
}
