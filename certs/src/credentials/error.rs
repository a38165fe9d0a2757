//! Why a node has no credentials.

use std::fmt;

use rdcq_wire::{HerdId, Identity};
use rustls::Error;

use crate::identify::IdentifyError;
use crate::refusal::PeerError;

/// One of the texts that credentials are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The herd's CA certificates.
    Ca,
    /// The node's certificate.
    Certificate,
    /// The node's private key.
    Key,
    /// The revocation lists.
    Lists,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "CA certificate",
            Self::Certificate => "node certificate",
            Self::Key => "private key",
            Self::Lists => "revocation list",
        })
    }
}

/// Credentials that a node cannot start with. All are the configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A text is not what it should be.
    #[error("the {part} cannot be read: {why}; check [identity] in the settings, which names its file")]
    Unreadable {
        /// Which text.
        part: Part,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate names nobody.
    #[error("the node certificate is not usable: {0}")]
    Identify(#[from] IdentifyError),
    /// The key is of a kind that nothing here can sign with.
    #[error("the private key cannot be used: {0}; issue certificate and key anew with `rdcq certs issue`")]
    Key(#[source] Error),
    /// The key is somebody else's.
    #[error(
        "the private key does not belong to the certificate of {0}; take both files of one `rdcq certs issue`, or run \
         `rdcq certs rotate` again if it was cut short"
    )]
    OtherKey(Box<Identity>),
    /// The certificate has ended.
    #[error(
        "the node certificate ended at unix time {not_after_unix_s} s; issue a new one with `rdcq certs issue`"
    )]
    Expired {
        /// When it ended.
        not_after_unix_s: u64,
    },
    /// The certificate has not begun.
    #[error(
        "the node certificate begins at unix time {not_before_unix_s} s, which is still to come; check this host's clock"
    )]
    NotYetValid {
        /// When it begins.
        not_before_unix_s: u64,
    },
    /// Peers would refuse the certificate: another CA's, or not made for a node.
    #[error(
        "the node certificate would be refused by its peers: {0}; issue it under the CA that [identity] names"
    )]
    Untrusted(#[source] PeerError),
    /// A CA is another herd's.
    #[error("the CA certificate of {uri:?} is not one of herd {herd}, which the node certificate names")]
    OtherCa {
        /// Whose CA it says that it is.
        uri: String,
        /// The herd that the node certificate names.
        herd: HerdId,
    },
    /// The new certificate is another node's, or has other roles.
    #[error(
        "the node runs as {from}, and the new certificate is for {to}; restart the node to change who it is"
    )]
    OtherIdentity {
        /// Who the node is.
        from: Box<Identity>,
        /// Whom the new certificate names.
        to: Box<Identity>,
    },
    /// A revocation list has ended.
    #[error(
        "the revocation list ended at unix time {next_update_unix_s} s, so that nobody would be trusted; renew it with \
         `rdcq certs revoke`"
    )]
    ListExpired {
        /// Until when there should have been a new one.
        next_update_unix_s: u64,
    },
    /// A revocation list is older than the one in force.
    #[error(
        "the revocation list of unix time {this_update_unix_s} s is older than the one in force, of {in_force_unix_s} s, \
         so that revoked nodes would be trusted again; copy crl.pem from the CA's folder, or restart the node if the CA \
         was restored from a copy"
    )]
    OlderList {
        /// From when it is.
        this_update_unix_s: u64,
        /// From when the one in force is.
        in_force_unix_s: u64,
    },
    /// The time source has no time.
    #[error("no time to judge certificates by; check this host's clock")]
    NoTime,
    /// rustls refused the configuration.
    #[error("the TLS configuration was refused: {0}")]
    Tls(#[source] Error),
}
