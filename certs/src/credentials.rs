//! What a node holds to take part in a herd.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdcq_wire::{Digest, HerdId, Identity};
use rustls::crypto::CryptoProvider;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, OwnedCertRevocationList};

use crate::authority::ca_uri;
use crate::identify::sole_uri;
use crate::memory::Memory;
use crate::own::Own;
use crate::refusal::{PeerError, Side};
use crate::tls;
use crate::trust::{List, Lists, Root, Trust};
use crate::verifier::PeerVerifier;
use crate::x509;

mod error;

pub use error::{CredentialsError, Part};

/// Most CAs that a node trusts at once. Two are one being replaced by the other; a few more are a replacement that was
/// begun anew. Each costs a signature check for every stranger that bears the herd's name.
pub const MAX_CAS: usize = 8;

/// Where a node reads the time to judge certificates by.
pub type TimeSource = Arc<dyn TimeProvider>;

/// The host's own clock.
pub fn system_time() -> TimeSource {
    Arc::new(DefaultTimeProvider)
}

/// A clock that is somebody else's, in milliseconds since 1970.
pub fn time_from(unix_ms: impl Fn() -> u64 + Send + Sync + 'static) -> TimeSource {
    Arc::new(Clock(unix_ms))
}

struct Clock<F>(F);

impl<F> fmt::Debug for Clock<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl<F: Fn() -> u64 + Send + Sync> TimeProvider for Clock<F> {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis((self.0)())))
    }
}

/// The texts that credentials are read from, all PEM.
#[derive(Clone, Copy)]
pub struct CredentialFiles<'a> {
    /// The herd's CA certificates: one, or up to [`MAX_CAS`] while one is being replaced.
    pub ca_pem: &'a str,
    /// The node's certificate.
    pub cert_pem: &'a str,
    /// The node's private key.
    pub key_pem: &'a str,
    /// The CAs' revocation lists, one each. Without this text, nobody is asked for to be on none; with it, no peer is
    /// believed whose CA has no list that is in force.
    pub crl_pem: Option<&'a str>,
}

/// A node's certificate and key, found sound, and the configurations of both sides of a connection.
///
/// A node never starts with a certificate that its peers would refuse: its own is judged first, as theirs will be.
#[derive(Clone)]
pub struct Credentials {
    own: Arc<Own>,
    lists_end_unix_s: Option<u64>,
    trust: Arc<Trust>,
    time: TimeSource,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Credentials {
    /// Reads credentials without revocation lists.
    pub fn from_pem(
        ca_pem: &str,
        cert_pem: &str,
        key_pem: &str,
        time: TimeSource,
    ) -> Result<Self, CredentialsError> {
        Self::load(CredentialFiles { ca_pem, cert_pem, key_pem, crl_pem: None }, time)
    }

    /// Reads credentials, and checks that all of the texts belong together and hold now.
    pub fn load(files: CredentialFiles<'_>, time: TimeSource) -> Result<Self, CredentialsError> {
        let own = Own::read(files.cert_pem, files.key_pem)?;
        let loaded = Self::build(own.into(), files.ca_pem, files.crl_pem, time, Arc::default())?;
        loaded.judge_own()?;
        Ok(loaded)
    }

    /// Reads what follows these credentials while the node runs, which must be of the same identity: everything that
    /// the node does was decided by it. No CA's list may be older than the one in force, as what was taken back since
    /// would be believed again. What is known about peers' certificates is kept, so that judging all of them again
    /// costs little.
    pub fn renew(&self, files: CredentialFiles<'_>) -> Result<Self, CredentialsError> {
        let own = Own::read(files.cert_pem, files.key_pem)?;
        let renewed = self.follow(own.into(), files.ca_pem, files.crl_pem)?;
        renewed.judge_own()?;
        if renewed.identity() != self.identity() {
            let (from, to) = (self.identity().clone(), renewed.identity().clone());
            return Err(CredentialsError::OtherIdentity { from: Box::new(from), to: Box::new(to) });
        }
        Ok(renewed)
    }

    /// Takes other CAs and lists, and keeps certificate and key. That those have ended or were taken back meanwhile is
    /// no reason to go on believing others who were.
    pub fn renew_trust(&self, ca_pem: &str, crl_pem: Option<&str>) -> Result<Self, CredentialsError> {
        let renewed = self.follow(Arc::clone(&self.own), ca_pem, crl_pem)?;
        match renewed.judge_own() {
            Ok(())
            | Err(CredentialsError::Expired { .. })
            | Err(CredentialsError::Untrusted(PeerError::Revoked { .. } | PeerError::CaExpired { .. })) => {
                Ok(renewed)
            }
            Err(error) => Err(error),
        }
    }

    fn follow(&self, own: Arc<Own>, ca_pem: &str, crl_pem: Option<&str>) -> Result<Self, CredentialsError> {
        let memory = Arc::clone(self.trust.memory());
        let next = Self::build(own, ca_pem, crl_pem, Arc::clone(&self.time), memory)?;
        match next.trust.older_list(&self.trust) {
            Some((this_update_unix_s, in_force_unix_s)) => {
                Err(CredentialsError::OlderList { this_update_unix_s, in_force_unix_s })
            }
            None => Ok(next),
        }
    }

    fn build(
        own: Arc<Own>,
        ca_pem: &str,
        crl_pem: Option<&str>,
        time: TimeSource,
        memory: Arc<Memory>,
    ) -> Result<Self, CredentialsError> {
        let provider = tls::provider();
        let herd = &own.identity.herd;
        let mut roots = roots(&certificates(Part::Ca, ca_pem, MAX_CAS)?, herd)?;
        let lists_end_unix_s = crl_pem.map(|pem| add_lists(&mut roots, pem, &provider)).transpose()?;
        let lists = if crl_pem.is_some() { Lists::Required } else { Lists::Unused };
        let algorithms = provider.signature_verification_algorithms;
        let trust = Arc::new(Trust::new(herd.clone(), roots, lists, algorithms.all, memory));

        let verifier = Arc::new(PeerVerifier::new(Arc::clone(&trust), algorithms));
        let server = (Arc::clone(&verifier), Arc::clone(&own.key));
        let server = tls::server_config(Arc::clone(&provider), Arc::clone(&time), server.0, server.1)
            .map_err(CredentialsError::Tls)?;
        let client = tls::client_config(provider, Arc::clone(&time), verifier, Arc::clone(&own.key))
            .map_err(CredentialsError::Tls)?;
        Ok(Self { own, lists_end_unix_s, trust, time, server, client })
    }

    /// Judges this node's own certificate as its peers will.
    fn judge_own(&self) -> Result<(), CredentialsError> {
        let now = self.time.current_time().ok_or(CredentialsError::NoTime)?;
        for side in [Side::Server, Side::Client] {
            self.trust.judge(std::slice::from_ref(&self.own.cert), side, now).map_err(refused)?;
        }
        Ok(())
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.own.identity
    }

    /// What this node shows.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.own.cert.clone()
    }

    /// When the node's certificate ends, in seconds after 1970: what comes before is the time to renew it.
    pub fn not_after_unix_s(&self) -> u64 {
        self.own.not_after_unix_s
    }

    /// When the first of the revocation lists ends, in seconds after 1970. From then on nobody of its CA is believed.
    pub fn lists_end_unix_s(&self) -> Option<u64> {
        self.lists_end_unix_s
    }

    /// How this node accepts connections.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// How this node connects to others.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// Judges the certificates that a peer showed when it connected again: by the CAs, the lists and the time of now.
    pub fn judge(&self, certs: &[CertificateDer<'_>]) -> Result<Identity, PeerError> {
        let now = self.time.current_time().ok_or(PeerError::NoTime)?;
        self.trust.judge(certs, Side::Either, now)
    }

    /// A secret that nobody else knows and that is the same as long as the node keeps its key: one for each `label`.
    ///
    /// It is a plain hash over a hash of the private key. A password would want a slow function and a salt; the key is
    /// already a random number of 256 bits, so that nothing can be guessed, and all that is asked of the hash is that it
    /// cannot be inverted. Nobody learns the secret of one label from that of another either, as the label comes before
    /// what is secret and ends with a byte that is in no label.
    pub fn secret(&self, label: &str) -> [u8; Digest::LEN] {
        *Digest::of(&[label.as_bytes(), &[0], self.own.root_secret.as_bytes()].concat()).as_bytes()
    }
}

impl fmt::Debug for Credentials {
    /// The identity alone: the configurations hold the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("identity", self.identity()).finish_non_exhaustive()
    }
}

/// The certificates in `pem`: one or more, at most `max`, each once.
pub(crate) fn certificates(
    part: Part,
    pem: &str,
    max: usize,
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let unreadable = |why: String| CredentialsError::Unreadable { part, why };
    let mut certs = Vec::new();
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let cert = cert.map_err(|error| unreadable(error.to_string()))?;
        if certs.len() == max {
            return Err(unreadable(format!("it holds more than {max} of them")));
        }
        if certs.contains(&cert) {
            return Err(unreadable("it holds one of them twice".into()));
        }
        certs.push(cert);
    }
    if certs.is_empty() { Err(unreadable("it holds no PEM certificate".into())) } else { Ok(certs) }
}

/// The CAs, all of which must be the herd's. Of certificates of one key, that counts which ends last: a CA that was
/// given more time is the same CA.
fn roots(cas: &[CertificateDer<'static>], herd: &HerdId) -> Result<Vec<Root>, CredentialsError> {
    let root = |ca: &CertificateDer<'static>| {
        let unreadable = |why: String| CredentialsError::Unreadable { part: Part::Ca, why };
        let uri = sole_uri(ca).map_err(|error| unreadable(error.to_string()))?;
        if uri != ca_uri(herd) {
            return Err(CredentialsError::OtherCa { uri, herd: herd.clone() });
        }
        let anchor = webpki::anchor_from_trusted_cert(ca).map_err(|error| unreadable(error.to_string()))?;
        let not_after_unix_s = fields(Part::Ca, ca)?.not_after_unix_s;
        let key = Digest::of(&[anchor.subject.as_ref(), anchor.subject_public_key_info.as_ref()].concat());
        Ok(Root { anchor: anchor.to_owned(), key, not_after_unix_s, list: None })
    };
    let mut roots: Vec<Root> = Vec::new();
    for ca in cas {
        let root = root(ca)?;
        match roots.iter_mut().find(|known| known.key == root.key) {
            Some(known) if known.not_after_unix_s < root.not_after_unix_s => *known = root,
            Some(_) => {}
            None => roots.push(root),
        }
    }
    Ok(roots)
}

pub(crate) fn fields<'a>(
    part: Part,
    cert: &'a CertificateDer<'_>,
) -> Result<x509::Certificate<'a>, CredentialsError> {
    let unreadable =
        || CredentialsError::Unreadable { part, why: "it holds a certificate without dates".into() };
    x509::Certificate::parse(cert).ok_or_else(unreadable)
}

/// Gives each CA its list, and says when the first of them ends. One list that is not as it should be spoils all: it may
/// be the one with the name that matters.
fn add_lists(roots: &mut [Root], pem: &str, provider: &CryptoProvider) -> Result<u64, CredentialsError> {
    let unreadable = |why: String| CredentialsError::Unreadable { part: Part::Lists, why };
    let algorithms = provider.signature_verification_algorithms.all;
    let mut first_end = None;
    for (index, list) in CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let number = index + 1;
        let der = list.map_err(|error| unreadable(error.to_string()))?;
        let revoked = OwnedCertRevocationList::from_der(&der)
            .map_err(|error| unreadable(format!("list {number} is none: {error}")))?;
        let revoked = CertRevocationList::from(revoked);
        let fields = x509::List::parse(&der)
            .ok_or_else(|| unreadable(format!("list {number} has no dates or no signature")))?;
        if revoked.issuing_distribution_point().is_some() {
            return Err(unreadable(format!("list {number} is about a part of its CA's certificates only")));
        }
        let signer = roots.iter_mut().find(|root| {
            root.anchor.subject.as_ref() == revoked.issuer()
                && fields.is_signed_by(&root.anchor.subject_public_key_info, algorithms)
        });
        let signer =
            signer.ok_or_else(|| unreadable(format!("list {number} is signed by no CA of [identity] ca")))?;
        let end = fields.next_update_unix_s;
        let list = List {
            revoked,
            number: fields.number(),
            this_update_unix_s: fields.this_update_unix_s,
            next_update_unix_s: end,
        };
        if signer.list.replace(list).is_some() {
            return Err(unreadable(format!("list {number} is the second of one CA")));
        }
        first_end = Some(first_end.map_or(end, |first: u64| first.min(end)));
    }
    first_end.ok_or_else(|| unreadable("it holds no PEM revocation list".into()))
}

fn refused(error: PeerError) -> CredentialsError {
    match error {
        PeerError::Expired { not_after_unix_s } => CredentialsError::Expired { not_after_unix_s },
        PeerError::NotYetValid { not_before_unix_s } => CredentialsError::NotYetValid { not_before_unix_s },
        PeerError::ListExpired { next_update_unix_s } => CredentialsError::ListExpired { next_update_unix_s },
        other => CredentialsError::Untrusted(other),
    }
}
