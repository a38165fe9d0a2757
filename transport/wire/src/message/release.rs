//! A push is over, says a proxy to an origin; a pull is delivered, says a client to its agent.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Message, Request};

/// Ends the pin that a push's offer, or a pull, began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Release {
    /// The push; of a pull its trace.
    pub push: u64,
    /// The content.
    pub digest: Digest,
}

impl Message for Release {
    const KIND: Kind = Kind::Release;
}

impl Request for Release {
    type Reply = Released;
}

/// The pin has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Released {}

impl Message for Released {
    const KIND: Kind = Kind::Released;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod release {
        use super::*;

        message_tests!(
            Release,
            Release { push: 5, digest: Digest::from_bytes([1; 32]) },
            "1a00002700000000000102b81701050101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod released {
        use super::*;

        message_tests!(Released, Released {}, "1b00000600000000000102b81701");
    }
}
