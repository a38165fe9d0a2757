//! The herd's CA, certificates, and the rustls configurations built from them.
//!
//! - [`Authority`] makes a herd's CA and issues certificates under it; [`Issued`] is what a node is given.
//! - [`Credentials`] is what a node holds: its own certificate, checked, and a rustls configuration for each side.
//! - [`identify`] reads who a peer is from the certificates that it showed; [`refusal`] says why a handshake failed.
//! - [`describe`] says what is in a file, for people.
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
mod der;
mod describe;
mod identify;
mod memory;
mod own;
mod refusal;
mod serial;
mod tls;
mod trust;
mod verifier;
mod x509;

pub use authority::{
    Authority, AuthorityError, CA_LIFETIME, CLOCK_SKEW, Issued, KeyKind, LEAF_LIFETIME, LIST_LIFETIME,
    Revoked, SERIAL_LEN,
};
pub use credentials::{
    CredentialFiles, Credentials, CredentialsError, MAX_CAS, Part, TimeSource, system_time, time_from,
};
pub use describe::{CertificateKind, DescribedCertificate, DescribedList, describe, describe_lists};
pub use identify::{IdentifyError, identify};
pub use refusal::{PeerError, Side, refusal, refusal_of_text};
pub use serial::{ParseSerialError, Serial};
pub use tls::ALPN;
pub use trust::{MAX_CERTIFICATE_BYTES, MIN_RSA_BITS};
