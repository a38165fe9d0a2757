//! Who a peer is: herd, node and roles, carried by its certificate as one SPIFFE URI.
//!
//! `spiffe://<herd>/<node>/<role>[/<role>…]`, roles in the order of [`Role::ALL`]. The form keeps to what the SPIFFE
//! ID specification (section 2) allows in a trust domain and in path segments.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a herd: all nodes that trust one CA. 1 to 63 of `a-z 0-9 . -`, as SPIFFE wants a trust domain. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HerdId(Arc<str>);

impl HerdId {
    /// Longest name, in bytes; a DNS label's.
    pub const MAX_LEN: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HerdId {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(legal) {
            return Err(IdentityError::Herd(shown(&text)));
        }
        Ok(Self(text.into()))
    }
}

/// The name of a node in its herd, usually its host's name. 1 to 128 of `A-Z a-z 0-9 . _ -`. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeId {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let dots = text == "." || text == "..";
        if text.is_empty() || text.len() > Self::MAX_LEN || dots || !text.bytes().all(legal) {
            return Err(IdentityError::Node(shown(&text)));
        }
        Ok(Self(text.into()))
    }
}

macro_rules! text_id {
    ($type:ty) => {
        impl From<$type> for String {
            fn from(id: $type) -> Self {
                id.0.as_ref().into()
            }
        }

        impl FromStr for $type {
            type Err = IdentityError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(HerdId);
text_id!(NodeId);

/// What a node is in its herd, or what a person's certificate lets them be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The front door for pushes.
    Proxy,
    /// Owns content.
    Origin,
    /// Maps tags to digests.
    BuildIndex,
    /// Knows who has what.
    Tracker,
    /// Pulls and serves on a host.
    Agent,
    /// Runs flows.
    Controller,
    /// Pushes and pulls from a host's command line.
    Client,
    /// Removes, drains, reloads.
    Operator,
}

impl Role {
    /// Every role, in the order in which a SPIFFE URI lists them.
    pub const ALL: [Self; 8] = [
        Self::Proxy,
        Self::Origin,
        Self::BuildIndex,
        Self::Tracker,
        Self::Agent,
        Self::Controller,
        Self::Client,
        Self::Operator,
    ];

    /// The role's name on the command line, in certificates and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Origin => "origin",
            Self::BuildIndex => "build-index",
            Self::Tracker => "tracker",
            Self::Agent => "agent",
            Self::Controller => "controller",
            Self::Client => "client",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| IdentityError::Role(shown(text)))
    }
}

/// A set of roles.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "u16", into = "u16")]
pub struct RoleSet(u16);

impl RoleSet {
    /// Whether `role` is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u16) != 0
    }

    /// Whether the set holds no role.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl From<u16> for RoleSet {
    /// Bits that no role has are dropped: a later version's role means nothing here.
    fn from(bits: u16) -> Self {
        Self(bits & ((1 << Role::ALL.len()) - 1))
    }
}

impl From<RoleSet> for u16 {
    fn from(set: RoleSet) -> Self {
        set.0
    }
}

impl FromIterator<Role> for RoleSet {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | 1 << role as u16))
    }
}

impl From<Role> for RoleSet {
    fn from(role: Role) -> Self {
        Self(1 << role as u16)
    }
}

impl fmt::Display for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::name).collect();
        f.write_str(&names.join("+"))
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Who a certificate says its holder is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Identity {
    /// The herd that the certificate belongs to.
    pub herd: HerdId,
    /// The node's name in it.
    pub node: NodeId,
    /// What the node may be and ask.
    pub roles: RoleSet,
}

impl Identity {
    /// The SPIFFE URI that a certificate carries for this identity.
    pub fn to_spiffe(&self) -> String {
        let roles: String = self.roles.iter().map(|role| format!("/{role}")).collect();
        format!("spiffe://{}/{}{roles}", self.herd, self.node)
    }

    /// Reads a SPIFFE URI. Roles must be known, in order, without repeats, and at least one.
    pub fn from_spiffe(uri: &str) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Uri(shown(uri));
        let mut parts = uri.strip_prefix("spiffe://").ok_or_else(wrong)?.split('/');
        let herd = parts.next().ok_or_else(wrong)?.parse()?;
        let node = parts.next().ok_or_else(wrong)?.parse()?;
        let roles = parts.map(Role::from_str).collect::<Result<RoleSet, _>>()?;
        let identity = Self { herd, node, roles };
        if roles.is_empty() || identity.to_spiffe() != uri {
            return Err(wrong());
        }
        Ok(identity)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) of herd {}", self.node, self.roles, self.herd)
    }
}

/// A name or URI that does not say who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a herd's name.
    #[error("not a herd name (1 to 63 of `a-z 0-9 . -`): {0:?}")]
    Herd(String),
    /// Not a node's name.
    #[error("not a node name (1 to 128 of `A-Z a-z 0-9 . _ -`): {0:?}")]
    Node(String),
    /// Not a role.
    #[error(
        "unknown role {0:?}; known are proxy, origin, build-index, tracker, agent, controller, client, operator"
    )]
    Role(String),
    /// Not a SPIFFE URI of ours.
    #[error("not an identity (`spiffe://<herd>/<node>/<role>…`, roles in order): {0:?}")]
    Uri(String),
}

/// What an error shows of a text that may be long or hostile.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_uri_reads_back() {
        let uri = "spiffe://rdcq-1f/host-1.example/tracker/agent";
        let identity = Identity::from_spiffe(uri).unwrap();
        assert_eq!(identity.to_spiffe(), uri);
        assert!(identity.roles.contains(Role::Agent) && !identity.roles.contains(Role::Operator));
    }

    #[test]
    fn uris_that_say_too_little_or_too_much_are_refused() {
        let uris = [
            "",
            "https://herd/node/agent",
            "spiffe://herd/node",
            "spiffe://herd/node/",
            "spiffe://herd//agent",
            "spiffe://herd/../agent",
            "spiffe://herd/node/king",
            "spiffe://herd/node/agent/agent",
            "spiffe://herd/node/agent/proxy",
            "spiffe://HERD/node/agent",
            "spiffe://herd/node/agent?x",
        ];
        for uri in uris {
            assert!(Identity::from_spiffe(uri).is_err(), "{uri:?} was taken for an identity");
        }
    }

    #[test]
    fn unknown_role_bits_mean_nothing() {
        assert!(RoleSet::from(0xff00).is_empty());
    }
}
