//! Who a certificate names.

use rdcq_wire::Identity;
use rdcq_wire::identity::IdentityError;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Reads the identity that the first of `certs`, the holder's own, carries as its one URI.
///
/// This says what the certificate says, not whether it is to be believed: that is settled in the handshake.
pub fn identify(certs: &[CertificateDer<'_>]) -> Result<Identity, IdentifyError> {
    let leaf = certs.first().ok_or(IdentifyError::NoCertificate)?;
    Ok(Identity::from_spiffe(&sole_uri(leaf)?)?)
}

/// The one URI among a certificate's names. SPIFFE wants a certificate with more than one refused.
pub(crate) fn sole_uri(cert: &CertificateDer<'_>) -> Result<String, IdentifyError> {
    let cert = EndEntityCert::try_from(cert).map_err(IdentifyError::Malformed)?;
    let mut uris = cert.valid_uri_names();
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri.to_owned()),
        (first, more) => Err(IdentifyError::UriCount(usize::from(first.is_some()) + more)),
    }
}

/// None and several are two mistakes, and read like two.
fn uris(count: &usize) -> String {
    if *count == 0 { "no URI".into() } else { format!("{count} URIs") }
}

/// A certificate that does not name anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    /// The peer showed none.
    #[error("the peer showed no certificate; give it one from `rdcq certs issue`")]
    NoCertificate,
    /// Not X.509, or with an extension that must be understood and is not.
    #[error("not a certificate that can be read ({0}); issue it anew with `rdcq certs issue`")]
    Malformed(webpki::Error),
    /// No URI, or several.
    #[error("the certificate carries {uris}, wanted exactly one; issue it with `rdcq certs issue`", uris = uris(.0))]
    UriCount(usize),
    /// The URI is not an identity of ours.
    #[error("the certificate's URI names nobody: {0}")]
    Identity(#[from] IdentityError),
}
