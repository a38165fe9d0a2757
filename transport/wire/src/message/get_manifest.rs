//! A manifest by its hash.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Message, Request};

/// Asks for the manifest of a content. An agent that fetches the content answers another agent as soon as it has the manifest, and after 3 s without one that it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct GetManifest {
    /// The content.
    pub digest: Digest,
    /// SHA-256 of the manifest's canonical bytes.
    pub manifest: Digest,
}

impl Message for GetManifest {
    const KIND: Kind = Kind::GetManifest;
}

impl Request for GetManifest {
    type Reply = ManifestBody;
}

/// The body is the manifest's canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ManifestBody {}

impl Message for ManifestBody {
    const KIND: Kind = Kind::ManifestBody;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod get {
        use super::*;

        message_tests!(
            GetManifest,
            GetManifest { digest: Digest::from_bytes([1; 32]), manifest: Digest::from_bytes([2; 32]) },
            "3400004600000000000102b8170101010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202"
        );
    }

    mod body {
        use super::*;

        message_tests!(ManifestBody, ManifestBody {}, "3500000600000000000102b81701");
    }
}
