//! Manifests: what a digest's bytes are made of.
//!
//! The tag's record holds a content's digest and the SHA-256 of its manifest; the manifest holds the hashes of the
//! pieces. Whoever has the record from a build-index can therefore take manifest and pieces from anyone.

mod cut;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use cut::{Cutter, PieceSizes, cut_bytes};

use crate::{Digest, List, PieceIndex, Span};

/// One piece: its length in bytes and the SHA-256 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Piece {
    /// Length in bytes, at least 1.
    pub len: u32,
    /// SHA-256 of the piece's bytes.
    pub hash: Digest,
}

/// A blob's pieces in order, with the place of each.
///
/// Invariant: every piece is 1 to [`PieceTable::MAX_PIECE_BYTES`] long, and there are at most
/// [`PieceTable::MAX_PIECES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "List<Piece, { PieceTable::MAX_PIECES }>", into = "Vec<Piece>")]
pub struct PieceTable {
    pieces: Vec<Piece>,
    offsets: Vec<u64>,
}

impl PieceTable {
    /// Longest piece, in bytes: twice the largest mean size.
    pub const MAX_PIECE_BYTES: u32 = 2 * PieceSizes::MAX_MEAN;
    /// Most pieces of one blob. With the smallest pieces of the largest mean this is 256 GiB.
    pub const MAX_PIECES: usize = 262_144;

    /// A table of `pieces`, refused if one is empty or too long, or if they are too many.
    pub fn new(pieces: Vec<Piece>) -> Result<Self, ManifestError> {
        if pieces.len() > Self::MAX_PIECES {
            return Err(ManifestError::TooManyPieces(pieces.len()));
        }
        let mut offsets = Vec::with_capacity(pieces.len() + 1);
        let mut offset = 0;
        offsets.push(0);
        for (index, piece) in pieces.iter().enumerate() {
            if piece.len == 0 || piece.len > Self::MAX_PIECE_BYTES {
                return Err(ManifestError::PieceLength { index, len: piece.len });
            }
            offset += u64::from(piece.len);
            offsets.push(offset);
        }
        Ok(Self { pieces, offsets })
    }

    /// How many pieces there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.pieces.len()).expect("MAX_PIECES fits")
    }

    /// Whether there are none, as of a blob of no bytes.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// The piece with this number, if the blob has it.
    pub fn piece(&self, index: PieceIndex) -> Option<Piece> {
        self.pieces.get(index.as_usize()).copied()
    }

    /// The piece's place in the blob, in bytes, if the blob has it.
    pub fn bytes_of(&self, index: PieceIndex) -> Option<Range<u64>> {
        self.bytes_of_span(Span { first: index, count: 1 })
    }

    /// The place of a span's bytes, if the blob has all its pieces.
    pub fn bytes_of_span(&self, span: Span) -> Option<Range<u64>> {
        span.fits(self.len())
            .then(|| self.offsets[span.first.as_usize()]..self.offsets[span.range().end as usize])
    }

    /// A span in parts of at most `max_bytes`, or a piece each where that is longer; of a span that goes beyond the blob, what
    /// the blob has.
    pub fn cut(&self, span: Span, max_bytes: u64) -> Vec<Span> {
        let mut parts: Vec<Span> = Vec::new();
        let mut bytes = 0;
        for index in span.indices() {
            let Some(piece) = self.piece(index) else { break };
            let len = u64::from(piece.len);
            match parts.last_mut() {
                Some(part) if bytes + len <= max_bytes => {
                    part.count += 1;
                    bytes += len;
                }
                _ => {
                    parts.push(Span { first: index, count: 1 });
                    bytes = len;
                }
            }
        }
        parts
    }

    /// Every piece in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> + '_ {
        self.pieces.iter().copied()
    }
}

impl TryFrom<List<Piece, { Self::MAX_PIECES }>> for PieceTable {
    type Error = ManifestError;

    fn try_from(pieces: List<Piece, { Self::MAX_PIECES }>) -> Result<Self, Self::Error> {
        Self::new(pieces.into_vec())
    }
}

impl From<PieceTable> for Vec<Piece> {
    fn from(table: PieceTable) -> Self {
        table.pieces
    }
}

/// What kind of resource a manifest describes. Numbers are part of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum ResourceKind {
    /// One file; its manifest is a pure function of its bytes.
    File,
}

/// What a digest's bytes are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Manifest {
    /// What is described.
    pub kind: ResourceKind,
    /// The blob that holds the bytes.
    pub content: Digest,
    /// The blob's pieces.
    pub pieces: PieceTable,
}

impl Manifest {
    /// Largest encoded manifest, in bytes: the most pieces (37 bytes each at most) and 64 KiB for the rest.
    pub const MAX_BYTES: u32 = (PieceTable::MAX_PIECES * 37 + 65_536) as u32;
    /// What every encoded manifest begins with.
    const MAGIC: [u8; 4] = *b"rdm1";

    /// The manifest of one file.
    pub const fn of_file(content: Digest, pieces: PieceTable) -> Self {
        Self { kind: ResourceKind::File, content, pieces }
    }

    /// The canonical bytes, whose SHA-256 the tag's record holds.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Self::MAGIC.to_vec()).expect("a manifest always encodes")
    }

    /// Reads canonical bytes; anything left over, out of range or written another way is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > Self::MAX_BYTES as usize {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let body = bytes.strip_prefix(&Self::MAGIC).ok_or(ManifestError::Malformed)?;
        let manifest: Self = postcard::from_bytes(body).map_err(|_| ManifestError::Malformed)?;
        if manifest.encode() != bytes {
            return Err(ManifestError::Malformed);
        }
        Ok(manifest)
    }
}

/// Bytes that are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More bytes than any manifest has.
    #[error("a manifest of {0} bytes is over the maximum of {max}", max = Manifest::MAX_BYTES)]
    TooLong(usize),
    /// Not the canonical encoding of a manifest.
    #[error("malformed manifest")]
    Malformed,
    /// More pieces than any blob has.
    #[error("{0} pieces are over the maximum of {max}", max = PieceTable::MAX_PIECES)]
    TooManyPieces(usize),
    /// A piece of no bytes or too many.
    #[error("piece {index} of {len} bytes is outside 1 to {max}", max = PieceTable::MAX_PIECE_BYTES)]
    PieceLength {
        /// The piece's number.
        index: usize,
        /// Its length in bytes.
        len: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: u32) -> Piece {
        Piece { len, hash: Digest::of(&len.to_be_bytes()) }
    }

    #[test]
    fn a_table_knows_the_place_of_each_piece() {
        let table = PieceTable::new(vec![piece(3), piece(5)]).unwrap();
        assert_eq!(table.size(), 8);
        assert_eq!(table.bytes_of(PieceIndex(1)), Some(3..8));
        assert_eq!(table.bytes_of_span(Span::new(0, 2)), Some(0..8));
        assert_eq!(table.bytes_of_span(Span::new(1, 2)), None);
        assert_eq!(PieceTable::new(vec![]).unwrap().size(), 0);
    }

    #[test]
    fn a_span_is_cut_into_parts_of_whole_pieces() {
        let table = PieceTable::new([3, 5, 9, 2, 2].map(piece).to_vec()).unwrap();
        let cut = |first, count| table.cut(Span::new(first, count), 8);
        assert_eq!(cut(0, 5), [Span::new(0, 2), Span::new(2, 1), Span::new(3, 2)]);
        assert_eq!(cut(1, 1), [Span::new(1, 1)]);
        assert_eq!(cut(4, 100), [Span::new(4, 1)], "there is no more");
        assert_eq!(cut(0, u32::MAX), cut(0, 5), "and it takes no time to find that out");
        assert_eq!(cut(5, 1), []);
    }

    #[test]
    fn impossible_tables_are_refused() {
        assert!(PieceTable::new(vec![piece(0)]).is_err());
        assert!(PieceTable::new(vec![piece(PieceTable::MAX_PIECE_BYTES + 1)]).is_err());
        assert!(PieceTable::new(vec![piece(1); PieceTable::MAX_PIECES + 1]).is_err());
    }

    #[test]
    fn only_canonical_bytes_are_a_manifest() {
        let manifest =
            Manifest::of_file(Digest::of(b"x"), PieceTable::new(vec![piece(1), piece(300)]).unwrap());
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        assert!(Manifest::decode(&[&bytes[..], &[0]].concat()).is_err(), "a byte more");
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "cut to {cut} bytes");
        }
        // A two-byte varint for the first length, 1, where one byte does.
        let at = 4 + 1 + 32 + 1;
        let padded = [&bytes[..at], &[0x81, 0x00], &bytes[at + 1..]].concat();
        assert_eq!(Manifest::decode(&padded), Err(ManifestError::Malformed));
    }
}
