//! Why an operation was not done.

use rdcq_transport::CallError;
use rdcq_wire::{Digest, ErrorCode};

/// An operation that failed: what kind of failure, for programs, and what happened, for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct OperationError {
    /// What kind of failure it is.
    pub code: ErrorCode,
    /// With [`ErrorCode::Conflict`]: the digest that stands.
    pub standing: Option<Digest>,
    text: String,
}

impl OperationError {
    /// A failure with a text for people.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, standing: None, text: text.into() }
    }

    /// A failed call to a role of the herd.
    pub fn of_call(whom: &str, error: CallError) -> Self {
        match error {
            CallError::Failed(failure) => {
                Self { code: failure.code, standing: failure.standing, text: failure.reason.to_string() }
            }
            error => Self::new(error.code(), format!("the {whom} did not answer: {error}")),
        }
    }

    /// A failed file operation. `doing` says what was tried.
    pub fn of_file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::NotFound => ErrorCode::NotFound,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ErrorCode::NoSpace,
            _ => ErrorCode::Internal,
        };
        Self::new(code, format!("cannot {doing} {}: {error}", path.display()))
    }

    /// Whether the same operation may succeed a moment later without anybody doing anything.
    pub const fn is_passing(&self) -> bool {
        matches!(
            self.code,
            ErrorCode::Busy | ErrorCode::Unavailable | ErrorCode::TimedOut | ErrorCode::ShuttingDown
        )
    }
}
