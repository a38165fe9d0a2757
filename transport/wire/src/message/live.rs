//! From whoever stores content to a build-index: what of it has a name?

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, List, Message, Request};

/// Asks which digests a live version names.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Live {
    /// The digests.
    pub digests: List<Digest, { Live::MAX }>,
}

impl Message for Live {
    const KIND: Kind = Kind::Live;
}

impl Request for Live {
    type Reply = Liveness;
}

impl Live {
    /// Most digests in one question.
    pub const MAX: usize = 256;
}

/// One answer a digest, in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Liveness {
    /// Whether a live version names it.
    pub live: List<bool, { Live::MAX }>,
}

impl Message for Liveness {
    const KIND: Kind = Kind::Liveness;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod live {
        use super::*;

        message_tests!(
            Live,
            Live { digests: List::first_of([Digest::from_bytes([1; 32])]) },
            "2600002700000000000102b81701010101010101010101010101010101010101010101010101010101010101010101"
        );
    }

    mod liveness {
        use super::*;

        message_tests!(
            Liveness,
            Liveness { live: List::first_of([true, false]) },
            "2700000900000000000102b81701020100"
        );
    }
}
