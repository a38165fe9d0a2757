//! Who is named to whom.

use rand::Rng;
use rand::seq::index;

/// Agents that have asked, in the order in which they did.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: Vec<u32>,
}

impl Tracker {
    /// Some agents at random that may be the asking one or known to it, and notes the one that asks.
    pub(super) fn name(&mut self, agent: u32, is_new: bool, count: u32, rng: &mut impl Rng) -> Vec<u32> {
        let count = (count as usize).min(self.known.len());
        let named = index::sample(rng, self.known.len(), count).into_iter();
        let named = named.map(|place| self.known[place]).filter(|other| *other != agent).collect();
        if is_new {
            self.known.push(agent);
        }
        named
    }
}
