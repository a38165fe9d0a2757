//! Pieces by number: one index, a run of neighbours, a set.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The number of a piece in its blob, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PieceIndex(pub u32);

impl PieceIndex {
    /// The index as a position in a slice.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Neighbouring pieces asked for in one request: `count` of them from `first` on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Span {
    /// The first piece.
    pub first: PieceIndex,
    /// How many pieces; a span of none asks for nothing and is refused where it would be a request.
    pub count: u32,
}

impl Span {
    /// The span of `count` pieces from piece number `first` on.
    pub const fn new(first: u32, count: u32) -> Self {
        Self { first: PieceIndex(first), count }
    }

    /// The pieces' numbers; empty for a span that would run past the last possible number.
    pub const fn range(self) -> Range<u32> {
        match self.first.0.checked_add(self.count) {
            Some(end) => self.first.0..end,
            None => 0..0,
        }
    }

    /// The pieces, one by one.
    pub fn indices(self) -> impl Iterator<Item = PieceIndex> {
        self.range().map(PieceIndex)
    }

    /// Whether the span names at least one piece and only pieces of a blob that has `pieces` of them.
    pub fn fits(self, pieces: u32) -> bool {
        self.count > 0 && self.first.0.checked_add(self.count).is_some_and(|end| end <= pieces)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pieces {:?}", self.range())
    }
}

/// A set of the pieces of one blob, a bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceSet {
    words: Vec<u64>,
    pieces: u32,
    count: u32,
}

impl PieceSet {
    /// No piece of a blob that has `pieces` of them.
    pub fn empty(pieces: u32) -> Self {
        Self { words: vec![0; (pieces as usize).div_ceil(64)], pieces, count: 0 }
    }

    /// Every piece.
    pub fn full(pieces: u32) -> Self {
        let mut set = Self::empty(pieces);
        set.insert_span(Span::new(0, pieces));
        set
    }

    /// How many pieces the blob has.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// How many pieces are in the set.
    pub const fn len(&self) -> u32 {
        self.count
    }

    /// Whether the set holds no piece.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the set holds every piece; true of a blob without pieces.
    pub const fn is_full(&self) -> bool {
        self.count == self.pieces
    }

    /// Whether `piece` is in the set; false of a piece that the blob does not have.
    pub fn contains(&self, piece: PieceIndex) -> bool {
        piece.0 < self.pieces && self.words[piece.as_usize() / 64] & bit(piece) != 0
    }

    /// Adds a piece and says whether it was new. A piece that the blob does not have is never new.
    pub fn insert(&mut self, piece: PieceIndex) -> bool {
        if piece.0 >= self.pieces || self.contains(piece) {
            return false;
        }
        self.words[piece.as_usize() / 64] |= bit(piece);
        self.count += 1;
        true
    }

    /// Takes a piece out and says whether it was there.
    pub fn remove(&mut self, piece: PieceIndex) -> bool {
        if !self.contains(piece) {
            return false;
        }
        self.words[piece.as_usize() / 64] &= !bit(piece);
        self.count -= 1;
        true
    }

    /// Adds the pieces of a span that the blob has.
    pub fn insert_span(&mut self, span: Span) {
        let range = span.range();
        for piece in range.start..range.end.min(self.pieces) {
            self.insert(PieceIndex(piece));
        }
    }

    /// The pieces in the set, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = PieceIndex> + '_ {
        (0..self.pieces).map(PieceIndex).filter(|piece| self.contains(*piece))
    }

    /// The pieces in the set as the fewest spans, lowest first.
    pub fn spans(&self) -> Vec<Span> {
        runs(self.iter())
    }

    /// The pieces that are not in the set as the fewest spans, lowest first.
    pub fn missing_spans(&self) -> Vec<Span> {
        runs((0..self.pieces).map(PieceIndex).filter(|piece| !self.contains(*piece)))
    }
}

impl fmt::Debug for PieceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} pieces", self.count, self.pieces)
    }
}

const fn bit(piece: PieceIndex) -> u64 {
    1 << (piece.0 % 64)
}

fn runs(pieces: impl Iterator<Item = PieceIndex>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for piece in pieces {
        match spans.last_mut() {
            Some(span) if span.range().end == piece.0 => span.count += 1,
            _ => spans.push(Span { first: piece, count: 1 }),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_what_it_holds_and_ignores_what_the_blob_lacks() {
        let mut set = PieceSet::empty(70);
        assert!(set.insert(PieceIndex(69)));
        assert!(!set.insert(PieceIndex(69)));
        assert!(!set.insert(PieceIndex(70)));
        assert!(!set.contains(PieceIndex(u32::MAX)));
        assert_eq!(set.len(), 1);
        assert!(set.remove(PieceIndex(69)));
        assert!(set.is_empty());
    }

    #[test]
    fn spans_and_missing_spans_split_the_blob() {
        let mut set = PieceSet::empty(10);
        set.insert_span(Span::new(2, 3));
        set.insert_span(Span::new(9, 50));
        assert_eq!(set.spans(), [Span::new(2, 3), Span::new(9, 1)]);
        assert_eq!(set.missing_spans(), [Span::new(0, 2), Span::new(5, 4)]);
        assert!(PieceSet::full(10).missing_spans().is_empty());
        assert!(PieceSet::full(0).is_full());
    }

    #[test]
    fn a_span_past_the_end_does_not_fit() {
        assert!(Span::new(0, 10).fits(10));
        assert!(!Span::new(1, 10).fits(10));
        assert!(!Span::new(3, 0).fits(10));
        assert!(!Span::new(u32::MAX, 2).fits(u32::MAX));
        assert!(Span::new(u32::MAX, 2).range().is_empty());
    }
}
