//! From a tag to its record.

use serde::{Deserialize, Serialize};

use crate::{Kind, Message, Record, Request, TagQuery};

/// Asks for a live version, or for the latest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Resolve {
    /// Which.
    pub query: TagQuery,
}

impl Message for Resolve {
    const KIND: Kind = Kind::Resolve;
}

impl Request for Resolve {
    type Reply = Resolved;
}

/// The record that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Resolved {
    /// The record.
    pub record: Record,
}

impl Message for Resolved {
    const KIND: Kind = Kind::Resolved;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod resolve {
        use super::*;

        message_tests!(
            Resolve,
            Resolve { query: "k:1".parse().unwrap() },
            "2000000b00000000000102b81701016b010131"
        );
    }

    mod resolved {
        use super::*;

        message_tests!(
            Resolved,
            Resolved { record: sample_record() },
            "2100009100000000000102b817011068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e74787401370701010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f0a2040402683180d095ffbc3105a0038280d0e2c6bfce972f0be697a5e7bb88206461746100"
        );
    }
}
