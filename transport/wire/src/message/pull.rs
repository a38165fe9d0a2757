//! From a client to its agent: bring content to this host.

use serde::{Deserialize, Serialize};

use crate::{Kind, List, Message, Record, Request, Span, TagQuery};

/// Asks for a tag's content. [`Found`] comes, then [`Progress`] and [`Verified`] until [`Pulled`] ends the reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Pull {
    /// Which.
    pub query: TagQuery,
}

impl Message for Pull {
    const KIND: Kind = Kind::Pull;
}

impl Request for Pull {
    type Reply = Pulled;
}

/// Which record the tag leads to. Ignorable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Found {
    /// The record.
    pub record: Record,
}

impl Message for Found {
    const KIND: Kind = Kind::Found;
}

/// How far the pull is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Progress {
    /// Bytes verified.
    pub done: u64,
    /// Bytes in all.
    pub size: u64,
}

impl Message for Progress {
    const KIND: Kind = Kind::Progress;
}

/// Pieces that are on this host, beyond those told of, so that they can be delivered while the rest is fetched. Ignorable.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Verified {
    /// Which.
    pub spans: List<Span, { Verified::MAX_SPANS }>,
}

impl Message for Verified {
    const KIND: Kind = Kind::Verified;
}

impl Verified {
    /// Most runs of pieces in one message; the next tells of the others.
    pub const MAX_SPANS: usize = 1024;
}

/// The content is on this host, verified and whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Pulled {
    /// What it is.
    pub record: Record,
    /// Where its bytes came from.
    pub sources: Sources,
    /// Milliseconds from the request to the last verified byte.
    pub elapsed_ms: u64,
}

impl Message for Pulled {
    const KIND: Kind = Kind::Pulled;
}

/// Where a pull's bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Sources {
    /// Bytes that origins sent.
    pub origins: u64,
    /// Bytes that other agents sent.
    pub agents: u64,
    /// Bytes that were on this host already.
    pub held: u64,
    /// Of those sent, bytes that were here by then.
    pub duplicate: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod pull {
        use super::*;

        message_tests!(
            Pull,
            Pull { query: "k:latest".parse().unwrap() },
            "3000000900000000000102b81701016b00"
        );
    }

    mod found {
        use super::*;

        message_tests!(
            Found,
            Found { record: sample_record() },
            "3301009100000000000102b817011068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e74787401370701010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f0a2040402683180d095ffbc3105a0038280d0e2c6bfce972f0be697a5e7bb88206461746100"
        );
    }

    mod verified {
        use super::*;

        message_tests!(
            Verified,
            Verified { spans: List::first_of([Span::new(2, 3)]) },
            "4601000900000000000102b81701010203"
        );
    }

    mod progress {
        use super::*;

        message_tests!(Progress, Progress { done: 10, size: 300 }, "3100000900000000000102b817010aac02");
    }

    mod pulled {
        use super::*;

        message_tests!(
            Pulled,
            Pulled {
                record: sample_record(),
                sources: Sources { origins: 1, agents: 2, held: 3, duplicate: 4 },
                elapsed_ms: 5
            },
            "3200009600000000000102b817011068312d2f642de4baa4e698932e747874026831022f640ae4baa4e698932e74787401370701010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f0a2040402683180d095ffbc3105a0038280d0e2c6bfce972f0be697a5e7bb882064617461000102030405"
        );
    }
}
