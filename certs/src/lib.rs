//! The herd's CA, certificates, and the rustls configurations built from them.
//!
//! - [`Authority`] makes a herd's CA and issues certificates under it; [`Issued`] is what a node is given.
//! - [`Credentials`] is what a node holds: its own certificate, checked, and a rustls configuration for each side.
//! - [`identify`] reads who a peer is from the certificates that it showed.
//!
//! All of it is text in, text out. Files and their permissions belong to the command line, what an [`Identity`] may
//! ask belongs to the transport, and the time is an argument or a [`TimeSource`].
//!
//! A certificate's subject is empty: the one URI in its subject alternative name says who its holder is, and nothing
//! else does. Chains are one certificate long, which keeps a server's first flight within what QUIC lets it send
//! before the client's address is validated.
//!
//! [`Identity`]: rdcq_wire::Identity

mod authority;
mod credentials;
mod identify;
mod tls;
mod verifier;

pub use authority::{
    Authority, AuthorityError, CA_LIFETIME, CLOCK_SKEW, Issued, KeyKind, LEAF_LIFETIME, SERIAL_LEN,
};
pub use credentials::{Credentials, CredentialsError, Part, TimeSource, system_time};
pub use identify::{IdentifyError, identify};
pub use tls::ALPN;
pub use verifier::PeerError;
