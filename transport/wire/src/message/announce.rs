//! From an agent to a tracker: what it has or seeks, and who else does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, List, Message, NodeId, Request, Role};

/// Asks who else has or seeks the content, and says that the agent does; repeated while it pulls the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Seek {
    /// The content.
    pub digest: Digest,
    /// The UDP port on which the agent serves pieces; its address is the connection's.
    pub port: u16,
}

impl Message for Seek {
    const KIND: Kind = Kind::Seek;
}

impl Request for Seek {
    type Reply = Neighbours;
}

/// Says which contents the agent has whole, or no longer has; repeated while it has them.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Announce {
    /// The contents.
    pub digests: List<Digest, { Announce::MAX }>,
    /// What the agent does with them.
    pub goal: Goal,
    /// The UDP port on which the agent serves pieces; its address is the connection's.
    pub port: u16,
}

impl Message for Announce {
    const KIND: Kind = Kind::Announce;
}

impl Announce {
    /// Most contents in one announcement.
    pub const MAX: usize = 256;
}

impl Request for Announce {
    type Reply = Announced;
}

/// What an agent does with contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Goal {
    /// It has them whole and serves them.
    Seed,
    /// It no longer has, or seeks, them.
    Leave,
}

/// The announcement was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Announced {
    /// Announce again after this many milliseconds.
    pub again_ms: u32,
}

impl Message for Announced {
    const KIND: Kind = Kind::Announced;
}

/// Who else has or seeks the content; origins among them.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Neighbours {
    /// Whom to ask.
    pub neighbours: List<Neighbour, { Neighbours::MAX }>,
    /// Ask again after this many milliseconds.
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

    mod seek {
        use super::*;

        message_tests!(
            Seek,
            Seek { digest: Digest::from_bytes([1; 32]), port: 7405 },
            "4b00002800000000000102b817010101010101010101010101010101010101010101010101010101010101010101ed39"
        );
    }

    mod announce {
        use super::*;

        message_tests!(
            Announce,
            Announce {
                digests: List::first_of([Digest::from_bytes([1; 32])]),
                goal: Goal::Leave,
                port: 7405
            },
            "4900002a00000000000102b8170101010101010101010101010101010101010101010101010101010101010101010101ed39"
        );
    }

    mod announced {
        use super::*;

        message_tests!(Announced, Announced { again_ms: 500 }, "4a00000800000000000102b81701f403");
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
