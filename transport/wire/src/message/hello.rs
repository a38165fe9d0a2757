//! The first word of either side, on the control stream that it opens as soon as the handshake is done.

use serde::{Deserialize, Serialize};

use crate::{HerdId, Kind, List, Message, NodeId, Role, RoleSet};

/// Who speaks, and as what. A connection counts as accepted only when the server's has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
pub struct Hello {
    /// The herd that the speaker belongs to.
    pub herd: HerdId,
    /// The speaker's name in it.
    pub node: NodeId,
    /// The roles that its certificate gives it.
    pub roles: RoleSet,
    /// The role that it serves at the address that it speaks from; none if it only asks.
    pub serving: Option<Role>,
    /// Oldest version of the protocol that it speaks.
    pub oldest: u16,
    /// Newest version of the protocol that it speaks.
    pub newest: u16,
    /// Its ports for connections that carry pieces, at the same IP address; none if this connection is to carry them, too.
    pub data_ports: List<u16, { Hello::MAX_DATA_PORTS }>,
}

impl Hello {
    /// Most data ports of a node: one a core of a large machine.
    pub const MAX_DATA_PORTS: usize = 64;
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
            serving: Some(Role::Agent),
            oldest: 1,
            newest: 1,
            data_ports: List::first_of([300])
        },
        "0100001200000000000102b817010168016e100104010101ac02"
    );
}
