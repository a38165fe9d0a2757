//! From a proxy to a build-index: write the record that names durable content.

use serde::{Deserialize, Serialize};

use super::Committed;
use crate::{Attributes, Digest, Kind, Message, Name, NodeId, Request, Version};

/// Names content that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PutTag {
    /// The push; asked twice, the same record answers.
    pub push: u64,
    /// What to call it.
    pub name: Name,
    /// Its version, or none for the next one.
    pub version: Option<Version>,
    /// The content.
    pub digest: Digest,
    /// SHA-256 of its canonical manifest.
    pub manifest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its number of pieces.
    pub pieces: u32,
    /// Who pushed it.
    pub by: NodeId,
    /// What was pushed, beside its bytes.
    pub attributes: Attributes,
}

impl Message for PutTag {
    const KIND: Kind = Kind::PutTag;
}

impl Request for PutTag {
    type Reply = Committed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    message_tests!(
        PutTag,
        PutTag {
            push: 5,
            name: sample_name(),
            version: None,
            digest: Digest::from_bytes([1; 32]),
            manifest: Digest::from_bytes([2; 32]),
            size: 70_000,
            pieces: 4,
            by: "h1".parse().unwrap(),
            attributes: sample_attributes()
        },
        "1800008800000000000102b81701051068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e7478740001010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f0a20404026831a0038280d0e2c6bfce972f0be697a5e7bb882064617461"
    );
}
