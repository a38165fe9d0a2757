//! The reply to a request that was not done.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Line;
use crate::{Digest, ErrorCode, Kind, Message};

/// Why a request was not done, and what stands instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Failure {
    /// What kind of failure it is; decides what a program does next.
    pub code: ErrorCode,
    /// What happened, why, and what to do, for people.
    pub reason: Reason,
    /// With [`ErrorCode::Busy`]: come back after this many milliseconds.
    pub retry_after_ms: u32,
    /// With [`ErrorCode::Conflict`]: the digest that stands.
    pub standing: Option<Digest>,
}

impl Failure {
    /// A failure with a reason for people.
    pub fn new(code: ErrorCode, reason: impl Into<String>) -> Self {
        Self { code, reason: Reason::from(reason.into()), retry_after_ms: 0, standing: None }
    }
}

impl Message for Failure {
    const KIND: Kind = Kind::Failure;
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Failure {}

/// A reason for people: at most 1,024 bytes of one line.
pub type Reason = Line<1024>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    message_tests!(
        Failure,
        Failure { standing: Some(Digest::from_bytes([1; 32])), ..Failure::new(ErrorCode::Conflict, "why") },
        "0300002d00000000000102b81701030377687900010101010101010101010101010101010101010101010101010101010101010101"
    );
}
