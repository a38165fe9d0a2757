//! The check of the other side's certificate, within the handshake.
//!
//! rustls checks the chain, the usage and the validity; what is added is that the certificate names a node of this
//! herd. Server and client are judged alike.

use std::sync::Arc;

use rdcq_wire::{HerdId, Identity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identify::{IdentifyError, identify};

/// Why a certificate that chains to the herd's CA is refused all the same.
///
/// In a failed handshake it is the `OtherError` inside `rustls::CertificateError::Other`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
}

impl From<PeerError> for Error {
    fn from(refusal: PeerError) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

fn judge(herd: &HerdId, cert: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), PeerError> {
    if !others.is_empty() {
        return Err(PeerError::Intermediates(others.len()));
    }
    let peer = identify(std::slice::from_ref(cert))?;
    if peer.herd != *herd {
        return Err(PeerError::OtherHerd { peer: Box::new(peer), herd: herd.clone() });
    }
    Ok(())
}

/// What a client asks of a server's certificate. The name that was dialled does not count: nodes are dialled by
/// address, and who answered is told by the identity.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    herd: HerdId,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(crate) fn new(herd: HerdId, roots: Arc<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { herd, roots, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(cert)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, &[], now, self.algorithms.all)?;
        judge(&self.herd, cert, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What a server asks of a client's certificate.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    herd: HerdId,
    webpki: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    pub(crate) fn new(
        herd: HerdId,
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        // A hint helps a client to choose among its certificates, and a node has one; the bytes are saved.
        let webpki = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider))
            .clear_root_hint_subjects()
            .build()?;
        Ok(Self { herd, webpki })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.webpki.verify_client_cert(cert, &[], now)?;
        judge(&self.herd, cert, intermediates)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
