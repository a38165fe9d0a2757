//! What can go wrong, one enum an operation, and whose fault it is.

use std::io;
use std::net::SocketAddr;

use rdcq_wire::frame::EncodeError;
use rdcq_wire::message::{Failure, Reason};
use rdcq_wire::{CloseCode, DecodeError, ErrorCode, Identity, ResetCode, Role};

/// An endpoint that could not be opened: the configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address cannot be had.
    #[error("cannot listen on {addr}: {source}; is another process using it?")]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the network said.
        source: io::Error,
    },
    /// The socket is bound, but does not work.
    #[error("the socket bound to {addr} cannot be used: {source}")]
    Socket {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the network said.
        source: io::Error,
    },
    /// QUIC cannot run with the TLS configuration.
    #[error("the TLS configuration does not suit QUIC: {0}; it needs TLS 1.3 with AES-128-GCM")]
    Tls(String),
    /// QUIC cannot run with the limits.
    #[error("limits.{name} is {value}, wanted {wanted}")]
    Limit {
        /// Which limit.
        name: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        wanted: &'static str,
    },
}

/// A connection that did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answered in time.
    #[error("{addr} did not answer in time; is the node running and the network between open for UDP?")]
    TimedOut {
        /// Who was dialled.
        addr: SocketAddr,
    },
    /// The node takes no connections now.
    #[error("{addr} refuses connections now: it is going away or at its limit; try another node or later")]
    Refused {
        /// Who was dialled.
        addr: SocketAddr,
    },
    /// The TLS handshake failed, on either side.
    #[error("{addr} and this node do not trust each other: {why}")]
    Untrusted {
        /// Who was dialled.
        addr: SocketAddr,
        /// What TLS said.
        why: Reason,
    },
    /// The certificate names nobody.
    #[error("{addr} has a certificate that names nobody: {why}; issue it with `rdcq certs issue`")]
    Nameless {
        /// Who was dialled.
        addr: SocketAddr,
        /// What is wrong with the certificate.
        why: Reason,
    },
    /// Somebody else answered.
    #[error("{addr} is {peer}, wanted a {expect} of this node's herd; check the address")]
    WrongPeer {
        /// Who was dialled.
        addr: SocketAddr,
        /// The role that was wanted.
        expect: Role,
        /// Who answered.
        peer: Box<Identity>,
    },
    /// The right node answered, in another role.
    #[error("{addr} serves as {}, wanted a {expect}; check the address", named(.serving))]
    WrongRole {
        /// Who was dialled.
        addr: SocketAddr,
        /// The role that was wanted.
        expect: Role,
        /// The role that the endpoint serves; none if it only asks.
        serving: Option<Role>,
    },
    /// The node's word and its certificate differ.
    #[error("{addr} calls itself other than its certificate does: {why}")]
    Contradiction {
        /// Who was dialled.
        addr: SocketAddr,
        /// How they differ.
        why: Reason,
    },
    /// The node speaks other versions of the protocol.
    #[error("{addr} speaks protocol versions {oldest} to {newest}, this node {own}; upgrade the older one", own = crate::PROTOCOL_VERSION)]
    Version {
        /// Who was dialled.
        addr: SocketAddr,
        /// The oldest that it speaks.
        oldest: u16,
        /// The newest that it speaks.
        newest: u16,
    },
    /// What came was not a Hello.
    #[error("{addr} began with a frame that is no hello: {why}")]
    NoHello {
        /// Who was dialled.
        addr: SocketAddr,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// The connection went before it was accepted.
    #[error("the connection to {addr} was lost before it was accepted: {why}")]
    Lost {
        /// Who was dialled.
        addr: SocketAddr,
        /// Why.
        why: Lost,
    },
    /// The address or this endpoint cannot be used to connect.
    #[error("{addr} cannot be dialled: {why}")]
    Invalid {
        /// Who was to be dialled.
        addr: SocketAddr,
        /// Why not.
        why: Reason,
    },
}

impl ConnectError {
    /// What kind of failure it is for whoever needed the connection.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Untrusted { .. } | Self::Nameless { .. } | Self::Contradiction { .. } => ErrorCode::Denied,
            Self::WrongPeer { .. } | Self::WrongRole { .. } => ErrorCode::Denied,
            Self::Version { .. } | Self::NoHello { .. } => ErrorCode::Unsupported,
            Self::Lost { why, .. } => why.code(),
            Self::TimedOut { .. } | Self::Refused { .. } | Self::Invalid { .. } => ErrorCode::Unavailable,
        }
    }

    pub(crate) fn from_quic(addr: SocketAddr, error: &quinn::ConnectionError) -> Self {
        use quinn::ConnectionError as Quic;
        /// QUIC's numbers for TLS alerts (RFC 9001, section 4.8).
        const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
        match error {
            Quic::TimedOut => Self::TimedOut { addr },
            Quic::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused { addr }
            }
            Quic::ConnectionClosed(close) if TLS_ALERTS.contains(&u64::from(close.error_code)) => {
                Self::Untrusted { addr, why: format!("it said: {close}").into() }
            }
            Quic::TransportError(error) if TLS_ALERTS.contains(&u64::from(error.code)) => {
                Self::Untrusted { addr, why: error.to_string().into() }
            }
            other => Self::Lost { addr, why: Lost::from(other) },
        }
    }
}

/// Why a connection is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The peer closed it.
    #[error("the peer closed it: {code}: {reason}")]
    Closed {
        /// What kind of reason.
        code: CloseCode,
        /// The reason for people.
        reason: Reason,
    },
    /// Nothing came from the peer for too long.
    #[error("nothing has come from the peer for too long")]
    Silent,
    /// This node closed it.
    #[error("this node closed it")]
    Local,
    /// QUIC itself failed.
    #[error("QUIC failed: {0}")]
    Quic(Reason),
}

impl Lost {
    /// What kind of failure it is for whoever needed the connection.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Closed { code: CloseCode::Denied, .. } => ErrorCode::Denied,
            Self::Closed { code: CloseCode::Busy, .. } => ErrorCode::Busy,
            Self::Closed { code: CloseCode::Protocol, .. } => ErrorCode::Internal,
            _ => ErrorCode::Unavailable,
        }
    }
}

impl From<&quinn::ConnectionError> for Lost {
    fn from(error: &quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                match CloseCode::from_number(close.error_code.into_inner()) {
                    Some(code) => {
                        let reason = String::from_utf8_lossy(&close.reason).into_owned().into();
                        Self::Closed { code, reason }
                    }
                    None => Self::Quic(close.to_string().into()),
                }
            }
            quinn::ConnectionError::TimedOut => Self::Silent,
            quinn::ConnectionError::LocallyClosed => Self::Local,
            other => Self::Quic(other.to_string().into()),
        }
    }
}

/// A call that was not answered as hoped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer answered that it did not do it.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// There was no connection to call on.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection went.
    #[error("the connection was lost: {0}")]
    Lost(Lost),
    /// One side gave up the stream alone.
    #[error("the peer gave up the stream: {}", shown(.0))]
    Aborted(Option<ResetCode>),
    /// The time that the scope left is over.
    #[error("no answer within the time left")]
    TimedOut,
    /// The peer broke the protocol; the connection is closed.
    #[error("the peer broke the protocol: {0}")]
    Protocol(DecodeError),
    /// The request must not be sent: our fault.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl CallError {
    /// What kind of failure it is for the caller.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Failed(failure) => failure.code,
            Self::Connect(error) => error.code(),
            Self::Lost(lost) => lost.code(),
            Self::TimedOut => ErrorCode::TimedOut,
            Self::Aborted(Some(ResetCode::Failed)) => ErrorCode::Internal,
            Self::Aborted(_) => ErrorCode::Unavailable,
            Self::Protocol(_) | Self::Encode(_) => ErrorCode::Internal,
        }
    }
}

impl From<quinn::ConnectionError> for CallError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Lost(Lost::from(&error))
    }
}

impl From<quinn::ReadError> for CallError {
    fn from(error: quinn::ReadError) -> Self {
        match error {
            quinn::ReadError::Reset(code) => Self::Aborted(ResetCode::from_number(code.into_inner())),
            quinn::ReadError::ConnectionLost(error) => error.into(),
            other => Self::Lost(Lost::Quic(other.to_string().into())),
        }
    }
}

impl From<quinn::WriteError> for CallError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(code) => Self::Aborted(ResetCode::from_number(code.into_inner())),
            quinn::WriteError::ConnectionLost(error) => error.into(),
            other => Self::Lost(Lost::Quic(other.to_string().into())),
        }
    }
}

fn shown(code: &Option<ResetCode>) -> String {
    code.map_or_else(|| "without a code of ours".to_owned(), |code| code.to_string())
}

fn named(role: &Option<Role>) -> &'static str {
    role.map_or("nothing", Role::name)
}
