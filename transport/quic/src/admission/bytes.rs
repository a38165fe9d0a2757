//! How many bytes of replies are under way, and for whom.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_wire::NodeId;

/// What a node is supposed to send in a second, from which follows when there is room again: 2 Gbit/s.
const BYTES_PER_SECOND: u64 = 256 * 1024 * 1024;
/// Shortest delay worth telling anybody: a few round trips.
const MIN_DELAY: Duration = Duration::from_millis(20);
/// Which part of the budget one node may have, so that one that does not read leaves room for the others: a quarter, eight of
/// the longest bodies by default.
const NODE_PART: u64 = 4;

/// A budget of bytes under way, and what each node has of it. Cheap to clone; clones share it, between threads too.
#[derive(Debug, Clone)]
pub(crate) struct BytesInFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    max: u64,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    /// Holds an entry only for nodes that have something, so it is bounded by the requests under way.
    by_node: BTreeMap<NodeId, u64>,
}

/// Bytes that were set aside; dropped, they are given back.
#[derive(Debug)]
#[must_use = "dropped, it gives its bytes back"]
pub(crate) struct Reservation {
    budget: BytesInFlight,
    /// Whose they are; none if there are none.
    node: Option<NodeId>,
    bytes: u64,
}

impl BytesInFlight {
    pub(crate) fn new(max: u64) -> Self {
        Self(Arc::new(Budget { max, taken: Mutex::default() }))
    }

    /// Sets `bytes` aside for `node`, or says after what delay there should be room. More than the whole budget counts as
    /// all of it, and more than a node's part is given to one that has nothing: such a reply goes alone, rather than never.
    pub(crate) fn try_reserve(&self, node: &NodeId, bytes: u64) -> Result<Reservation, Duration> {
        let bytes = bytes.min(self.0.max);
        if bytes == 0 {
            return Ok(Reservation { budget: self.clone(), node: None, bytes });
        }
        let mut taken = self.taken();
        let all = taken.all.saturating_add(bytes);
        if all > self.0.max {
            return Err(delay(taken.all));
        }
        let held = taken.by_node.get(node).copied().unwrap_or(0);
        if held > 0 && held.saturating_add(bytes) > self.0.max / NODE_PART {
            return Err(delay(held));
        }
        taken.all = all;
        taken.by_node.insert(node.clone(), held + bytes);
        drop(taken);
        Ok(Reservation { budget: self.clone(), node: Some(node.clone()), bytes })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are set aside.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> u64 {
        self.taken().all
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(node) = &self.node else { return };
        let mut taken = self.budget.taken();
        debug_assert!(taken.all >= self.bytes, "more bytes were given back than reserved");
        taken.all = taken.all.saturating_sub(self.bytes);
        if let Some(held) = taken.by_node.get_mut(node) {
            *held = held.saturating_sub(self.bytes);
            if *held == 0 {
                taken.by_node.remove(node);
            }
        }
    }
}

/// What is under way has to be sent before there is room for whoever was turned away: others wait, too.
fn delay(reserved: u64) -> Duration {
    let ms = reserved.saturating_mul(1000) / BYTES_PER_SECOND;
    Duration::from_millis(ms).max(MIN_DELAY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_BYTES_IN_FLIGHT: u64 = 256 * 1024 * 1024;

    fn nodes() -> [NodeId; 4] {
        ["a", "b", "c", "d"].map(|name| name.parse().unwrap())
    }

    #[test]
    fn a_reply_beyond_the_budget_is_told_when_to_come_back() {
        let budget = BytesInFlight::new(MAX_BYTES_IN_FLIGHT);
        let [a, b, ..] = nodes();
        let most = budget.try_reserve(&a, MAX_BYTES_IN_FLIGHT - 10).unwrap();
        let rest = budget.try_reserve(&b, 10).unwrap();
        assert_eq!(budget.try_reserve(&b, 1).unwrap_err(), Duration::from_secs(1));
        drop(most);
        assert_eq!(budget.try_reserve(&b, u64::MAX).unwrap_err(), MIN_DELAY);
        drop(rest);
        let all = budget.try_reserve(&b, u64::MAX).unwrap();
        assert_eq!(budget.reserved(), MAX_BYTES_IN_FLIGHT);
        drop(all);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn a_node_has_its_part_and_leaves_the_rest_to_others() {
        let budget = BytesInFlight::new(1000);
        let [a, b, c, _] = nodes();
        let held: Vec<_> = (0..5).map(|_| budget.try_reserve(&a, 50).unwrap()).collect();
        assert_eq!(budget.try_reserve(&a, 1).unwrap_err(), MIN_DELAY);
        assert!(budget.try_reserve(&a, 0).is_ok());
        let alone = budget.try_reserve(&b, 600).unwrap();
        assert!(budget.try_reserve(&b, 1).is_err());
        let last = budget.try_reserve(&c, 150).unwrap();
        drop((held, alone, last));
        assert_eq!((budget.reserved(), budget.taken().by_node.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn reserved_bytes_are_those_of_the_reservations_that_live(
            steps in proptest::collection::vec((any::<bool>(), 0..4_usize, 0_u64..400), 0..200),
        ) {
            let (budget, nodes) = (BytesInFlight::new(1000), nodes());
            let mut held: Vec<Reservation> = Vec::new();
            for (take, node, bytes) in steps {
                let node = &nodes[node];
                let own: u64 = held.iter().filter(|held| held.node.as_ref() == Some(node)).map(|held| held.bytes).sum();
                match (take, held.is_empty()) {
                    (true, _) | (_, true) => match budget.try_reserve(node, bytes) {
                        Ok(reservation) => held.push(reservation),
                        Err(_) => prop_assert!(budget.reserved() + bytes > 1000 || (own > 0 && own + bytes > 250)),
                    },
                    (false, false) => drop(held.swap_remove(bytes as usize % held.len())),
                }
                prop_assert_eq!(budget.reserved(), held.iter().map(|held| held.bytes).sum::<u64>());
                prop_assert_eq!(budget.taken().by_node.values().sum::<u64>(), budget.reserved());
                prop_assert!(budget.reserved() <= 1000);
            }
        }
    }
}
