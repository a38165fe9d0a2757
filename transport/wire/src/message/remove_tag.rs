//! From an operator to a build-index: remove a version.

use serde::{Deserialize, Serialize};

use crate::{Kind, Message, Record, Request, TagQuery};

/// Asks for a live version, or the latest, to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct RemoveTag {
    /// Which.
    pub query: TagQuery,
}

impl Message for RemoveTag {
    const KIND: Kind = Kind::RemoveTag;
}

impl Request for RemoveTag {
    type Reply = Removed;
}

/// The tombstone is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Removed {
    /// The tombstone.
    pub record: Record,
}

impl Message for Removed {
    const KIND: Kind = Kind::Removed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod remove {
        use super::*;

        message_tests!(
            RemoveTag,
            RemoveTag { query: "k:1".parse().unwrap() },
            "2400000b00000000000102b81701016b010131"
        );
    }

    mod removed {
        use super::*;

        message_tests!(
            Removed,
            Removed { record: sample_record() },
            "2500009100000000000102b817011068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e74787401370701010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f0a2040402683180d095ffbc3105a0038280d0e2c6bfce972f0be697a5e7bb88206461746100"
        );
    }
}
