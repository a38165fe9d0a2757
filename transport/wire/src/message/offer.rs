//! The first step of a push: what will come, and what of it is wanted.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, List, Message, Name, Request, Span, Version};

/// Offers content; the body is its canonical manifest. From now on the content stays pinned for this push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Offer {
    /// The push, chosen at random by its client and kept when it tries again.
    pub push: u64,
    /// What the content will be called.
    pub name: Name,
    /// Its version, or none for the next one.
    pub version: Option<Version>,
    /// The content's digest.
    pub digest: Digest,
}

impl Message for Offer {
    const KIND: Kind = Kind::Offer;
}

impl Request for Offer {
    type Reply = Wanted;
}

/// Which pieces to send. None wanted means that all are there.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Wanted {
    /// Milliseconds for which the pin holds after the last word about the push.
    pub lease_ms: u32,
    /// Pieces wanted; if there are more runs than fit, offer again after sending these.
    pub missing: List<Span, { Wanted::MAX_SPANS }>,
}

impl Message for Wanted {
    const KIND: Kind = Kind::Wanted;
}

impl Wanted {
    /// Most runs of missing pieces in one reply.
    pub const MAX_SPANS: usize = 1024;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod offer {
        use super::*;

        message_tests!(
            Offer,
            Offer { push: 5, name: sample_name(), version: None, digest: Digest::from_bytes([1; 32]) },
            "1000004a00000000000102b81701051068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e747874000101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod wanted {
        use super::*;

        message_tests!(
            Wanted,
            Wanted { lease_ms: 60_000, missing: List::first_of([Span::new(0, 4)]) },
            "1100000c00000000000102b81701e0d403010004"
        );
    }
}
