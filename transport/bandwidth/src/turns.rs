//! Whose turn it is: start-time fair queueing (Goyal, Vin and Cheng, 1996).
//!
//! Each member has a virtual time that moves on by what it is served, and who is furthest behind is served next. Who had
//! nothing to ask for comes back at the time of the others, so that nobody saves up turns.

use std::collections::{BTreeMap, BTreeSet};

/// Members that share something, those that wait in the order of their turns.
#[derive(Debug)]
pub(crate) struct Turns<K> {
    waiting: BTreeSet<(u64, K)>,
    /// Everybody's virtual time, in bytes.
    times: BTreeMap<K, u64>,
    /// That of whoever was served last.
    now: u64,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { waiting: BTreeSet::new(), times: BTreeMap::new(), now: 0 }
    }
}

impl<K: Copy + Ord> Turns<K> {
    /// Waits for its turn, if it does not already.
    pub(crate) fn enter(&mut self, member: K) {
        let time = self.times.entry(member).or_insert(self.now);
        if !self.waiting.contains(&(*time, member)) {
            *time = (*time).max(self.now);
            self.waiting.insert((*time, member));
        }
    }

    /// Does not wait any more. Its virtual time is remembered.
    pub(crate) fn step_aside(&mut self, member: K) {
        if let Some(time) = self.times.get(&member) {
            self.waiting.remove(&(*time, member));
        }
    }

    /// Forgets a member.
    pub(crate) fn leave(&mut self, member: K) {
        self.step_aside(member);
        self.times.remove(&member);
    }

    /// Whose turn it is.
    pub(crate) fn next(&self) -> Option<K> {
        self.waiting.first().map(|(_, member)| *member)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Moves the time of a member on by what it was served.
    pub(crate) fn served(&mut self, member: K, bytes: u64) {
        let Some(time) = self.times.get_mut(&member) else { return };
        let waits = self.waiting.remove(&(*time, member));
        self.now = self.now.max(*time);
        *time += bytes;
        if waits {
            self.waiting.insert((*time, member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(turns: &mut Turns<char>, bytes: impl Fn(char) -> u64, times: usize) -> String {
        let serve = |_| {
            let next = turns.next()?;
            turns.served(next, bytes(next));
            Some(next)
        };
        (0..times).map_while(serve).collect()
    }

    #[test]
    fn members_are_served_the_same_number_of_bytes() {
        let mut turns = Turns::default();
        "abc".chars().for_each(|member| turns.enter(member));
        let served = serve(&mut turns, |member| if member == 'a' { 2 } else { 1 }, 15);
        let count = |who| served.chars().filter(|member| *member == who).count();
        assert_eq!([count('a'), count('b'), count('c')], [3, 6, 6], "{served}");
    }

    #[test]
    fn who_comes_back_has_saved_up_nothing_and_lost_nothing() {
        let mut turns = Turns::default();
        "ab".chars().for_each(|member| turns.enter(member));
        turns.step_aside('b');
        assert_eq!(serve(&mut turns, |_| 10, 5), "aaaaa");
        turns.enter('b');
        assert_eq!(serve(&mut turns, |_| 10, 6), "bababa");
        // One that asks again right after it was served waits for the others all the same.
        turns.step_aside('a');
        turns.enter('a');
        assert_eq!(serve(&mut turns, |_| 10, 2), "ba");
        turns.leave('a');
        assert_eq!(serve(&mut turns, |_| 10, 2), "bb");
        turns.leave('b');
        assert!(turns.is_empty() && turns.next().is_none());
    }
}
