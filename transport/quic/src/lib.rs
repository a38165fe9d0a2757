//! Mutually authenticated QUIC: endpoints, connections and their pool, framed calls, drain.
//!
//! An [`Endpoint`] is one UDP socket for control and some for data, from which a node dials and on which it serves one
//! role. [`Endpoint::connect`] gives a [`Connection`] to a peer whose certificate, Hello and role are what was wanted; a
//! [`Pool`] keeps such connections. A [`Connection::call`] sends one request and gets one [`Answer`]; an [`Exchange`] is
//! answered by many frames. On the other side [`Endpoint::serve`] hands every request that the role table allows to a
//! [`Service`] as an [`IncomingCall`].
//!
//! What the bytes mean is told by `rdcq-wire`, who a certificate names and whether it is to be believed by whoever builds
//! [`Security`], and where datagrams go by a [`Network`]. On the real one, [`Udp`], the data of all connections keeps together to what the
//! host's way out carries.
//!
//! Nothing that a peer sends is believed before its certificate was checked, nothing is allocated by what it claims, and
//! every frame that breaks the protocol closes its connection, and no other.

mod accept;
mod activity;
mod admission;
mod attend;
mod audit;
mod bandwidth;
mod bell;
mod body;
mod call;
mod connection;
mod endpoint;
mod error;
mod exchange;
mod greeting;
mod idle;
mod limits;
mod link;
mod network;
mod pool;
mod profile;
mod request_slots;
mod server;
mod service;
mod shield;
mod socket;
mod soon;
pub mod stats;
mod stream;
mod tolerant;
mod uplink;

pub use bandwidth::{Bandwidth, BandwidthStats, Direction};
pub use body::Body;
pub use call::{Answer, Scope};
pub use connection::Connection;
pub use endpoint::{Endpoint, Judge, Security};
pub use error::{CallError, ConnectError, Lost, OpenError};
pub use exchange::{Exchange, Frame};
pub use limits::{Congestion, DataPorts, Limits};
pub use link::Expected;
pub use network::{Binding, DataThread, Network, Plane, Udp};
pub use pool::Pool;
pub use service::{IncomingCall, Refusal, Reserved, Service};
pub use socket::{Flusher, JoiningSocket, SendFigures};
pub use stream::ReplyEnd;

/// The version of the protocol that this crate speaks; the ALPN identifier names it, too.
pub const PROTOCOL_VERSION: u16 = 1;
