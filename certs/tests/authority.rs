//! What a CA makes, and what a node takes.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use rdcq_certs::{
    Authority, AuthorityError, CA_LIFETIME, CLOCK_SKEW, Credentials, CredentialsError, IdentifyError,
    KeyKind, LEAF_LIFETIME, Part, SERIAL_LEN, TimeSource, identify,
};
use rdcq_wire::{HerdId, Identity, RoleSet};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;

const NOW_UNIX_S: u64 = 1_790_000_000;
const NOW_UNIX_MS: u64 = NOW_UNIX_S * 1000;

#[derive(Debug)]
struct At(Option<u64>);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0?)))
    }
}

fn at(unix_s: u64) -> TimeSource {
    Arc::new(At(Some(unix_s)))
}

fn herd(name: &str) -> HerdId {
    name.parse().unwrap()
}

fn authority(kind: KeyKind) -> Authority {
    Authority::generate(herd("herd"), kind, NOW_UNIX_MS).unwrap()
}

fn agent() -> Identity {
    Identity::from_spiffe("spiffe://herd/host-1/agent").unwrap()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn a_certificate_carries_the_identity_that_it_was_issued_for() {
    for kind in [KeyKind::P256, KeyKind::Ed25519] {
        let ca = authority(kind);
        let issued = ca.issue(&agent(), NOW_UNIX_MS).unwrap();
        assert_eq!(identify(&[der(&issued.cert_pem)]), Ok(agent()));
        let own =
            Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, at(NOW_UNIX_S)).unwrap();
        assert_eq!(own.identity(), &agent());
    }
}

#[test]
fn a_ca_read_back_is_the_same_ca() {
    for kind in [KeyKind::P256, KeyKind::Ed25519] {
        let made = authority(kind);
        let read = Authority::from_pem(made.cert_pem(), made.key_pem()).unwrap();
        assert_eq!(read.herd(), &herd("herd"));
        let issued = read.issue(&agent(), NOW_UNIX_MS).unwrap();
        Credentials::from_pem(made.cert_pem(), &issued.cert_pem, &issued.key_pem, at(NOW_UNIX_S)).unwrap();
    }
}

#[test]
fn a_ca_is_read_back_only_with_its_own_key() {
    let (one, other) = (authority(KeyKind::P256), authority(KeyKind::P256));
    let error = Authority::from_pem(one.cert_pem(), other.key_pem()).unwrap_err();
    assert!(matches!(error, AuthorityError::OtherKey(_)), "{error}");
    let error = Authority::from_pem(one.cert_pem(), "no key").unwrap_err();
    assert!(matches!(error, AuthorityError::Key(_)), "{error}");
    let error = Authority::from_pem("no certificate", one.key_pem()).unwrap_err();
    assert!(matches!(error, AuthorityError::Certificate(_)), "{error}");
}

#[test]
fn a_node_certificate_is_not_taken_for_a_ca() {
    let issued = authority(KeyKind::P256).issue(&agent(), NOW_UNIX_MS).unwrap();
    let error = Authority::from_pem(&issued.cert_pem, &issued.key_pem).unwrap_err();
    assert!(matches!(error, AuthorityError::NotACa(_)), "{error}");
}

#[test]
fn a_ca_under_another_name_is_not_taken_for_the_herds() {
    // What it issued would carry the herd's name as the issuer's and chain to nothing.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.subject_alt_names = vec![rcgen::SanType::URI("spiffe://herd".try_into().unwrap())];
    let cert = params.self_signed(&key).unwrap();
    let error = Authority::from_pem(&cert.pem(), &key.serialize_pem()).unwrap_err();
    assert!(matches!(error, AuthorityError::NotACa(_)), "{error}");
}

#[test]
fn only_members_with_a_role_are_issued_certificates() {
    let ca = authority(KeyKind::P256);
    let stranger = Identity { herd: herd("other"), ..agent() };
    let error = ca.issue(&stranger, NOW_UNIX_MS).unwrap_err();
    assert!(matches!(error, AuthorityError::OtherHerd { .. }), "{error}");
    let idle = Identity { roles: RoleSet::default(), ..agent() };
    let error = ca.issue(&idle, NOW_UNIX_MS).unwrap_err();
    assert!(matches!(error, AuthorityError::Identity(_)), "{error}");
}

#[test]
fn the_longest_names_are_issued_certificates() {
    let long = herd(&"h".repeat(HerdId::MAX_LEN));
    let ca = Authority::generate(long.clone(), KeyKind::P256, NOW_UNIX_MS).unwrap();
    let node = "n".repeat(rdcq_wire::NodeId::MAX_LEN).parse().unwrap();
    let identity = Identity { herd: long, node, roles: rdcq_wire::Role::ALL.into_iter().collect() };
    let issued = ca.issue(&identity, NOW_UNIX_MS).unwrap();
    let own =
        Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, at(NOW_UNIX_S)).unwrap();
    assert_eq!(own.identity(), &identity);
}

#[test]
fn a_certificate_holds_from_an_hour_before_it_was_made_for_a_year() {
    let ca = authority(KeyKind::P256);
    let issued = ca.issue(&agent(), NOW_UNIX_MS).unwrap();
    let take = |unix_s| Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, at(unix_s));
    let (begin, end) = (NOW_UNIX_S - CLOCK_SKEW.as_secs(), NOW_UNIX_S + LEAF_LIFETIME.as_secs());
    assert_eq!(take(begin).unwrap().not_after_unix_s(), end);
    assert!(take(end).is_ok());
    let early = take(begin - 1).unwrap_err();
    assert!(
        matches!(early, CredentialsError::NotYetValid { not_before_unix_s } if not_before_unix_s == begin)
    );
    let late = take(end + 1).unwrap_err();
    assert!(matches!(late, CredentialsError::Expired { not_after_unix_s } if not_after_unix_s == end));
    assert!(CA_LIFETIME > LEAF_LIFETIME);
}

#[test]
fn a_time_that_no_certificate_can_hold_is_refused() {
    let error = Authority::generate(herd("herd"), KeyKind::P256, u64::MAX).unwrap_err();
    assert!(matches!(error, AuthorityError::Time(u64::MAX)), "{error}");
}

#[test]
fn certificates_of_one_identity_are_of_one_size() {
    let sizes = |make: &dyn Fn() -> String| {
        let mut sizes: Vec<_> = (0..50).map(|_| der(&make()).len()).collect();
        sizes.dedup();
        sizes
    };
    let ca = authority(KeyKind::Ed25519);
    let leaves = sizes(&|| ca.issue(&agent(), NOW_UNIX_MS).unwrap().cert_pem);
    assert_eq!(leaves.len(), 1, "{leaves:?}");
    let roots = sizes(&|| authority(KeyKind::Ed25519).cert_pem().to_owned());
    assert_eq!(roots.len(), 1, "{roots:?}");
}

#[test]
fn serial_numbers_are_positive_of_one_length_and_do_not_repeat() {
    let ca = authority(KeyKind::Ed25519);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let cert = der(&ca.issue(&agent(), NOW_UNIX_MS).unwrap().cert_pem);
        let serial = webpki::EndEntityCert::try_from(&cert).unwrap().serial().to_vec();
        assert_eq!(serial.len(), SERIAL_LEN);
        assert!((0x01..=0x7f).contains(&serial[0]));
        assert!(seen.insert(serial), "a serial number came twice");
    }
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = authority(KeyKind::P256);
    let (one, other) = (ca.issue(&agent(), NOW_UNIX_MS).unwrap(), ca.issue(&agent(), NOW_UNIX_MS).unwrap());
    let error =
        Credentials::from_pem(ca.cert_pem(), &one.cert_pem, &other.key_pem, at(NOW_UNIX_S)).unwrap_err();
    assert!(matches!(error, CredentialsError::OtherKey(_)), "{error}");
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    let (one, other) = (authority(KeyKind::P256), authority(KeyKind::P256));
    let issued = one.issue(&agent(), NOW_UNIX_MS).unwrap();
    let error = Credentials::from_pem(other.cert_pem(), &issued.cert_pem, &issued.key_pem, at(NOW_UNIX_S))
        .unwrap_err();
    assert!(matches!(error, CredentialsError::Untrusted(_)), "{error}");
}

#[test]
fn the_ca_is_no_node() {
    let ca = authority(KeyKind::P256);
    let error =
        Credentials::from_pem(ca.cert_pem(), ca.cert_pem(), ca.key_pem(), at(NOW_UNIX_S)).unwrap_err();
    assert!(matches!(error, CredentialsError::Identify(IdentifyError::Identity(_))), "{error}");
}

#[test]
fn texts_that_are_not_one_certificate_or_key_are_refused_by_name() {
    let ca = authority(KeyKind::P256);
    let issued = ca.issue(&agent(), NOW_UNIX_MS).unwrap();
    let twice = |pem: &str| format!("{pem}{pem}");
    let (root, cert, key) = (ca.cert_pem(), issued.cert_pem.as_str(), issued.key_pem.as_str());
    let cases = [
        (Part::Ca, "", cert, key),
        (Part::Ca, &twice(root), cert, key),
        (Part::Certificate, root, "", key),
        (Part::Certificate, root, key, key),
        (Part::Certificate, root, &twice(cert), key),
        (Part::Key, root, cert, ""),
        (Part::Key, root, cert, cert),
    ];
    for (wrong, root, cert, key) in cases {
        let error = Credentials::from_pem(root, cert, key, at(NOW_UNIX_S)).unwrap_err();
        assert!(
            matches!(error, CredentialsError::Unreadable { part, .. } if part == wrong),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn without_a_clock_nothing_is_trusted() {
    let ca = authority(KeyKind::P256);
    let issued = ca.issue(&agent(), NOW_UNIX_MS).unwrap();
    let error = Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, Arc::new(At(None)))
        .unwrap_err();
    assert!(matches!(error, CredentialsError::NoTime), "{error}");
}

#[test]
fn a_peer_without_a_readable_certificate_is_nobody() {
    assert_eq!(identify(&[]), Err(IdentifyError::NoCertificate));
    let garbage = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01]);
    assert!(matches!(identify(&[garbage]), Err(IdentifyError::Malformed(_))));
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let ca = authority(KeyKind::P256);
    let issued = ca.issue(&agent(), NOW_UNIX_MS).unwrap();
    let own =
        Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, at(NOW_UNIX_S)).unwrap();
    let shown = format!("{ca:?} {issued:?} {own:?}");
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
}
