//! Why a peer is refused.

use std::fmt;
use std::sync::Arc;

use rdcq_wire::{HerdId, Identity};
use rustls::{CertificateError, Error, OtherError};

use crate::identify::IdentifyError;
use crate::serial::Serial;
use crate::trust::{MAX_CERTIFICATE_BYTES, MIN_RSA_BITS};

/// Why a peer's certificates are refused.
///
/// In a failed handshake it is the `OtherError` inside `rustls::CertificateError::Other`, which [`refusal`] finds. quinn
/// keeps nothing of it but rustls's text, in which the reason is, too: [`refusal_of_text`] finds it there.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The certificate names nobody.
    #[error(transparent)]
    Identify(#[from] IdentifyError),
    /// The certificate names a node of another herd.
    #[error("{peer} is no member of herd {herd}; give it a certificate of this herd")]
    OtherHerd {
        /// Who the certificate names.
        peer: Box<Identity>,
        /// The herd that this node belongs to.
        herd: HerdId,
    },
    /// More came than the peer's own certificate. The CA signs nodes and no further CAs, and webpki does not read the
    /// limit that the CA's certificate sets on the length of a path.
    #[error(
        "the peer showed {0} certificates besides its own, wanted none; the herd's CA has no intermediates"
    )]
    Intermediates(usize),
    /// The certificate is too long to be one of a node.
    #[error("the peer's certificate is {0} bytes long, at most {MAX_CERTIFICATE_BYTES} are read")]
    TooLong(usize),
    /// The certificate is its own issuer.
    #[error("the peer's certificate is signed by itself; issue one under the herd's CA")]
    SelfSigned,
    /// Nobody trusted here is named as the issuer.
    #[error(
        "the peer's certificate names an issuer that is no CA of this herd; issue one under the herd's CA"
    )]
    UnknownIssuer,
    /// A CA trusted here is named as the issuer, and did not sign.
    #[error(
        "the peer's certificate is not signed by the key of any CA that this node trusts, though it names one; it is \
         of another CA of the same name, or this node's CA file is older than the CA"
    )]
    NotSigned,
    /// The certificate is signed in a way that proves nothing today.
    #[error("the peer's certificate is signed with an algorithm that is not trusted, such as SHA-1")]
    Algorithm,
    /// The certificate's key is too short.
    #[error("the peer's RSA key has {0} bits, wanted {MIN_RSA_BITS} or more")]
    WeakKey(usize),
    /// The certificate has ended.
    #[error("the peer's certificate ended at unix time {not_after_unix_s} s; issue a new one")]
    Expired {
        /// When it ended.
        not_after_unix_s: u64,
    },
    /// The certificate has not begun.
    #[error(
        "the peer's certificate begins at unix time {not_before_unix_s} s, still to come; compare the hosts' clocks"
    )]
    NotYetValid {
        /// When it begins.
        not_before_unix_s: u64,
    },
    /// The CA has ended.
    #[error("the CA of the peer's certificate ended at unix time {not_after_unix_s} s; replace the CA")]
    CaExpired {
        /// When it ended.
        not_after_unix_s: u64,
    },
    /// The certificate was taken back.
    #[error("the certificate {serial} of {peer} is revoked")]
    Revoked {
        /// Whom it names.
        peer: String,
        /// Its number.
        serial: Serial,
    },
    /// The list that would say so is out of date.
    #[error(
        "the revocation list ended at unix time {next_update_unix_s} s, so that nobody under its CA is trusted; renew \
         it with `rdcq certs revoke`"
    )]
    ListExpired {
        /// Until when there should have been a new one.
        next_update_unix_s: u64,
    },
    /// Lists are asked for, and that of the peer's CA is not there.
    #[error(
        "there is no revocation list of the peer's CA, so that nobody under it is trusted; renew the lists with `rdcq \
         certs revoke`"
    )]
    ListMissing,
    /// The certificate is a CA's.
    #[error("the peer showed a CA's certificate as its own; issue one for the node")]
    IsCa,
    /// The certificate does not say which side of a connection it is for.
    #[error("the peer's certificate has no extended key usage; issue it with `rdcq certs issue`")]
    NoPurpose,
    /// The certificate is for something else.
    #[error(
        "the peer's extended key usage does not let it be a {0}; issue its certificate with `rdcq certs issue`"
    )]
    OtherPurpose(Side),
    /// The key is not one to sign handshakes with.
    #[error(
        "the peer's key usage does not say digital signature; issue its certificate with `rdcq certs issue`"
    )]
    NotForSigning,
    /// The key may sign certificates or revocation lists.
    #[error("the peer's key usage lets it sign certificates or lists, which is for CAs")]
    ForIssuing,
    /// webpki refuses it for a reason that has no variant here.
    #[error("the peer's certificate is refused: {0}")]
    Chain(webpki::Error),
    /// The time source has no time.
    #[error("no time to judge the peer's certificate by; check this host's clock")]
    NoTime,
}

impl fmt::Debug for PeerError {
    /// The reason, as it is displayed: rustls puts this form of it into its text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// To accept connections.
    Server,
    /// To open them.
    Client,
    /// For either, when it is not known any more which.
    Either,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Either => "server or client",
        })
    }
}

impl From<PeerError> for Error {
    fn from(refusal: PeerError) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// Why a handshake failed, in one line for the log: one text for each kind of bad certificate.
pub fn refusal(error: &Error) -> String {
    match error {
        // All that rustls itself still judges is the proof that the peer holds the key.
        Error::InvalidCertificate(CertificateError::BadSignature) => {
            "the peer does not hold the key of the certificate that it showed".into()
        }
        Error::InvalidCertificate(CertificateError::Other(why)) => why.to_string(),
        Error::InvalidCertificate(why) => why.to_string(),
        Error::NoCertificatesPresented => IdentifyError::NoCertificate.to_string(),
        Error::NoApplicationProtocol => "the peer does not speak this version of rdcq".into(),
        Error::AlertReceived(alert) => format!("the peer refused this node: {alert:?}"),
        other => other.to_string(),
    }
}

/// The same of an error's text, which is all that quinn keeps of it: the reason of its `TransportError`.
pub fn refusal_of_text(text: &str) -> String {
    let text = text.strip_prefix("TLS error: ").unwrap_or(text);
    let reworded = [
        Error::InvalidCertificate(CertificateError::BadSignature),
        Error::NoCertificatesPresented,
        Error::NoApplicationProtocol,
    ];
    if let Some(error) = reworded.iter().find(|error| error.to_string() == text) {
        return refusal(error);
    }
    let text = text.strip_prefix("invalid peer certificate: ").unwrap_or(text);
    let ours = text.strip_prefix("Other(OtherError(").and_then(|text| text.strip_suffix("))"));
    ours.unwrap_or(text).to_owned()
}
