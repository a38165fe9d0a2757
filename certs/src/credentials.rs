//! What a node holds to take part in a herd.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdcq_wire::Identity;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::identify::{IdentifyError, identify};
use crate::tls;
use crate::verifier::{ClientVerifier, ServerVerifier};

/// Where a node reads the time to judge certificates by.
pub type TimeSource = Arc<dyn TimeProvider>;

/// The host's own clock.
pub fn system_time() -> TimeSource {
    Arc::new(DefaultTimeProvider)
}

/// A node's certificate and key, found sound, and the configurations of both sides of a connection.
///
/// A node never starts with a certificate that its peers would refuse: its own is judged first, as theirs will be.
#[derive(Clone)]
pub struct Credentials {
    identity: Identity,
    not_after_unix_s: u64,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Credentials {
    /// Reads the herd's CA certificate, the node's certificate and its key, each alone in a PEM text.
    pub fn from_pem(
        ca_pem: &str,
        cert_pem: &str,
        key_pem: &str,
        time: TimeSource,
    ) -> Result<Self, CredentialsError> {
        let ca = sole_certificate(Part::Ca, ca_pem)?;
        let cert = sole_certificate(Part::Certificate, cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
            .map_err(|error| CredentialsError::Unreadable { part: Part::Key, why: error.to_string() })?;
        let identity = identify(std::slice::from_ref(&cert))?;

        let provider = tls::provider();
        let key = provider.key_provider.load_private_key(key).map_err(CredentialsError::Key)?;
        let own = CertifiedKey::new(vec![cert.clone()], key);
        own.keys_match().map_err(|_| CredentialsError::OtherKey(Box::new(identity.clone())))?;

        let roots = Arc::new(trusting(ca)?);
        let servers = Arc::new(ServerVerifier::new(identity.herd.clone(), Arc::clone(&roots), &provider));
        let clients = ClientVerifier::new(identity.herd.clone(), roots, &provider)
            .map_err(|error| CredentialsError::Unreadable { part: Part::Ca, why: error.to_string() })?;
        let clients = Arc::new(clients);
        let now = time.current_time().ok_or(CredentialsError::NoTime)?;
        check_own(&cert, &servers, &clients, now)?;
        let not_after_unix_s = end(&cert, &servers)?;

        let own = Arc::new(SingleCertAndKey::from(own));
        let server = tls::server_config(Arc::clone(&provider), Arc::clone(&time), clients, Arc::clone(&own))
            .map_err(CredentialsError::Tls)?;
        let client = tls::client_config(provider, time, servers, own).map_err(CredentialsError::Tls)?;
        Ok(Self { identity, not_after_unix_s, server, client })
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// When the node's certificate ends, in seconds after 1970: what comes before is the time to renew it.
    pub fn not_after_unix_s(&self) -> u64 {
        self.not_after_unix_s
    }

    /// How this node accepts connections.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// How this node connects to others.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl fmt::Debug for Credentials {
    /// The identity alone: the configurations hold the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// The one certificate in `pem`. A second one is refused rather than ignored: whoever put it there expects something
/// of it.
pub(crate) fn sole_certificate(part: Part, pem: &str) -> Result<CertificateDer<'static>, CredentialsError> {
    let mut certs = CertificateDer::pem_slice_iter(pem.as_bytes());
    let unreadable = |why: String| CredentialsError::Unreadable { part, why };
    let first = certs.next().ok_or_else(|| unreadable("it holds no PEM certificate".into()))?;
    let first = first.map_err(|error| unreadable(error.to_string()))?;
    if certs.next().is_some() {
        return Err(unreadable("it holds more than one certificate".into()));
    }
    Ok(first)
}

fn trusting(ca: CertificateDer<'static>) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca).map_err(|error| CredentialsError::Unreadable { part: Part::Ca, why: error.to_string() })?;
    Ok(roots)
}

/// Judges the node's own certificate as its peers will, on either side of a connection.
fn check_own(
    cert: &CertificateDer<'_>,
    servers: &ServerVerifier,
    clients: &ClientVerifier,
    now: UnixTime,
) -> Result<(), CredentialsError> {
    servers.verify_server_cert(cert, &[], &any_name(), &[], now).map_err(refused)?;
    clients.verify_client_cert(cert, &[], now).map_err(refused)?;
    Ok(())
}

/// When `cert` ends. webpki says so only of a certificate that has ended, so it is asked at the end of time.
fn end(cert: &CertificateDer<'_>, servers: &ServerVerifier) -> Result<u64, CredentialsError> {
    let then = UnixTime::since_unix_epoch(END_OF_TIME);
    match servers.verify_server_cert(cert, &[], &any_name(), &[], then).map_err(refused) {
        Err(CredentialsError::Expired { not_after_unix_s }) => Ok(not_after_unix_s),
        Err(other) => Err(other),
        Ok(_) => Ok(END_OF_TIME.as_secs()),
    }
}

/// The end of the year 9999, the last time that a certificate can hold.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);

/// What a server is called does not count for [`ServerVerifier`].
fn any_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())
}

fn refused(error: Error) -> CredentialsError {
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            CredentialsError::Expired { not_after_unix_s: not_after.as_secs() }
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }) => {
            CredentialsError::NotYetValid { not_before_unix_s: not_before.as_secs() }
        }
        other => CredentialsError::Untrusted(other),
    }
}

/// One of the three texts that credentials are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The herd's CA certificate.
    Ca,
    /// The node's certificate.
    Certificate,
    /// The node's private key.
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "CA certificate",
            Self::Certificate => "node certificate",
            Self::Key => "private key",
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
        "the private key does not belong to the certificate of {0}; take both files of one `rdcq certs issue`"
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
    Untrusted(#[source] Error),
    /// The time source has no time.
    #[error("no time to judge certificates by; check this host's clock")]
    NoTime,
    /// rustls refused the configuration.
    #[error("the TLS configuration was refused: {0}")]
    Tls(#[source] Error),
}
