//! Handshakes in memory: who is let in, who is refused, and that nothing but a full TLS 1.3 handshake happens.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rdcq_certs::{ALPN, Authority, Credentials, KeyKind, PeerError, Side, TimeSource, identify};
use rdcq_wire::{HerdId, Identity};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, PeerIncompatible, ServerConfig, ServerConnection,
};
use time::OffsetDateTime;

const NOW_UNIX_S: u64 = 1_790_000_000;
const DAY_S: i64 = 24 * 3600;

const SERVER: &str = "spiffe://herd/origin-1/origin";
const CLIENT: &str = "spiffe://herd/host-1/agent/client";

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW_UNIX_S)))
    }
}

fn fixed_time() -> TimeSource {
    Arc::new(Fixed)
}

fn authority() -> Authority {
    let herd: HerdId = "herd".parse().unwrap();
    Authority::generate(herd, KeyKind::P256, NOW_UNIX_S * 1000).unwrap()
}

fn credentials(ca: &Authority, uri: &str) -> Credentials {
    let issued = ca.issue(&Identity::from_spiffe(uri).unwrap(), NOW_UNIX_S * 1000).unwrap();
    Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, fixed_time()).unwrap()
}

/// What each side of a handshake came to: who it found on the other side, or its own first error.
#[derive(Debug)]
struct Outcome {
    client: Result<Identity, Error>,
    server: Result<Identity, Error>,
}

/// Runs both sides until neither has anything to say.
fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Outcome {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let (mut client_end, mut server_end) = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        while !flight.is_empty() && server_end.is_ok() {
            let taken = server.read_tls(&mut flight.as_slice()).unwrap();
            flight.drain(..taken);
            server_end = server.process_new_packets().map(drop);
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        while !flight.is_empty() && client_end.is_ok() {
            let taken = client.read_tls(&mut flight.as_slice()).unwrap();
            flight.drain(..taken);
            client_end = client.process_new_packets().map(drop);
        }
    }
    Outcome {
        client: client_end.map(|()| identify(client.peer_certificates().unwrap()).unwrap()),
        server: server_end.map(|()| identify(server.peer_certificates().unwrap()).unwrap()),
    }
}

/// A certificate that [`Authority::issue`] would not make: what it makes, changed by `change`, signed by `ca`.
fn forge(ca: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Arc<SingleCertAndKey> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = uris(&[CLIENT]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (days_from_now(-1), days_from_now(1));
    change(&mut params);

    let ca_key = KeyPair::from_pem(ca.key_pem()).unwrap();
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = DistinguishedName::new();
    issuer.distinguished_name.push(rcgen::DnType::OrganizationName, "rdcq");
    issuer.distinguished_name.push(rcgen::DnType::CommonName, ca.herd().as_str());
    let cert = params.signed_by(&key, &Issuer::new(issuer, ca_key)).unwrap();
    holder(vec![cert.into()], &key.serialize_pem())
}

fn holder(certs: Vec<CertificateDer<'static>>, key_pem: &str) -> Arc<SingleCertAndKey> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Arc::new(SingleCertAndKey::from(CertifiedKey::new(certs, key)))
}

fn uris(texts: &[&str]) -> Vec<SanType> {
    texts.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect()
}

fn days_from_now(days: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(NOW_UNIX_S).unwrap() + days * DAY_S).unwrap()
}

/// Shows `bad` to a good server and to a good client of `ca`'s herd, and returns why each refused it.
fn refusals(ca: &Authority, bad: &Arc<SingleCertAndKey>) -> [Error; 2] {
    let good = credentials(ca, SERVER);

    let mut client = (*good.client_config()).clone();
    client.client_auth_cert_resolver = Arc::clone(bad) as _;
    let by_server = shake(Arc::new(client), good.server_config()).server.unwrap_err();

    let mut server = (*good.server_config()).clone();
    server.cert_resolver = Arc::clone(bad) as _;
    let outcome = shake(good.client_config(), Arc::new(server));
    let by_client = outcome.client.unwrap_err();
    assert!(outcome.server.is_err(), "the refused server took its client for connected");
    [by_server, by_client]
}

/// Why our own check refused a certificate that rustls's let through.
fn peer_error(error: Error) -> PeerError {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        panic!("not a refusal of ours: {error:?}");
    };
    let refusal = other.0.downcast_ref::<PeerError>();
    refusal.unwrap_or_else(|| panic!("not a refusal of ours: {other:?}")).clone()
}

#[test]
fn two_members_of_a_herd_learn_who_the_other_is() {
    let ca = authority();
    let (server, client) = (credentials(&ca, SERVER), credentials(&ca, CLIENT));
    let outcome = shake(client.client_config(), server.server_config());
    assert_eq!(&outcome.client.unwrap(), server.identity());
    assert_eq!(&outcome.server.unwrap(), client.identity());
}

#[test]
fn a_forgery_without_a_flaw_is_let_in() {
    // Without this, the refusals below could all have one common, wrong cause.
    let ca = authority();
    let good = credentials(&ca, SERVER);
    let mut client = (*good.client_config()).clone();
    client.client_auth_cert_resolver = forge(&ca, |_| {});
    let mut server = (*good.server_config()).clone();
    server.cert_resolver = forge(&ca, |_| {});
    assert!(shake(Arc::new(client), good.server_config()).server.is_ok());
    assert!(shake(good.client_config(), Arc::new(server)).client.is_ok());
}

#[test]
fn a_client_without_a_certificate_is_refused() {
    let server = credentials(&authority(), SERVER);
    let mut client = (*server.client_config()).clone();
    #[derive(Debug)]
    struct Nobody;
    impl rustls::client::ResolvesClientCert for Nobody {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    client.client_auth_cert_resolver = Arc::new(Nobody);
    let outcome = shake(Arc::new(client), server.server_config());
    assert_eq!(outcome.server.unwrap_err(), Error::NoCertificatesPresented);
    assert!(matches!(outcome.client, Err(Error::AlertReceived(_))), "{outcome:?}", outcome = outcome.client);
}

#[test]
fn a_member_of_a_herd_of_the_same_name_under_another_ca_is_refused() {
    let foreign = forge(&authority(), |_| {});
    for refusal in refusals(&authority(), &foreign) {
        assert_eq!(peer_error(refusal), PeerError::NotSigned);
    }
}

#[test]
fn a_self_signed_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris(&[CLIENT]);
    params.is_ca = IsCa::ExplicitNoCa;
    let cert = params.self_signed(&key).unwrap();
    for refusal in refusals(&authority(), &holder(vec![cert.into()], &key.serialize_pem())) {
        assert_eq!(peer_error(refusal), PeerError::SelfSigned);
    }
}

#[test]
fn a_certificate_with_any_other_number_of_uris_than_one_is_refused() {
    let ca = authority();
    for names in [vec![], vec![CLIENT, CLIENT], vec![CLIENT, "https://example.org/"]] {
        let bad = forge(&ca, |params| {
            params.subject_alt_names = uris(&names);
            params.subject_alt_names.push(SanType::DnsName("host-1.example".try_into().unwrap()));
        });
        for refusal in refusals(&ca, &bad) {
            let why = rdcq_certs::IdentifyError::UriCount(names.len());
            assert_eq!(peer_error(refusal), PeerError::Identify(why));
        }
    }
}

#[test]
fn a_uri_that_is_no_identity_is_refused() {
    let ca = authority();
    for name in
        ["spiffe://herd", "spiffe://herd/host-1", "spiffe://herd/host-1/king", "https://herd/host-1/agent"]
    {
        let bad = forge(&ca, |params| params.subject_alt_names = uris(&[name]));
        for refusal in refusals(&ca, &bad) {
            let refusal = peer_error(refusal);
            assert!(
                matches!(refusal, PeerError::Identify(rdcq_certs::IdentifyError::Identity(_))),
                "{name}: {refusal:?}"
            );
        }
    }
}

#[test]
fn an_identity_of_another_herd_under_the_same_ca_is_refused() {
    let ca = authority();
    let stranger = "spiffe://other/host-1/agent";
    let bad = forge(&ca, |params| params.subject_alt_names = uris(&[stranger]));
    for refusal in refusals(&ca, &bad) {
        let peer = Box::new(Identity::from_spiffe(stranger).unwrap());
        assert_eq!(peer_error(refusal), PeerError::OtherHerd { peer, herd: ca.herd().clone() });
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    let ca = authority();
    let bad = forge(&ca, |params| {
        (params.not_before, params.not_after) = (days_from_now(-2), days_from_now(-1));
    });
    for refusal in refusals(&ca, &bad) {
        assert!(matches!(peer_error(refusal), PeerError::Expired { .. }));
    }
}

#[test]
fn a_certificate_of_the_future_is_refused() {
    let ca = authority();
    let bad = forge(&ca, |params| {
        (params.not_before, params.not_after) = (days_from_now(1), days_from_now(2));
    });
    for refusal in refusals(&ca, &bad) {
        assert!(matches!(peer_error(refusal), PeerError::NotYetValid { .. }));
    }
}

#[test]
fn the_ca_itself_is_no_member() {
    let ca = authority();
    let cert = CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap();
    for refusal in refusals(&ca, &holder(vec![cert], ca.key_pem())) {
        assert_eq!(peer_error(refusal), PeerError::IsCa);
    }
}

#[test]
fn a_certificate_made_for_one_side_only_is_refused_on_the_other() {
    let ca = authority();
    let only = |usage| forge(&ca, |params| params.extended_key_usages = vec![usage]);
    let good = credentials(&ca, SERVER);

    let mut client = (*good.client_config()).clone();
    client.client_auth_cert_resolver = only(ExtendedKeyUsagePurpose::ServerAuth);
    let refusal = shake(Arc::new(client), good.server_config()).server.unwrap_err();
    assert_eq!(peer_error(refusal), PeerError::OtherPurpose(Side::Client));

    let mut server = (*good.server_config()).clone();
    server.cert_resolver = only(ExtendedKeyUsagePurpose::ClientAuth);
    let refusal = shake(good.client_config(), Arc::new(server)).client.unwrap_err();
    assert_eq!(peer_error(refusal), PeerError::OtherPurpose(Side::Server));
}

#[test]
fn a_chain_longer_than_one_certificate_is_refused() {
    let ca = authority();
    let leaf = forge(&ca, |_| {});
    let own = rustls::client::ResolvesClientCert::resolve(&*leaf, &[], &[]).unwrap();
    let root = CertificateDer::from_pem_slice(ca.cert_pem().as_bytes()).unwrap();
    let chain = CertifiedKey::new(vec![own.cert[0].clone(), root], Arc::clone(&own.key));
    for refusal in refusals(&ca, &Arc::new(SingleCertAndKey::from(chain))) {
        assert_eq!(peer_error(refusal), PeerError::Intermediates(1));
    }
}

#[test]
fn no_session_is_ever_resumed_and_no_early_data_taken() {
    let own = credentials(&authority(), SERVER);
    let (server, client) = (own.server_config(), own.client_config());
    assert_eq!(server.send_tls13_tickets, 0);
    assert_eq!(server.max_early_data_size, 0);
    assert!(!server.session_storage.can_cache());
    assert!(!server.ticketer.enabled());
    assert!(!client.enable_early_data);
    assert_eq!(
        (&server.alpn_protocols, &client.alpn_protocols),
        (&vec![ALPN.to_vec()], &vec![ALPN.to_vec()])
    );

    for _ in 0..2 {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut one = ClientConnection::new(own.client_config(), name).unwrap();
        let mut other = ServerConnection::new(own.server_config()).unwrap();
        for _ in 0..4 {
            let mut flight = Vec::new();
            one.write_tls(&mut flight).unwrap();
            other.read_tls(&mut flight.as_slice()).unwrap();
            other.process_new_packets().unwrap();
            let mut flight = Vec::new();
            while other.wants_write() {
                other.write_tls(&mut flight).unwrap();
            }
            one.read_tls(&mut flight.as_slice()).unwrap();
            one.process_new_packets().unwrap();
        }
        assert_eq!(one.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(one.tls13_tickets_received(), 0);
        assert_eq!(one.alpn_protocol(), Some(ALPN));
    }
}

#[test]
fn tls_1_2_is_neither_offered_nor_accepted() {
    // The extension supported_versions with one version in it.
    const TLS13_ONLY: [u8; 7] = [0x00, 0x2b, 0x00, 0x03, 0x02, 0x03, 0x04];
    let own = credentials(&authority(), SERVER);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(own.client_config(), name).unwrap().write_tls(&mut hello).unwrap();
    let at = hello.windows(7).position(|bytes| bytes == TLS13_ONLY).expect("only TLS 1.3 is offered");

    hello[at + 6] = 0x03;
    let mut server = ServerConnection::new(own.server_config()).unwrap();
    server.read_tls(&mut hello.as_slice()).unwrap();
    let refusal = server.process_new_packets().unwrap_err();
    assert!(matches!(refusal, Error::PeerIncompatible(_)), "{refusal:?}");
    assert_ne!(refusal, Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon));
}

#[test]
fn a_client_of_another_protocol_is_refused() {
    let own = credentials(&authority(), SERVER);
    let mut client = (*own.client_config()).clone();
    client.alpn_protocols = vec![b"h3".to_vec()];
    let outcome = shake(Arc::new(client), own.server_config());
    assert_eq!(outcome.server.unwrap_err(), Error::NoApplicationProtocol);
}

#[test]
fn the_handshake_is_classical_and_fits_datagrams() {
    let own = credentials(&authority(), SERVER);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(own.client_config(), name).unwrap();
    let mut server = ServerConnection::new(own.server_config()).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let groups: Vec<_> = own.client_config().crypto_provider().kx_groups.iter().map(|kx| kx.name()).collect();
    assert_eq!(groups, [rustls::NamedGroup::X25519]);
    // A QUIC client's first datagram is 1200 bytes, of which headers, transport parameters and the tag take under 200.
    assert!(hello.len() < 1000, "a client's hello of {} bytes", hello.len());

    server.read_tls(&mut hello.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    let mut flight = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut flight).unwrap();
    }
    assert!(flight.len() < 2 * 1200, "a server's first flight of {} bytes", flight.len());
    assert_eq!(
        server.negotiated_key_exchange_group().map(|group| group.name()),
        Some(rustls::NamedGroup::X25519)
    );
    let suite = server.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(rustls::CipherSuite::TLS13_AES_128_GCM_SHA256));
}
