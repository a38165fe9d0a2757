//! Are you there? QUIC's acknowledgement is the answer.

use serde::{Deserialize, Serialize};

use crate::{Kind, Message};

/// Makes a live peer's QUIC say something, on the control stream; the peer itself says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Ping {}

impl Message for Ping {
    const KIND: Kind = Kind::Ping;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    message_tests!(Ping, Ping {}, "0400000600000000000102b81701");
}
