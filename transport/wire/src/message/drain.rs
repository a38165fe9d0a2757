//! The speaker is going away: on its control stream.

use serde::{Deserialize, Serialize};

use crate::{Kind, Message};

/// No new requests, please; those that run may end within the grace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Drain {
    /// Milliseconds until the connection is closed.
    pub grace_ms: u32,
}

impl Message for Drain {
    const KIND: Kind = Kind::Drain;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    message_tests!(Drain, Drain { grace_ms: 300 }, "0200000800000000000102b81701ac02");
}
