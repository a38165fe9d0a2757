//! Which pieces a peer has, now and from now on.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, List, Message, Request, Span};

/// Asks to be told of every piece. [`Have`] comes, first for all that is there, then for what is added, until the content is complete or either side ends the stream. An agent that fetches the content and does not have its manifest yet waits for it as for `GetManifest`. An origin that has the whole content tells an agent only what it is to ask for: first of nothing, then of some pieces at a time; what it does not tell of, an agent asks it for only if it knows nobody else. If the same agent watches anew, the earlier stream ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Watch {
    /// The content.
    pub digest: Digest,
}

impl Message for Watch {
    const KIND: Kind = Kind::Watch;
}

impl Request for Watch {
    type Reply = Have;
}

/// Pieces that the sender has, beyond those it has told of.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Have {
    /// Which.
    pub spans: List<Span, { Have::MAX_SPANS }>,
    /// Whether that is all there will ever be.
    pub complete: Complete,
}

impl Message for Have {
    const KIND: Kind = Kind::Have;
}

impl Have {
    /// Most runs of pieces in one message.
    pub const MAX_SPANS: usize = 1024;
}

/// Whether a sender has the whole content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Complete {
    /// More pieces may come.
    Partial,
    /// The sender has every piece, and the reply ends.
    Whole,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod watch {
        use super::*;

        message_tests!(
            Watch,
            Watch { digest: Digest::from_bytes([1; 32]) },
            "3800002600000000000102b817010101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod have {
        use super::*;

        message_tests!(
            Have,
            Have { spans: List::first_of([Span::new(2, 3)]), complete: Complete::Partial },
            "3900000a00000000000102b8170101020300"
        );
    }
}
