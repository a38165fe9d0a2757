//! What somebody shows of themselves in a handshake.

use std::path::Path;
use std::sync::Arc;

use rdcq_certs::{Credentials, system_time};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// Reads a certificate and its key, `stem` with their extensions.
pub(crate) fn credentials(ca: &Path, stem: &Path) -> Credentials {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (cert, key) = (read(&stem.with_extension("pem")), read(&stem.with_extension("key")));
    Credentials::from_pem(&read(ca), &cert, &key, system_time()).unwrap()
}

/// Shows no certificate.
#[derive(Debug)]
pub(crate) struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
