//! Addresses as settings write them: `IP:port`.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_str(AddressVisitor)
}

/// A visitor, because the parser adds the line only to errors that arise within one.
struct AddressVisitor;

impl Visitor<'_> for AddressVisitor {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address as \"10.0.0.1:7401\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        text.parse().map_err(|_| {
            E::custom(format_args!(
                "{text:?} is not an address; write IP:port, as \"10.0.0.1:7401\" or \"[::1]:7401\"; host names are \
                 not resolved"
            ))
        })
    }
}

/// The same for lists.
pub(crate) mod list {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Address(#[serde(with = "super")] SocketAddr);

    pub(crate) fn serialize<S: Serializer>(
        addresses: &[SocketAddr],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(addresses.iter().map(ToString::to_string))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<SocketAddr>, D::Error> {
        let addresses = Vec::<Address>::deserialize(deserializer)?;
        Ok(addresses.into_iter().map(|Address(address)| address).collect())
    }
}
