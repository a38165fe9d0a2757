//! Content as a file's descriptor, for a client on the agent's own host.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Message, Nonce, Request};

/// Asks an agent to lend the file of content, whole or in the making, to a client on its host, read-only. Keeps the content
/// pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Lend {
    /// The content.
    pub digest: Digest,
}

impl Message for Lend {
    const KIND: Kind = Kind::Lend;
}

impl Request for Lend {
    type Reply = Lent;
}

/// Where the descriptor is picked up, and what it is picked up with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Lent {
    /// Which desk of the host hands it out.
    pub desk: Nonce,
    /// What the desk wants to hear; good once, and for 5 s.
    pub token: Nonce,
}

impl Message for Lent {
    const KIND: Kind = Kind::Lent;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod lend {
        use super::*;

        message_tests!(
            Lend,
            Lend { digest: Digest::from_bytes([1; 32]) },
            "3a00002600000000000102b817010101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod lent {
        use super::*;

        message_tests!(
            Lent,
            Lent { desk: Nonce::from_bytes([1; 16]), token: Nonce::from_bytes([2; 16]) },
            "3b00002600000000000102b817010101010101010101010101010101010102020202020202020202020202020202"
        );
    }
}
