//! The last step of a push: make it durable, then name it.

use serde::{Deserialize, Serialize};

use crate::{Attributes, Digest, Kind, Message, Name, Record, Request, Version};

/// Asks for the content to be checked whole, made durable, and named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Commit {
    /// The push.
    pub push: u64,
    /// What to call it.
    pub name: Name,
    /// Its version, or none for the next one.
    pub version: Option<Version>,
    /// The content.
    pub digest: Digest,
    /// What was pushed, beside its bytes.
    pub attributes: Attributes,
}

impl Message for Commit {
    const KIND: Kind = Kind::Commit;
}

impl Request for Commit {
    type Reply = Committed;
}

/// The name stands and its content is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Committed {
    /// The record that names it.
    pub record: Record,
    /// Whether this push wrote it.
    pub fresh: Fresh,
}

impl Message for Committed {
    const KIND: Kind = Kind::Committed;
}

/// Whether a record is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Fresh {
    /// This push wrote the record.
    Written,
    /// The version already stood with the same content.
    Standing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod commit {
        use super::*;

        message_tests!(
            Commit,
            Commit {
                push: 5,
                name: sample_name(),
                version: Some("7".parse().unwrap()),
                digest: Digest::from_bytes([1; 32]),
                attributes: sample_attributes()
            },
            "1400006300000000000102b81701051068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e7478740101370101010101010101010101010101010101010101010101010101010101010101a0038280d0e2c6bfce972f0be697a5e7bb882064617461"
        );
    }

    mod committed {
        use super::*;

        message_tests!(
            Committed,
            Committed { record: sample_record(), fresh: Fresh::Written },
            "1500009200000000000102b817011068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e74787401370701010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f0a2040402683180d095ffbc3105a0038280d0e2c6bfce972f0be697a5e7bb8820646174610000"
        );
    }
}
