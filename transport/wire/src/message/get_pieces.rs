//! A span of pieces.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Message, Request, Span};

/// Asks for neighbouring pieces. Fails with `Busy` towards an agent if enough is under way to others, unless it was told to ask: another may have the same; with `NotFound` if the first piece is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct GetPieces {
    /// The content.
    pub digest: Digest,
    /// Which pieces.
    pub span: Span,
}

impl Message for GetPieces {
    const KIND: Kind = Kind::GetPieces;
}

impl Request for GetPieces {
    type Reply = Pieces;
}

/// How a body carries pieces. The pieces' hashes are of the decoded bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Encoding {
    /// As they are.
    Raw,
}

/// The body is the bytes of the span's pieces, laid end to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Pieces {
    /// Which pieces: those asked for, or fewer from the same first on where all would be too long.
    pub span: Span,
    /// How the body carries them.
    pub encoding: Encoding,
}

impl Message for Pieces {
    const KIND: Kind = Kind::Pieces;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod get {
        use super::*;

        message_tests!(
            GetPieces,
            GetPieces { digest: Digest::from_bytes([1; 32]), span: Span::new(2, 3) },
            "3600002800000000000102b8170101010101010101010101010101010101010101010101010101010101010101010203"
        );
    }

    mod pieces {
        use super::*;

        message_tests!(
            Pieces,
            Pieces { span: Span::new(2, 3), encoding: Encoding::Raw },
            "3700000900000000000102b81701020300"
        );
    }
}
