//! The reply to a request that was not done.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A reason for people: at most 1,024 bytes of one line; what is longer is cut, control characters become spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Reason(String);

impl Reason {
    /// Longest reason, in bytes.
    pub const MAX_LEN: usize = 1024;
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.truncate(line.floor_char_boundary(Self::MAX_LEN));
        Self(line)
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    message_tests!(
        Failure,
        Failure { standing: Some(Digest::from_bytes([1; 32])), ..Failure::new(ErrorCode::Conflict, "why") },
        "0300002d00000000000102b81701030377687900010101010101010101010101010101010101010101010101010101010101010101"
    );

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = Reason::from("易".repeat(1000));
        assert_eq!(reason.to_string(), "易".repeat(341));
    }

    #[test]
    fn a_reason_is_one_line() {
        assert_eq!(Reason::from("a\n\u{1b}[2Jb".to_owned()).to_string(), "a  [2Jb");
    }
}
