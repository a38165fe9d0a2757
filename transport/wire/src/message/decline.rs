//! An agent has no use for what an origin has offered it.

use serde::{Deserialize, Serialize};

use super::Have;
use crate::{Digest, Kind, List, Message, Request, Span};

/// Says which pieces the caller needs from nobody: it has them, has asked an agent for them, or knows an agent that has them and has sent it pieces. They come in order; what follows one out of order is not looked at, and what does not fit is left out. An origin that has offered some of them in `Have` offers other pieces first; one that does not offer takes no notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Decline {
    /// The content.
    pub digest: Digest,
    /// The pieces.
    pub spans: List<Span, { Have::MAX_SPANS }>,
}

impl Message for Decline {
    const KIND: Kind = Kind::Decline;
}

impl Request for Decline {
    type Reply = Declined;
}

/// It was heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Declined {}

impl Message for Declined {
    const KIND: Kind = Kind::Declined;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod decline {
        use super::*;

        message_tests!(
            Decline,
            Decline { digest: Digest::from_bytes([1; 32]), spans: List::first_of([Span::new(2, 3)]) },
            "4700002900000000000102b817010101010101010101010101010101010101010101010101010101010101010101010203"
        );
    }

    mod declined {
        use super::*;

        message_tests!(Declined, Declined {}, "4800000600000000000102b81701");
    }
}
