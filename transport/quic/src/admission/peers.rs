//! How many connections a socket holds, and how many of them each node.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rdcq_wire::NodeId;

/// Counts live connections by node. Holds an entry only for nodes that have one, so it is bounded by the connections.
#[derive(Debug)]
pub(crate) struct PeerSlots {
    max: usize,
    max_per_peer: usize,
    taken: usize,
    held: BTreeMap<NodeId, usize>,
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// All are taken.
    Full,
    /// The node has as many as it may.
    TooMany,
}

impl PeerSlots {
    pub(crate) const fn new(max: usize, max_per_peer: usize) -> Self {
        Self { max, max_per_peer, taken: 0, held: BTreeMap::new() }
    }

    /// Whether all slots are taken.
    pub(crate) const fn is_full(&self) -> bool {
        self.taken >= self.max
    }

    /// Takes a slot, and says how many the node holds now.
    pub(crate) fn try_take(&mut self, node: &NodeId) -> Result<usize, NoSlot> {
        if self.is_full() {
            return Err(NoSlot::Full);
        }
        let held = self.held(node);
        if held >= self.max_per_peer {
            return Err(NoSlot::TooMany);
        }
        self.taken += 1;
        self.held.insert(node.clone(), held + 1);
        Ok(held + 1)
    }

    /// Gives back a slot that was taken.
    pub(crate) fn give_back(&mut self, node: &NodeId) {
        let Entry::Occupied(mut entry) = self.held.entry(node.clone()) else {
            debug_assert!(false, "{node} holds no slot");
            return;
        };
        match *entry.get() {
            0 | 1 => drop(entry.remove()),
            more => *entry.get_mut() = more - 1,
        }
        self.taken = self.taken.saturating_sub(1);
    }

    /// How many the node holds.
    pub(crate) fn held(&self, node: &NodeId) -> usize {
        self.held.get(node).copied().unwrap_or(0)
    }

    /// Nodes that hold any.
    #[cfg(test)]
    pub(crate) fn nodes(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_PER_PEER: usize = 8;

    fn nodes() -> [NodeId; 2] {
        ["a".parse().unwrap(), "b".parse().unwrap()]
    }

    #[test]
    fn a_node_takes_what_it_may_and_no_other_is_the_poorer() {
        let mut slots = PeerSlots::new(100, MAX_PER_PEER);
        let [a, b] = nodes();
        for held in 1..=MAX_PER_PEER {
            assert_eq!(slots.try_take(&a), Ok(held));
        }
        assert_eq!((slots.try_take(&a), slots.try_take(&b)), (Err(NoSlot::TooMany), Ok(1)));
        slots.give_back(&a);
        assert_eq!((slots.held(&a), slots.try_take(&a)), (MAX_PER_PEER - 1, Ok(MAX_PER_PEER)));
        (0..MAX_PER_PEER).for_each(|_| slots.give_back(&a));
        slots.give_back(&b);
        assert_eq!(slots.nodes(), 0);
    }

    #[test]
    fn all_nodes_together_take_what_there_is() {
        let mut slots = PeerSlots::new(3, 2);
        let [a, b] = nodes();
        assert_eq!(
            [&a, &a, &b, &b].map(|node| slots.try_take(node)),
            [Ok(1), Ok(2), Ok(1), Err(NoSlot::Full)]
        );
        assert!(slots.is_full());
        slots.give_back(&a);
        assert!(!slots.is_full());
        assert_eq!(slots.try_take(&b), Ok(2));
    }
}
