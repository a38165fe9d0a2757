//! What a node may move in one direction.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use rdcq_wire::{ByteRate, Class, NodeId, RateLimit};

/// What a node may move in one direction, and how that is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// All of it.
    pub node: RateLimit,
    /// What each class may have of it.
    pub classes: Classes,
    /// Peers with a rate of their own.
    pub peers: BTreeMap<NodeId, RateLimit>,
}

/// Something for each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// For [`Class::Urgent`].
    pub urgent: ClassLimits,
    /// For [`Class::Normal`].
    pub normal: ClassLimits,
    /// For [`Class::Background`].
    pub background: ClassLimits,
}

/// What a class may have of a node's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimits {
    /// Its part, beside the weights of the others that want something.
    pub weight: NonZeroU32,
    /// What it has before the others share the rest; they have what it does not use.
    pub minimum: Option<ByteRate>,
    /// What it never has more of.
    pub ceiling: RateLimit,
}

/// Why limits contradict one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// The guaranteed minimums cannot all be kept.
    #[error(
        "the minimums of the classes are {sum} in sum, more than the node's limit of {limit}; lower one of them"
    )]
    Minimums {
        /// All of them.
        sum: ByteRate,
        /// What there is.
        limit: ByteRate,
    },
    /// A class is guaranteed more than it may have.
    #[error(
        "the class {class} has a minimum of {minimum}, more than its ceiling of {ceiling}; change one of them"
    )]
    Ceiling {
        /// Which class.
        class: Class,
        /// Its minimum.
        minimum: ByteRate,
        /// Its ceiling.
        ceiling: ByteRate,
    },
}

impl Default for Limits {
    /// No limit; classes share what there is 8 : 4 : 1.
    fn default() -> Self {
        Self { node: RateLimit::Unlimited, classes: Classes::default(), peers: BTreeMap::new() }
    }
}

impl Default for Classes {
    fn default() -> Self {
        let weighing = |weight| ClassLimits { weight, minimum: None, ceiling: RateLimit::Unlimited };
        Self {
            urgent: weighing(const { NonZeroU32::new(8).unwrap() }),
            normal: weighing(const { NonZeroU32::new(4).unwrap() }),
            background: weighing(NonZeroU32::MIN),
        }
    }
}

impl Classes {
    /// What is for `class`.
    pub const fn of(&self, class: Class) -> &ClassLimits {
        match class {
            Class::Urgent => &self.urgent,
            Class::Normal => &self.normal,
            Class::Background => &self.background,
        }
    }
}

impl Limits {
    /// Whether all of it can be kept.
    pub fn check(&self) -> Result<(), LimitsError> {
        for class in Class::ALL {
            let ClassLimits { minimum, ceiling, .. } = *self.classes.of(class);
            if let (Some(minimum), RateLimit::At(ceiling)) = (minimum, ceiling)
                && minimum > ceiling
            {
                return Err(LimitsError::Ceiling { class, minimum, ceiling });
            }
        }
        let minimums = Class::ALL.into_iter().filter_map(|class| self.classes.of(class).minimum);
        if let (Some(sum), RateLimit::At(limit)) = (minimums.reduce(ByteRate::saturating_add), self.node)
            && sum > limit
        {
            return Err(LimitsError::Minimums { sum, limit });
        }
        Ok(())
    }

    /// Whether nothing has to wait for anything.
    pub fn is_unlimited(&self) -> bool {
        let unlimited = |limit: &RateLimit| *limit == RateLimit::Unlimited;
        let ceilings = Class::ALL.iter().all(|class| unlimited(&self.classes.of(*class).ceiling));
        unlimited(&self.node) && ceilings && self.peers.values().all(unlimited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> ByteRate {
        text.parse().unwrap()
    }

    #[test]
    fn minimums_must_fit_the_node_and_their_class() {
        let mut limits = Limits { node: RateLimit::At(rate("100Mbit/s")), ..Limits::default() };
        limits.classes.urgent.minimum = Some(rate("60Mbit/s"));
        limits.classes.normal.minimum = Some(rate("40Mbit/s"));
        assert_eq!(limits.check(), Ok(()));
        limits.classes.background.minimum = Some(rate("1kB/s"));
        let error = limits.check().unwrap_err().to_string();
        assert!(error.contains("100008kbit/s in sum, more than the node's limit of 100Mbit/s"), "{error}");
        limits.node = RateLimit::Unlimited;
        assert_eq!(limits.check(), Ok(()));
        limits.classes.normal.ceiling = RateLimit::At(rate("39Mbit/s"));
        let error = limits.check().unwrap_err().to_string();
        assert!(error.contains("class normal has a minimum of 40Mbit/s"), "{error}");
    }

    #[test]
    fn weights_and_minimums_alone_make_nobody_wait() {
        let mut limits = Limits::default();
        limits.classes.urgent.minimum = Some(rate("1Gbit/s"));
        assert!(limits.is_unlimited());
        let at = RateLimit::At(rate("1Gbit/s"));
        assert!(!Limits { node: at, ..limits.clone() }.is_unlimited());
        assert!(!Limits { peers: [("a".parse().unwrap(), at)].into(), ..Limits::default() }.is_unlimited());
        limits.classes.background.ceiling = at;
        assert!(!limits.is_unlimited());
    }
}
