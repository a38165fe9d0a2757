//! A node that judges, and what its peer shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rdcq_certs::{
    Authority, CA_LIFETIME, CredentialFiles, Credentials, Issued, KeyKind, LIST_LIFETIME, Revoked,
    TimeSource, identify, refusal, refusal_of_text, time_from,
};
use rdcq_wire::Identity;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::quic::{ClientConnection, KeyChange, ServerConnection, Version};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, ServerConfig, SignatureScheme};
use time::OffsetDateTime;

/// Within the lifetimes of the fixtures.
pub(crate) const NOW_UNIX_S: u64 = 1_800_000_000;
pub(crate) const NOW_UNIX_MS: u64 = NOW_UNIX_S * 1000;
const DAY_S: i64 = 24 * 3600;

pub(crate) const JUDGE: &str = "spiffe://herd/origin-1/origin";
pub(crate) const PEER: &str = "spiffe://herd/host-1/agent/client";

/// What the peer of the judge shows.
pub(crate) enum Shown {
    Nothing,
    Chain { certs: Vec<CertificateDer<'static>>, key_pem: String },
    OtherProtocol,
}

pub(crate) struct World {
    pub(crate) judge: Credentials,
    pub(crate) shown: Shown,
    /// By what the peer judges the judge, for it not to be the first to refuse.
    lenient: Option<Credentials>,
}

impl World {
    pub(crate) fn new(judge: Credentials, shown: Shown) -> Self {
        Self { judge, shown, lenient: None }
    }

    /// A peer with what [`Authority::issue`] makes, changed.
    pub(crate) fn forged(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let ca = ca();
        Self::new(credentials(&ca), forge(&ca, change))
    }

    /// A peer with a certificate out of a file, under the CA of the fixtures.
    pub(crate) fn fixture(name: &str) -> Self {
        let ca = Authority::from_pem(&fixture("ca.pem"), &fixture("ca.key")).unwrap();
        let certs = vec![CertificateDer::from_pem_slice(fixture(name).as_bytes()).unwrap()];
        Self::new(credentials(&ca), Shown::Chain { certs, key_pem: fixture("leaf.key") })
    }

    /// A judge with a list, with nobody on it.
    pub(crate) fn listed() -> Self {
        let (ca, peer) = (ca(), PEER);
        let list = ca.revocation_list(&[], LIST_LIFETIME, NOW_UNIX_MS).unwrap();
        let shown = shown(&issue(&ca, peer));
        Self::new(load(ca.cert_pem(), &issue(&ca, JUDGE), Some(&list), fixed()).unwrap(), shown)
    }

    pub(crate) fn revoked() -> Self {
        let ca = ca();
        let peer = issue(&ca, PEER);
        let revoked = [Revoked { serial: peer.serial.clone(), at_unix_s: NOW_UNIX_S }];
        let list = ca.revocation_list(&revoked, LIST_LIFETIME, NOW_UNIX_MS).unwrap();
        let judge = load(ca.cert_pem(), &issue(&ca, JUDGE), Some(&list), fixed()).unwrap();
        Self::new(judge, shown(&peer))
    }

    pub(crate) fn list_ended() -> Self {
        let ca = ca();
        let list = ca.revocation_list(&[], LIST_LIFETIME, NOW_UNIX_MS).unwrap();
        let clock = Arc::new(AtomicU64::new(NOW_UNIX_MS));
        let time = Arc::clone(&clock);
        let time = time_from(move || time.load(Ordering::Relaxed));
        let judge = load(ca.cert_pem(), &issue(&ca, JUDGE), Some(&list), time).unwrap();
        let then = Duration::from_millis(NOW_UNIX_MS) + LIST_LIFETIME + Duration::from_secs(1);
        clock.store(u64::try_from(then.as_millis()).unwrap(), Ordering::Relaxed);
        Self { lenient: Some(credentials(&ca)), ..Self::new(judge, shown(&issue(&ca, PEER))) }
    }

    /// Two CAs, of which one has a list, and the peer is of the other.
    pub(crate) fn list_missing() -> Self {
        let (ca, other) = (ca(), ca());
        let list = ca.revocation_list(&[], LIST_LIFETIME, NOW_UNIX_MS).unwrap();
        let both = [other.cert_pem(), ca.cert_pem()].concat();
        let judge = load(&both, &issue(&ca, JUDGE), Some(&list), fixed()).unwrap();
        Self::new(judge, shown(&issue(&other, PEER)))
    }

    pub(crate) fn ca_ended() -> Self {
        let (ca, now) = (ca(), Duration::from_millis(NOW_UNIX_MS));
        let long_ago = u64::try_from((now - CA_LIFETIME - Duration::from_secs(1)).as_millis()).unwrap();
        let old = Authority::generate("herd".parse().unwrap(), KeyKind::P256, long_ago).unwrap();
        let both = [old.cert_pem(), ca.cert_pem()].concat();
        let judge = load(&both, &issue(&ca, JUDGE), None, fixed()).unwrap();
        Self::new(judge, shown(&issue(&old, PEER)))
    }

    pub(crate) fn check_let_in(self) {
        let outcomes = shake_both(&self);
        for outcome in outcomes {
            outcome.unwrap();
        }
    }
}

pub(crate) fn fixed() -> TimeSource {
    time_from(|| NOW_UNIX_MS)
}

pub(crate) fn ca() -> Authority {
    Authority::generate("herd".parse().unwrap(), KeyKind::P256, NOW_UNIX_MS).unwrap()
}

pub(crate) fn issue(ca: &Authority, uri: &str) -> Issued {
    ca.issue(&Identity::from_spiffe(uri).unwrap(), NOW_UNIX_MS).unwrap()
}

pub(crate) fn load(
    ca_pem: &str,
    own: &Issued,
    crl_pem: Option<&str>,
    time: TimeSource,
) -> Result<Credentials, rdcq_certs::CredentialsError> {
    let files = CredentialFiles { ca_pem, cert_pem: &own.cert_pem, key_pem: &own.key_pem, crl_pem };
    Credentials::load(files, time)
}

pub(crate) fn credentials(ca: &Authority) -> Credentials {
    load(ca.cert_pem(), &issue(ca, JUDGE), None, fixed()).unwrap()
}

pub(crate) fn shown(issued: &Issued) -> Shown {
    let certs = vec![CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap()];
    Shown::Chain { certs, key_pem: issued.key_pem.clone() }
}

fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    #[expect(clippy::disallowed_methods, reason = "a fixture is read from the disk itself")]
    std::fs::read_to_string(path).unwrap()
}

/// The name of a herd's CA.
pub(crate) fn ca_name() -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "rdcq");
    name.push(DnType::CommonName, "herd");
    name
}

/// What [`Authority::issue`] makes.
pub(crate) fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![uri(PEER)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (days_from_now(-1), days_from_now(1));
    params
}

pub(crate) fn forge(ca: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    forge_under(ca_name(), ca.key_pem(), change)
}

pub(crate) fn forge_under(
    issuer_name: DistinguishedName,
    issuer_key_pem: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = leaf_params();
    change(&mut params);
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = issuer_name;
    let issuer = Issuer::new(issuer, KeyPair::from_pem(issuer_key_pem).unwrap());
    let cert = params.signed_by(&key, &issuer).unwrap();
    Shown::Chain { certs: vec![cert.into()], key_pem: key.serialize_pem() }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) fn days_from_now(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(NOW_UNIX_S).unwrap() + days * DAY_S).unwrap()
}

/// Shows what there is, on either side, whether it fits or not.
#[derive(Debug, Clone)]
struct Peer(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Peer {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ResolvesServerCert for Peer {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

impl Shown {
    fn key(certs: Vec<CertificateDer<'static>>, key_pem: &str) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        Arc::new(CertifiedKey::new(certs, key))
    }

    /// The peer as a client. It is as the judge is but for what it shows, and judges alike.
    fn client(&self, judge: &Credentials) -> ClientConfig {
        let mut config = (*judge.client_config()).clone();
        match self {
            Self::OtherProtocol => config.alpn_protocols = vec![b"h3".to_vec()],
            Self::Nothing => config.client_auth_cert_resolver = Arc::new(Peer(None)),
            Self::Chain { certs, key_pem } => {
                let key = Self::key(certs.clone(), key_pem);
                config.client_auth_cert_resolver = Arc::new(Peer(Some(key)));
            }
        }
        config
    }

    /// The peer as a server.
    fn server(&self, judge: &Credentials) -> ServerConfig {
        let mut config = (*judge.server_config()).clone();
        match self {
            Self::OtherProtocol => config.alpn_protocols = vec![b"h3".to_vec()],
            Self::Nothing => {
                let any = KeyPair::generate().unwrap().serialize_pem();
                config.cert_resolver = Arc::new(Peer(Some(Self::key(Vec::new(), &any))));
            }
            Self::Chain { certs, key_pem } => {
                config.cert_resolver = Arc::new(Peer(Some(Self::key(certs.clone(), key_pem))));
            }
        }
        config
    }
}

/// Why the judge refuses its peer: as a server, and as a client.
pub(crate) fn refusals(world: World) -> [String; 2] {
    shake_both(&world).map(|outcome| match outcome {
        Ok(met) => format!("it was let in as {met}"),
        Err(error) => {
            assert_eq!(refusal_of_text(&error.to_string()), refusal(&error), "quinn keeps the text alone");
            refusal(&error)
        }
    })
}

pub(crate) fn shake_both(world: &World) -> [Result<Identity, Error>; 2] {
    let World { judge, shown, lenient } = world;
    let peer = lenient.as_ref().unwrap_or(judge);
    let (_, by_server) = shake(Arc::new(shown.client(peer)), judge.server_config());
    let (by_client, own) = shake(judge.client_config(), Arc::new(shown.server(peer)));
    // rustls cannot be brought to serve without a common protocol.
    let by_client = if matches!(shown, Shown::OtherProtocol) { own } else { by_client };
    [by_server, by_client]
}

/// Runs both sides until neither has anything to say. Each ends with whom it met, or with its first error.
fn shake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> (Result<Identity, Error>, Result<Identity, Error>) {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(client, Version::V1, name, Vec::new()).unwrap();
    let mut server = ServerConnection::new(server, Version::V1, Vec::new()).unwrap();
    let (mut client_end, mut server_end) = (Ok(()), Ok(()));
    loop {
        let mut said = false;
        while let Some(flight) = flight(|to| client.write_hs(to)) {
            said = true;
            server_end = server_end.and_then(|()| server.read_hs(&flight));
        }
        while let Some(flight) = flight(|to| server.write_hs(to)) {
            said = true;
            client_end = client_end.and_then(|()| client.read_hs(&flight));
        }
        if !said || client_end.is_err() || server_end.is_err() {
            break;
        }
    }
    let met = |certs: Option<&[CertificateDer<'_>]>| identify(certs.unwrap_or_default()).unwrap();
    let done = !client.is_handshaking() && !server.is_handshaking();
    let client = client_end.map(|()| if done { met(client.peer_certificates()) } else { nobody() });
    let server = server_end.map(|()| if done { met(server.peer_certificates()) } else { nobody() });
    (client, server)
}

/// What one side says under one key.
fn flight(write: impl FnOnce(&mut Vec<u8>) -> Option<KeyChange>) -> Option<Vec<u8>> {
    let mut flight = Vec::new();
    let key_changed = write(&mut flight).is_some();
    (key_changed || !flight.is_empty()).then_some(flight)
}

/// Whom the other side met, when one refused.
fn nobody() -> Identity {
    Identity::from_spiffe("spiffe://herd/nobody/client").unwrap()
}
