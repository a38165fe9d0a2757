//! How many connections each node holds.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rdcq_wire::NodeId;

/// Counts live connections by node. Holds an entry only for nodes that have one, so it is bounded by the connections.
#[derive(Debug)]
pub(crate) struct PeerSlots {
    max_per_peer: usize,
    held: BTreeMap<NodeId, usize>,
}

impl PeerSlots {
    pub(crate) const fn new(max_per_peer: usize) -> Self {
        Self { max_per_peer, held: BTreeMap::new() }
    }

    /// Takes a slot, and says how many the node holds now; `None` if it has as many as it may.
    pub(crate) fn try_take(&mut self, node: &NodeId) -> Option<usize> {
        let held = self.held(node);
        if held >= self.max_per_peer {
            return None;
        }
        self.held.insert(node.clone(), held + 1);
        Some(held + 1)
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

    #[test]
    fn a_node_takes_what_it_may_and_no_other_is_the_poorer() {
        let mut slots = PeerSlots::new(MAX_PER_PEER);
        let [a, b]: [NodeId; 2] = ["a".parse().unwrap(), "b".parse().unwrap()];
        for held in 1..=MAX_PER_PEER {
            assert_eq!(slots.try_take(&a), Some(held));
        }
        assert_eq!((slots.try_take(&a), slots.try_take(&b)), (None, Some(1)));
        slots.give_back(&a);
        assert_eq!((slots.held(&a), slots.try_take(&a)), (MAX_PER_PEER - 1, Some(MAX_PER_PEER)));
        (0..MAX_PER_PEER).for_each(|_| slots.give_back(&a));
        slots.give_back(&b);
        assert_eq!(slots.nodes(), 0);
    }
}
