//! The server's first word: on a stream of its own that the server opens as soon as the handshake is done.

use serde::{Deserialize, Serialize};

use crate::{HerdId, Kind, Message, NodeId, Role, RoleSet};

/// Who answers, and as what. A connection counts as accepted only when this has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Hello {
    /// The herd that the server belongs to.
    pub herd: HerdId,
    /// The server's name in it.
    pub node: NodeId,
    /// The roles that its certificate gives it.
    pub roles: RoleSet,
    /// The role that this endpoint serves.
    pub serving: Role,
    /// Oldest version of the protocol that the server speaks.
    pub oldest: u16,
    /// Newest version of the protocol that the server speaks.
    pub newest: u16,
}

impl Message for Hello {
    const KIND: Kind = Kind::Hello;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    message_tests!(
        Hello,
        Hello {
            herd: "h".parse().unwrap(),
            node: "n".parse().unwrap(),
            roles: Role::Agent.into(),
            serving: Role::Agent,
            oldest: 1,
            newest: 1
        },
        "0100000d00000000000102b8170168016e10040101"
    );
}
