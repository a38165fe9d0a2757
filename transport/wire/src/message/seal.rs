//! From a proxy to an origin: check content whole and make it durable.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Message, Request};

/// All pieces have been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Seal {
    /// The push.
    pub push: u64,
    /// The content.
    pub digest: Digest,
}

impl Message for Seal {
    const KIND: Kind = Kind::Seal;
}

impl Request for Seal {
    type Reply = Sealed;
}

/// The content was read back, has its digest, and is synced with its directory entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Sealed {
    /// SHA-256 of its canonical manifest.
    pub manifest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its number of pieces.
    pub pieces: u32,
}

impl Message for Sealed {
    const KIND: Kind = Kind::Sealed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod seal {
        use super::*;

        message_tests!(
            Seal,
            Seal { push: 5, digest: Digest::from_bytes([1; 32]) },
            "1600002700000000000102b81701050101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod sealed {
        use super::*;

        message_tests!(
            Sealed,
            Sealed { manifest: Digest::from_bytes([2; 32]), size: 70_000, pieces: 4 },
            "1700002a00000000000102b817010202020202020202020202020202020202020202020202020202020202020202f0a20404"
        );
    }
}
