//! A small number for each piece.

const WORD: u32 = u64::BITS;
/// Binary digits of a number at first: few know more than thirty others.
const DIGITS: usize = 5;

/// A number for each piece, as a bit for each of its digits: those of 64 pieces lie side by side, so that to find the least of hundreds
/// takes a few steps for each 64, and all of it a kilobyte where there are thousands of pieces.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// For each 64 pieces the lowest digits, the next ones, and so on.
    words: Vec<u64>,
    digits: usize,
}

impl Tally {
    /// 0 for each of so many pieces.
    pub(crate) fn new(pieces: u32) -> Self {
        Self { words: vec![0; pieces.div_ceil(WORD) as usize * DIGITS], digits: DIGITS }
    }

    pub(crate) fn of(&self, piece: u32) -> u32 {
        let shift = piece % WORD;
        let digits = self.digits_of(piece / WORD).iter().rev();
        digits.fold(0, |number, digit| 2 * number + (digit >> shift & 1) as u32)
    }

    pub(crate) fn increment(&mut self, piece: u32) {
        let mut carry = 1 << (piece % WORD);
        for digit in self.digits_of_mut(piece) {
            let before = *digit;
            *digit ^= carry;
            carry &= before;
            if carry == 0 {
                return;
            }
        }
        let digits = self.digits;
        self.lengthen();
        self.digits_of_mut(piece)[digits] |= carry;
    }

    /// Takes 1 from a number that is not 0.
    pub(crate) fn decrement(&mut self, piece: u32) {
        let mut borrow = 1 << (piece % WORD);
        for digit in self.digits_of_mut(piece) {
            *digit ^= borrow;
            borrow &= *digit;
            if borrow == 0 {
                return;
            }
        }
    }

    /// The piece of a sample with the least number, and of several the first; any with 0 or 1 is as good as another. What is left of the
    /// sample is of no use.
    pub(crate) fn fewest(&self, sample: &mut [(u32, u64)]) -> Option<u32> {
        for digit in (0..self.digits).rev() {
            let without = |(word, pieces): (u32, u64)| pieces & !self.digits_of(word)[digit];
            let is_some_without = sample.iter().any(|entry| without(*entry) != 0);
            if is_some_without && (digit > 0 || self.is_some_above_1(sample)) {
                sample.iter_mut().for_each(|entry| entry.1 = without(*entry));
            }
        }
        let (word, pieces) = sample.iter().find(|(_, pieces)| *pieces != 0)?;
        Some(word * WORD + pieces.trailing_zeros())
    }

    fn is_some_above_1(&self, sample: &[(u32, u64)]) -> bool {
        let above = |word: u32| self.digits_of(word)[1..].iter().fold(0, |any, digit| any | digit);
        sample.iter().any(|(word, pieces)| pieces & above(*word) != 0)
    }

    fn digits_of(&self, word: u32) -> &[u64] {
        &self.words[word as usize * self.digits..][..self.digits]
    }

    fn digits_of_mut(&mut self, piece: u32) -> &mut [u64] {
        &mut self.words[(piece / WORD) as usize * self.digits..][..self.digits]
    }

    fn lengthen(&mut self) {
        let longer = self.words.chunks(self.digits).flat_map(|digits| digits.iter().copied().chain([0]));
        self.words = longer.collect();
        self.digits += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_counted_and_the_least_comes_first(
            numbers in proptest::collection::vec(0u32..70, 1..200),
            start in 0u32..200,
        ) {
            let count = numbers.len() as u32;
            let mut tally = Tally::new(count);
            for (number, piece) in numbers.iter().zip(0..) {
                (0..number + 3).for_each(|_| tally.increment(piece));
                (0..3).for_each(|_| tally.decrement(piece));
            }
            let counted: Vec<u32> = (0..count).map(|piece| tally.of(piece)).collect();
            prop_assert_eq!(&counted, &numbers);
            let start = start % count;
            let all = crate::bits::Bits::full(count);
            let order = || (start..count).chain(0..start);
            let least = numbers.iter().copied().min().unwrap_or_default().max(1);
            let first = order().find(|piece| numbers[*piece as usize] <= least);
            prop_assert_eq!(tally.fewest(&mut all.sample_common(&all, start, count)), first);
        }
    }
}
