//! The numbers by which a request, a stream or a connection fails. Numbers are retired, never used again.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $type:ident: $repr:ty { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(proptest_derive::Arbitrary))]
        #[serde(try_from = "u16", into = "u16")]
        pub enum $type { $($(#[$variant_doc])* $variant,)+ }

        impl $type {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code's number on the wire.
            pub const fn number(self) -> $repr {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The code with this number, if there is one.
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl From<$type> for u16 {
            fn from(code: $type) -> Self {
                code.number() as Self
            }
        }

        impl TryFrom<u16> for $type {
            type Error = String;

            fn try_from(number: u16) -> Result<Self, String> {
                Self::from_number(number.into()).ok_or_else(|| format!("unknown code {number}"))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text,)+ })
            }
        }
    };
}

codes! {
    /// Why a request was not done; carried by [`crate::message::Failure`].
    ErrorCode: u16 {
        /// The request says something impossible.
        BadRequest = 1 "bad request",
        /// No such tag, content or push.
        NotFound = 2 "not found",
        /// The version stands with other content.
        Conflict = 3 "conflict",
        /// The caller's roles or host do not allow it.
        Denied = 4 "denied",
        /// Too much to do; come back after the delay given.
        Busy = 5 "busy",
        /// Something that is needed cannot be reached.
        Unavailable = 6 "unavailable",
        /// The time that the caller gave is over.
        TimedOut = 7 "timed out",
        /// Bytes are not what their digest says.
        Integrity = 8 "integrity failure",
        /// A disk is full.
        NoSpace = 9 "no space",
        /// The node failed in a way that is its own fault.
        Internal = 10 "internal error",
        /// The node does not serve such requests.
        Unsupported = 11 "unsupported",
        /// The node is going away.
        ShuttingDown = 12 "shutting down",
    }
}

codes! {
    /// Why a connection was closed; QUIC's application error code.
    CloseCode: u32 {
        /// Nothing more to say.
        Done = 0 "done",
        /// The node is going away.
        ShuttingDown = 1 "shutting down",
        /// A frame broke the protocol.
        Protocol = 2 "protocol violation",
        /// The peer's certificate or roles do not allow the connection.
        Denied = 3 "denied",
        /// Too many connections.
        Busy = 4 "busy",
        /// The peer is not the one, or not of the role, that was wanted.
        WrongPeer = 5 "wrong peer",
        /// No Hello came in time.
        NoHello = 6 "no hello",
        /// Nothing came from the peer while a request was open.
        NoAnswer = 7 "no answer",
    }
}

codes! {
    /// Why one direction of a stream was given up; QUIC's stream error code.
    ResetCode: u32 {
        /// The request is no longer wanted.
        Cancelled = 1 "cancelled",
        /// The sender failed after the reply had begun.
        Failed = 2 "failed",
        /// The bytes are not wanted: the request was refused.
        Refused = 3 "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_codes() {
        assert!(
            ErrorCode::ALL.iter().all(|code| ErrorCode::from_number(code.number().into()) == Some(*code))
        );
        assert!(
            CloseCode::ALL.iter().all(|code| CloseCode::from_number(code.number().into()) == Some(*code))
        );
        assert!(
            ResetCode::ALL.iter().all(|code| ResetCode::from_number(code.number().into()) == Some(*code))
        );
        assert_eq!(ErrorCode::from_number(0), None);
    }
}
