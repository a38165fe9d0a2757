//! How a command ends.

use std::process::ExitCode;

use rdcq_certs::AuthorityError;
use rdcq_client::OperationError;
use rdcq_config::ConfigError;
use rdcq_runtime::CredentialsError;
use rdcq_wire::ErrorCode;
use rdcq_wire::tag::TagError;

use crate::admin::AdminError;
use crate::herd::HerdError;
use crate::node::NodeError;
use crate::private_key::ExposedKey;

/// The exit codes, a contract with the programs that call this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Failed in a way that has no code of its own.
    Other = 1,
    /// Not a command that can be carried out.
    Usage = 2,
    /// What was asked for is not there.
    NotFound = 3,
    /// The version stands with other content.
    Conflict = 4,
    /// Not allowed.
    Denied = 5,
    /// The herd, or a part of it, is not there now; the same command may succeed later.
    Unavailable = 6,
    /// Bytes are not what they should be.
    Integrity = 7,
    /// Some of it was done, and some not.
    Partly = 8,
    /// A signal ended it.
    Interrupted = 130,
}

impl Exit {
    /// What a failed operation exits with.
    pub(crate) const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::Conflict => Self::Conflict,
            ErrorCode::Denied => Self::Denied,
            ErrorCode::Busy | ErrorCode::Unavailable | ErrorCode::TimedOut | ErrorCode::ShuttingDown => {
                Self::Unavailable
            }
            ErrorCode::Integrity => Self::Integrity,
            ErrorCode::BadRequest | ErrorCode::NoSpace | ErrorCode::Internal | ErrorCode::Unsupported => {
                Self::Other
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that was not carried out: what happened, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), hint: None }
    }

    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::new(Exit::Other, what)
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, and what that means for the rest of the command.
    #[must_use]
    pub(crate) fn noting(mut self, note: &str) -> Self {
        self.what = format!("{}; {note}", self.what);
        self
    }

    /// A failed file operation. `doing` says what was tried.
    pub(crate) fn of_file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        OperationError::of_file(doing, path, error).into()
    }

    /// Ended by a signal.
    pub(crate) fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted").with_hint("the same command goes on where it stopped")
    }
}

impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        let failure = Self::new(Exit::of(error.code), error.to_string());
        match error.code {
            // The build-index's text says which digest stands, and what to do.
            ErrorCode::Conflict => failure.with_hint("what stands is untouched"),
            ErrorCode::Unavailable | ErrorCode::TimedOut => failure
                .with_hint("try again later; if no herd is running there, `rdcq up` starts one on this host"),
            ErrorCode::Busy | ErrorCode::ShuttingDown => failure.with_hint("try again in a moment"),
            _ => failure,
        }
    }
}

impl From<TagError> for Failure {
    fn from(error: TagError) -> Self {
        Self::usage(error.to_string())
    }
}

/// Errors that already say what to do and have no exit code of their own.
macro_rules! others {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::other(error.to_string())
            }
        })+
    };
}

others!(AdminError, AuthorityError, ConfigError, CredentialsError, ExposedKey, HerdError, NodeError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_the_exit_code_that_the_operator_knows() {
        let exits: Vec<_> = ErrorCode::ALL.iter().map(|code| (*code, Exit::of(*code) as u8)).collect();
        let wanted = [
            (ErrorCode::BadRequest, 1),
            (ErrorCode::NotFound, 3),
            (ErrorCode::Conflict, 4),
            (ErrorCode::Denied, 5),
            (ErrorCode::Busy, 6),
            (ErrorCode::Unavailable, 6),
            (ErrorCode::TimedOut, 6),
            (ErrorCode::Integrity, 7),
            (ErrorCode::NoSpace, 1),
            (ErrorCode::Internal, 1),
            (ErrorCode::Unsupported, 1),
            (ErrorCode::ShuttingDown, 6),
        ];
        assert_eq!(exits, wanted);
    }

    #[test]
    fn a_herd_that_does_not_answer_leads_to_rdcq_up() {
        let failure = Failure::from(OperationError::new(ErrorCode::Unavailable, "the proxy did not answer"));
        assert!(failure.hint.unwrap().contains("`rdcq up`"));
    }
}
