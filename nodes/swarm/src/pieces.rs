//! The blob's pieces: what is held, in flight, wanted, and how rare each is.

use std::sync::Arc;

use rdcq_wire::{PieceIndex, PieceSet, Span};

use crate::bits::{self, Bits};
use crate::tally::Tally;

/// How many pieces a search for the rarest looks at, from a random start: a sample is as good and bounds the cost.
const SAMPLE_PIECES: u32 = 256;
/// How far a search for a lonely place looks to either side.
const SOLITUDE_PIECES: u32 = 256;

/// Every piece of the blob.
#[derive(Debug)]
pub(crate) struct Pieces {
    lengths: Arc<[u32]>,
    mean_length: u64,
    longest: u64,
    have: PieceSet,
    /// Neither held nor in flight.
    wanted: Bits,
    wanted_count: u32,
    /// Held by no usable agent.
    unheld: Bits,
    all: Bits,
    /// In flight, and in flight twice.
    flying: Bits,
    twice: Bits,
    /// How many usable agents hold each piece.
    holders: Tally,
}

impl Pieces {
    pub(crate) fn new(lengths: Arc<[u32]>, have: PieceSet) -> Self {
        assert_eq!(lengths.len(), have.pieces() as usize, "every piece has a length");
        let count = have.pieces();
        let mut wanted = Bits::empty(count);
        for span in have.missing_spans() {
            wanted.insert_range(span.range(), |_| {});
        }
        let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        Self {
            longest: lengths.iter().copied().max().unwrap_or_default().into(),
            mean_length: total.div_ceil(lengths.len().max(1) as u64),
            flying: Bits::empty(count),
            twice: Bits::empty(count),
            holders: Tally::new(count),
            unheld: Bits::full(count),
            all: Bits::full(count),
            wanted_count: count - have.len(),
            wanted,
            lengths,
            have,
        }
    }

    pub(crate) const fn have(&self) -> &PieceSet {
        &self.have
    }

    pub(crate) const fn count(&self) -> u32 {
        self.have.pieces()
    }

    pub(crate) const fn missing(&self) -> u32 {
        self.have.pieces() - self.have.len()
    }

    pub(crate) const fn wanted_count(&self) -> u32 {
        self.wanted_count
    }

    pub(crate) fn length(&self, piece: u32) -> u32 {
        self.lengths[piece as usize]
    }

    pub(crate) const fn longest(&self) -> u64 {
        self.longest
    }

    pub(crate) const fn mean_length(&self) -> u64 {
        self.mean_length
    }

    pub(crate) fn flights(&self, piece: u32) -> u8 {
        u8::from(self.flying.contains(piece)) + u8::from(self.twice.contains(piece))
    }

    /// Whether some usable agent holds the piece.
    pub(crate) fn is_held(&self, piece: u32) -> bool {
        !self.unheld.contains(piece)
    }

    /// One more usable agent holds the piece.
    pub(crate) fn gain_holder(&mut self, piece: u32) {
        self.holders.increment(piece);
        self.unheld.remove(piece);
    }

    /// One usable agent fewer holds the piece.
    pub(crate) fn lose_holder(&mut self, piece: u32) {
        debug_assert!(self.holders.of(piece) > 0, "piece {piece} had a holder to lose");
        self.holders.decrement(piece);
        if self.holders.of(piece) == 0 {
            self.unheld.insert(piece);
        }
    }

    /// The piece is asked for: at most once, and once more in the end game.
    pub(crate) fn depart(&mut self, piece: u32) {
        debug_assert!(!self.have.contains(PieceIndex(piece)), "piece {piece} is verified and asked for");
        debug_assert!(!self.twice.contains(piece), "piece {piece} is in flight too often");
        if self.flying.contains(piece) {
            self.twice.insert(piece);
        }
        self.flying.insert(piece);
        if self.wanted.contains(piece) {
            self.wanted.remove(piece);
            self.wanted_count -= 1;
        }
    }

    /// One request for the piece is over; it is wanted again unless it is held or asked elsewhere.
    pub(crate) fn land(&mut self, piece: u32) {
        debug_assert!(self.flights(piece) > 0, "piece {piece} was in flight");
        if self.twice.contains(piece) {
            return self.twice.remove(piece);
        }
        self.flying.remove(piece);
        let wanted = !self.have.contains(PieceIndex(piece));
        if wanted {
            debug_assert!(!self.wanted.contains(piece), "piece {piece} was in flight and wanted");
            self.wanted.insert(piece);
            self.wanted_count += 1;
        }
    }

    /// The piece is stored. Says whether it was missing.
    pub(crate) fn verified(&mut self, piece: PieceIndex) -> bool {
        if self.wanted.contains(piece.0) {
            self.wanted.remove(piece.0);
            self.wanted_count -= 1;
        }
        self.have.insert(piece)
    }

    /// The rarest wanted piece of `among` with at most `room` bytes, from a sample that begins at `start`.
    pub(crate) fn rarest(&self, among: &Bits, start: u32, room: u64) -> Option<u32> {
        let mut sample = self.wanted.sample_common(among, start, SAMPLE_PIECES);
        if room < self.longest {
            for (word, pieces) in &mut sample {
                *pieces = bits::keep(*pieces, *word, |piece| u64::from(self.length(piece)) <= room);
            }
        }
        self.holders.fewest(&mut sample)
    }

    /// Whether any piece of `among` is wanted.
    pub(crate) fn any_wanted(&self, among: &Bits) -> bool {
        self.wanted.meets(among)
    }

    /// The wanted pieces of `among`.
    pub(crate) fn wanted_of<'a>(&'a self, among: &'a Bits) -> impl Iterator<Item = u32> + 'a {
        self.wanted.common_from(among, 0)
    }

    /// Every piece.
    pub(crate) const fn all(&self) -> &Bits {
        &self.all
    }

    /// How many wanted pieces of `among` no usable agent holds.
    pub(crate) fn orphans(&self, among: &Bits) -> u32 {
        // Most of the time an origin has offered nothing that is still wanted.
        if self.wanted.meets(among) { self.wanted.count_common(&self.unheld, among) } else { 0 }
    }

    /// The orphan of `among` that has `rank` others below it.
    pub(crate) fn orphan(&self, among: &Bits, rank: u32) -> Option<u32> {
        self.wanted.nth_common(&self.unheld, among, rank)
    }

    pub(crate) fn is_orphan(&self, piece: u32) -> bool {
        self.wanted.contains(piece) && self.unheld.contains(piece)
    }

    /// How many orphans lie between a piece and the nearest that is none, up to a limit; the blob's ends do not count.
    pub(crate) fn solitude(&self, piece: u32) -> u32 {
        let lonely = |distance: &u32| {
            let below = piece.checked_sub(*distance).is_none_or(|below| self.is_orphan(below));
            let above = piece + distance;
            below && (above >= self.count() || self.is_orphan(above))
        };
        (1..SOLITUDE_PIECES).take_while(lonely).count() as u32
    }

    /// Whether nobody usable holds some wanted piece of `among`.
    pub(crate) fn any_orphan(&self, among: &Bits) -> bool {
        self.wanted.common_from(among, 0).any(|piece| self.unheld.contains(piece))
    }

    /// The longest span from a wanted piece on, of wanted pieces of `among` that are no more common than the first, with
    /// at most `bytes`; always the first.
    pub(crate) fn span_from(&self, first: u32, among: &Bits, bytes: u64) -> Span {
        debug_assert!(self.wanted.contains(first) && among.contains(first), "piece {first} may be asked for");
        let holders = self.holders.of(first);
        let mut total = u64::from(self.length(first));
        let more = (first + 1..self.count()).take_while(|piece| {
            let fits = self.wanted.contains(*piece)
                && among.contains(*piece)
                && self.holders.of(*piece) <= holders
                && total + u64::from(self.length(*piece)) <= bytes;
            total += u64::from(self.length(*piece));
            fits
        });
        Span::new(first, 1 + more.count() as u32)
    }

    /// Whether a verified piece is never wanted and a piece in flight neither; for assertions, on small blobs.
    pub(crate) fn is_consistent(&self) -> bool {
        self.wanted.iter().all(|piece| !self.have.contains(PieceIndex(piece)) && self.flights(piece) == 0)
            && self.wanted.iter().count() == self.wanted_count as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(count: u32) -> Pieces {
        Pieces::new(vec![10; count as usize].into(), PieceSet::empty(count))
    }

    #[test]
    fn the_rarest_wanted_piece_comes_first_wherever_the_search_starts() {
        let mut pieces = pieces(100);
        (0..100).for_each(|piece| pieces.gain_holder(piece));
        (0..100).filter(|piece| *piece != 42).for_each(|piece| pieces.gain_holder(piece));
        for start in 0..100 {
            assert_eq!(pieces.rarest(&Bits::full(100), start, 10), Some(42));
        }
        pieces.depart(42);
        assert_eq!(pieces.rarest(&Bits::full(100), 7, 10), Some(7));
        assert_eq!(pieces.rarest(&Bits::full(100), 7, 9), None, "no piece fits into 9 bytes");
    }

    #[test]
    fn a_span_stops_at_its_size_and_at_what_is_common_or_in_flight() {
        let mut pieces = pieces(10);
        let all = Bits::full(10);
        assert_eq!(pieces.span_from(2, &all, 35), Span::new(2, 3));
        assert_eq!(pieces.span_from(2, &all, 0), Span::new(2, 1));
        pieces.depart(6);
        assert_eq!(pieces.span_from(2, &all, 1000), Span::new(2, 4));
        pieces.gain_holder(4);
        assert_eq!(pieces.span_from(2, &all, 1000), Span::new(2, 2));
    }

    #[test]
    fn a_piece_is_wanted_again_only_when_its_last_flight_ends_without_it() {
        let mut pieces = pieces(3);
        pieces.depart(1);
        pieces.depart(1);
        pieces.land(1);
        assert!(!pieces.is_orphan(1));
        pieces.land(1);
        assert!(pieces.is_orphan(1));
        pieces.depart(1);
        assert!(pieces.verified(PieceIndex(1)));
        pieces.land(1);
        assert!(!pieces.is_orphan(1) && !pieces.verified(PieceIndex(1)));
        assert!(pieces.is_consistent());
    }
}
