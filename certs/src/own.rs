//! A node's own certificate and key.

use std::sync::Arc;

use rdcq_wire::{Digest, Identity};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::credentials::{CredentialsError, Part, certificates, fields};
use crate::identify::identify;
use crate::tls;

/// A certificate and the key that belongs to it. Whether anybody believes the certificate is not said.
pub(crate) struct Own {
    pub(crate) identity: Identity,
    pub(crate) not_after_unix_s: u64,
    pub(crate) cert: CertificateDer<'static>,
    pub(crate) key: Arc<SingleCertAndKey>,
    /// What the node's secrets are made of.
    pub(crate) root_secret: Digest,
}

impl Own {
    pub(crate) fn read(cert_pem: &str, key_pem: &str) -> Result<Self, CredentialsError> {
        let cert = sole_certificate(Part::Certificate, cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| CredentialsError::Unreadable { part: Part::Key, why: error.to_string() })?;
        let identity = identify(std::slice::from_ref(&cert))?;
        let root_secret = root_secret(&key);
        let key = tls::provider().key_provider.load_private_key(key).map_err(CredentialsError::Key)?;
        let own = CertifiedKey::new(vec![cert.clone()], key);
        own.keys_match().map_err(|_| CredentialsError::OtherKey(Box::new(identity.clone())))?;
        let not_after_unix_s = fields(Part::Certificate, &cert)?.not_after_unix_s;
        let key = Arc::new(SingleCertAndKey::from(own));
        Ok(Self { identity, not_after_unix_s, cert, key, root_secret })
    }
}

fn root_secret(key: &PrivateKeyDer<'_>) -> Digest {
    Digest::of(&[b"rdcq node secret\0", key.secret_der()].concat())
}

/// The one certificate in `pem`. A second one is refused rather than ignored: whoever put it there expects something
/// of it.
fn sole_certificate(part: Part, pem: &str) -> Result<CertificateDer<'static>, CredentialsError> {
    let certs = certificates(part, pem, 1)?;
    Ok(certs.into_iter().next().expect("there is one, or it was an error"))
}
