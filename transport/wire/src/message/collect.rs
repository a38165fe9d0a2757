//! Content may have lost its last name: from a build-index to origins and trackers, from a tracker to agents.

use serde::{Deserialize, Serialize};

use super::Live;
use crate::{Digest, Kind, List, Message, Request};

/// A hint, not an order: whoever stores the content asks the build-index before dropping it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Collect {
    /// The contents.
    pub digests: List<Digest, { Live::MAX }>,
}

impl Message for Collect {
    const KIND: Kind = Kind::Collect;
}

impl Request for Collect {
    type Reply = Collected;
}

/// The hint was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Collected {}

impl Message for Collected {
    const KIND: Kind = Kind::Collected;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod collect {
        use super::*;

        message_tests!(
            Collect,
            Collect { digests: List::first_of([Digest::from_bytes([1; 32])]) },
            "3e00002700000000000102b81701010101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod collected {
        use super::*;

        message_tests!(Collected, Collected {}, "3f00000600000000000102b81701");
    }
}
