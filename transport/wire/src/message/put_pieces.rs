//! The second step of a push: the bytes of a span.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Message, Request, Span};

/// The body is the bytes of the span's pieces, laid end to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PutPieces {
    /// The push.
    pub push: u64,
    /// The content.
    pub digest: Digest,
    /// Which pieces.
    pub span: Span,
}

impl Message for PutPieces {
    const KIND: Kind = Kind::PutPieces;
}

impl Request for PutPieces {
    type Reply = Stored;
}

/// Every piece of the span has been checked and written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Stored {}

impl Message for Stored {
    const KIND: Kind = Kind::Stored;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod put {
        use super::*;

        message_tests!(
            PutPieces,
            PutPieces { push: 5, digest: Digest::from_bytes([1; 32]), span: Span::new(2, 3) },
            "1200002900000000000102b817010501010101010101010101010101010101010101010101010101010101010101010203"
        );
    }

    mod stored {
        use super::*;

        message_tests!(Stored, Stored {}, "1300000600000000000102b81701");
    }
}
