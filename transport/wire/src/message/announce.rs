//! From an agent to a tracker: what it has or seeks, and who else does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, List, Message, NodeId, Request, Role};

/// Says what the agent has or seeks; repeated while that is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Announce {
    /// The content.
    pub digest: Digest,
    /// What the agent does with it.
    pub goal: Goal,
    /// The UDP port on which the agent serves pieces; its address is the connection's.
    pub port: u16,
}

impl Message for Announce {
    const KIND: Kind = Kind::Announce;
}

impl Request for Announce {
    type Reply = Neighbours;
}

/// What an agent does with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Goal {
    /// It is pulling the content, and serves what it has of it.
    Seek,
    /// It has the content whole and serves it.
    Seed,
    /// It no longer has the content.
    Leave,
}

/// Who else has or seeks the content; origins among them.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Neighbours {
    /// Whom to ask.
    pub neighbours: List<Neighbour, { Neighbours::MAX }>,
    /// Announce again after this many milliseconds.
    pub again_ms: u32,
}

impl Message for Neighbours {
    const KIND: Kind = Kind::Neighbours;
}

impl Neighbours {
    /// Most neighbours in one reply.
    pub const MAX: usize = 64;
}

/// Somebody who has or seeks the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Neighbour {
    /// Its name, where the tracker knows it.
    pub node: Option<NodeId>,
    /// As what it serves.
    pub role: Role,
    /// Where it serves. An IPv6 address travels without flow information and scope.
    #[cfg_attr(test, proptest(strategy = "crate::testing::socket_addr()"))]
    pub addr: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod announce {
        use super::*;

        message_tests!(
            Announce,
            Announce { digest: Digest::from_bytes([1; 32]), goal: Goal::Seek, port: 7405 },
            "3c00002900000000000102b81701010101010101010101010101010101010101010101010101010101010101010100ed39"
        );
    }

    mod neighbours {
        use super::*;

        message_tests!(
            Neighbours,
            Neighbours {
                neighbours: List::first_of([Neighbour {
                    node: Some("a1".parse().unwrap()),
                    role: Role::Agent,
                    addr: "127.0.0.1:7405".parse().unwrap()
                }]),
                again_ms: 500
            },
            "3d00001500000000000102b81701010102613104007f000001ed39f403"
        );
    }
}
