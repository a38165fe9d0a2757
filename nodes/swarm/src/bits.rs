//! A set of piece numbers that can be searched a word at a time.

use std::ops::Range;

const WORD: u32 = u64::BITS;

/// A bit for each piece. Searches over two sets cost a step for each 64 pieces, not for each piece.
#[derive(Debug, Clone)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    /// No piece of `len`.
    pub(crate) fn empty(len: u32) -> Self {
        Self { words: vec![0; len.div_ceil(WORD) as usize], len }
    }

    /// Every piece of `len`.
    pub(crate) fn full(len: u32) -> Self {
        let mut bits = Self::empty(len);
        bits.insert_range(0..len, |_| {});
        bits
    }

    pub(crate) fn contains(&self, piece: u32) -> bool {
        piece < self.len && self.words[(piece / WORD) as usize] & bit(piece) != 0
    }

    pub(crate) fn insert(&mut self, piece: u32) {
        self.words[(piece / WORD) as usize] |= bit(piece);
    }

    pub(crate) fn remove(&mut self, piece: u32) {
        self.words[(piece / WORD) as usize] &= !bit(piece);
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Adds the pieces of a range that exist, and tells which of them were new.
    pub(crate) fn insert_range(&mut self, range: Range<u32>, mut new: impl FnMut(u32)) {
        let end = range.end.min(self.len);
        let mut piece = range.start;
        while piece < end {
            let word_end = (piece / WORD + 1) * WORD;
            let until = end.min(word_end);
            let mask = (u64::MAX << (piece % WORD)) & (u64::MAX >> (word_end - until));
            let word = &mut self.words[(piece / WORD) as usize];
            ones(mask & !*word, piece / WORD * WORD).for_each(&mut new);
            *word |= mask;
            piece = until;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.words.iter().map(|word| word.count_ones()).sum::<u32>() == self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip(0..).flat_map(|(word, index)| ones(*word, index * WORD))
    }

    /// Whether any piece is in both sets.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        // Without a branch for each word, several are compared at once.
        self.words.iter().zip(&other.words).fold(0, |any, (a, b)| any | a & b) != 0
    }

    /// How many pieces are in all three sets.
    pub(crate) fn count_common(&self, second: &Self, third: &Self) -> u32 {
        self.common_words(second, third).map(u64::count_ones).sum()
    }

    fn common_words(&self, second: &Self, third: &Self) -> impl Iterator<Item = u64> {
        self.words.iter().zip(&second.words).zip(&third.words).map(|((a, b), c)| a & b & c)
    }

    /// The first so many pieces in both sets, from `start` upward and then from the first: a word at a time, with the number of the
    /// word.
    pub(crate) fn sample_common(&self, other: &Self, start: u32, most: u32) -> Vec<(u32, u64)> {
        let (words, first) = (self.words.len(), (start / WORD) as usize);
        let low = bit(start) - 1;
        let mut left = most;
        let mut sample = Vec::with_capacity(words.min(most as usize) + 1);
        // The start's word comes twice: first for what is above the start, at the end for what is below.
        for step in 0..=words {
            let index = if first + step < words { first + step } else { first + step - words };
            let both = self.words[index] & other.words[index];
            let word = match step {
                0 => both & !low,
                last if last == words => both & low,
                _ => both,
            };
            if word == 0 {
                continue;
            }
            let count = word.count_ones();
            if count >= left {
                let beyond = ones(word, 0).nth(left as usize).map_or(0, |beyond| u64::MAX << beyond);
                sample.push((index as u32, word & !beyond));
                break;
            }
            left -= count;
            sample.push((index as u32, word));
        }
        sample
    }

    /// The pieces in both sets, from `start` upward and then from the first.
    pub(crate) fn common_from<'a>(&'a self, other: &'a Self, start: u32) -> impl Iterator<Item = u32> + 'a {
        let (words, first) = (self.words.len(), (start / WORD) as usize);
        let low = bit(start) - 1;
        // The start's word comes twice: first for what is above the start, at the end for what is below.
        (0..=words).filter(move |_| first < words).flat_map(move |step| {
            let index = (first + step) % words;
            let both = self.words[index] & other.words[index];
            let word = match step {
                0 => both & !low,
                last if last == words => both & low,
                _ => both,
            };
            ones(word, index as u32 * WORD)
        })
    }

    /// The piece in all three sets that has `rank` others of them below it.
    pub(crate) fn nth_common(&self, second: &Self, third: &Self, mut rank: u32) -> Option<u32> {
        for (index, word) in self.common_words(second, third).enumerate() {
            let count = word.count_ones();
            if rank < count {
                return ones(word, index as u32 * WORD).nth(rank as usize);
            }
            rank -= count;
        }
        None
    }
}

/// The pieces of a word that pass a test.
pub(crate) fn keep(word: u64, index: u32, mut test: impl FnMut(u32) -> bool) -> u64 {
    let failed = ones(word, index * WORD).filter(|piece| !test(*piece));
    failed.fold(word, |word, piece| word & !bit(piece))
}

const fn bit(piece: u32) -> u64 {
    1 << (piece % WORD)
}

fn ones(mut word: u64, base: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let low = (word != 0).then(|| base + word.trailing_zeros())?;
        word &= word - 1;
        Some(low)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_reports_only_what_was_new_and_ignores_what_does_not_exist() {
        let mut bits = Bits::empty(130);
        bits.insert(64);
        let mut new = Vec::new();
        bits.insert_range(62..66, |piece| new.push(piece));
        bits.insert_range(128..u32::MAX, |piece| new.push(piece));
        bits.insert_range(500..600, |piece| new.push(piece));
        assert_eq!(new, [62, 63, 65, 128, 129]);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [62, 63, 64, 65, 128, 129]);
        assert_eq!(Bits::full(130).iter().count(), 130);
        assert!(Bits::full(0).is_empty());
    }

    proptest! {
        #[test]
        fn searches_over_two_sets_agree_with_a_search_piece_by_piece(
            a in proptest::collection::btree_set(0u32..200, 0..200),
            b in proptest::collection::btree_set(0u32..200, 0..200),
            start in 0u32..200,
        ) {
            let set = |pieces: &std::collections::BTreeSet<u32>| {
                let mut bits = Bits::empty(200);
                pieces.iter().for_each(|piece| bits.insert(*piece));
                bits
            };
            let both: Vec<u32> = a.intersection(&b).copied().collect();
            let (above, below): (Vec<u32>, Vec<u32>) = both.iter().partition(|piece| **piece >= start);
            let (a, b) = (set(&a), set(&b));
            let all = Bits::full(200);
            prop_assert_eq!(a.count_common(&b, &all) as usize, both.len());
            prop_assert_eq!(a.meets(&b), !both.is_empty());
            prop_assert_eq!(a.common_from(&b, start).collect::<Vec<_>>(), [above, below].concat());
            for most in [1, 3, 70, 200] {
                let sample = a.sample_common(&b, start, most);
                let pieces = sample.iter().flat_map(|(index, word)| ones(*word, index * WORD));
                let first = a.common_from(&b, start).take(most as usize);
                prop_assert_eq!(pieces.collect::<Vec<_>>(), first.collect::<Vec<_>>());
            }
            for (rank, piece) in both.iter().enumerate() {
                prop_assert_eq!(a.nth_common(&all, &b, rank as u32), Some(*piece));
            }
            prop_assert_eq!(all.nth_common(&a, &b, both.len() as u32), None);
        }
    }
}
