//! A CA that is replaced, certificates that are taken back, and what else changes while a node runs.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdcq_certs::{
    Authority, CertificateKind, CredentialFiles, Credentials, CredentialsError, Issued, KeyKind,
    LEAF_LIFETIME, LIST_LIFETIME, MAX_CAS, Part, PeerError, Revoked, TimeSource, describe, time_from,
};
use rdcq_wire::Identity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const NOW_UNIX_MS: u64 = 1_800_000_000_000;
const NODE: &str = "spiffe://herd/host-1/agent";
const PEER: &str = "spiffe://herd/host-2/agent";

fn now() -> TimeSource {
    time_from(|| NOW_UNIX_MS)
}

fn ca(herd: &str) -> Authority {
    Authority::generate(herd.parse().unwrap(), KeyKind::P256, NOW_UNIX_MS).unwrap()
}

fn issue(ca: &Authority, uri: &str) -> Issued {
    ca.issue(&Identity::from_spiffe(uri).unwrap(), NOW_UNIX_MS).unwrap()
}

fn shown(issued: &Issued) -> [CertificateDer<'static>; 1] {
    [CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap()]
}

fn list(ca: &Authority, revoked: &[&Issued]) -> String {
    let revoked: Vec<_> = revoked
        .iter()
        .map(|issued| Revoked { serial: issued.serial.clone(), at_unix_s: NOW_UNIX_MS / 1000 })
        .collect();
    ca.revocation_list(&revoked, LIST_LIFETIME, NOW_UNIX_MS).unwrap()
}

fn load(
    ca_pem: &str,
    own: &Issued,
    crl_pem: Option<&str>,
    time: TimeSource,
) -> Result<Credentials, CredentialsError> {
    let files = CredentialFiles { ca_pem, cert_pem: &own.cert_pem, key_pem: &own.key_pem, crl_pem };
    Credentials::load(files, time)
}

#[test]
fn while_a_ca_is_replaced_members_of_both_are_believed_whichever_comes_first() {
    let (old, new) = (ca("herd"), ca("herd"));
    let peers = [issue(&old, PEER), issue(&new, PEER)];
    for bundle in [[old.cert_pem(), new.cert_pem()].concat(), [new.cert_pem(), old.cert_pem()].concat()] {
        for own in [issue(&old, NODE), issue(&new, NODE)] {
            let node = load(&bundle, &own, None, now()).unwrap();
            for peer in &peers {
                assert_eq!(node.judge(&shown(peer)).unwrap().node.as_str(), "host-2");
            }
        }
    }
    let after = load(new.cert_pem(), &issue(&new, NODE), None, now()).unwrap();
    assert_eq!(after.judge(&shown(&peers[0])), Err(PeerError::NotSigned));
    after.judge(&shown(&peers[1])).unwrap();
}

#[test]
fn each_ca_of_a_herd_has_a_list_of_its_own() {
    // Both CAs have one name, and webpki would look into the first list of that name.
    let (old, new) = (ca("herd"), ca("herd"));
    let bundle = [old.cert_pem(), new.cert_pem()].concat();
    let good = [issue(&old, PEER), issue(&new, PEER)];
    let bad = [issue(&old, PEER), issue(&new, PEER)];
    let lists = [list(&old, &[&bad[0]]), list(&new, &[&bad[1]])];
    for lists in [lists.concat(), [lists[1].as_str(), lists[0].as_str()].concat()] {
        let node = load(&bundle, &issue(&new, NODE), Some(&lists), now()).unwrap();
        for peer in &good {
            node.judge(&shown(peer)).unwrap();
        }
        for peer in &bad {
            assert!(matches!(node.judge(&shown(peer)), Err(PeerError::Revoked { .. })));
        }
    }
    let half = load(&bundle, &issue(&new, NODE), Some(&lists[1]), now()).unwrap();
    assert_eq!(half.judge(&shown(&good[0])), Err(PeerError::ListMissing));
    let error = load(&bundle, &issue(&old, NODE), Some(&lists[1]), now()).unwrap_err();
    assert!(matches!(error, CredentialsError::Untrusted(PeerError::ListMissing)), "{error}");
}

fn list_of(ca: &Authority, revoked: &[&Issued], unix_ms: u64) -> String {
    let revoked = revoked.iter().map(|issued| Revoked { serial: issued.serial.clone(), at_unix_s: 0 });
    ca.revocation_list(&revoked.collect::<Vec<_>>(), LIST_LIFETIME, unix_ms).unwrap()
}

#[test]
fn a_list_is_never_followed_by_an_older_one_of_the_same_ca() {
    let (ca, other) = (ca("herd"), ca("herd"));
    let (own, peer) = (issue(&ca, NODE), issue(&ca, PEER));
    let [old, new] = [0, 1].map(|ms| list_of(&ca, &[&peer][..ms], NOW_UNIX_MS + ms as u64));
    let node = load(ca.cert_pem(), &own, Some(&new), now()).unwrap();
    let renew = |ca_pem: &str, crl_pem: Option<&str>| {
        let files = CredentialFiles { ca_pem, cert_pem: &own.cert_pem, key_pem: &own.key_pem, crl_pem };
        [node.renew(files), node.renew_trust(ca_pem, crl_pem)]
    };
    for outcome in renew(ca.cert_pem(), Some(&old)) {
        let error = outcome.unwrap_err();
        assert!(matches!(error, CredentialsError::OlderList { .. }), "{error}");
    }
    let bundle = [ca.cert_pem(), other.cert_pem()].concat();
    let lists = [new, list_of(&other, &[], NOW_UNIX_MS - 24 * 3_600_000)].concat();
    for outcome in renew(&bundle, Some(&lists)) {
        assert!(matches!(outcome.unwrap().judge(&shown(&peer)), Err(PeerError::Revoked { .. })));
    }
}

#[test]
fn a_node_whose_own_certificate_is_void_still_learns_whose_others_are() {
    let ca = ca("herd");
    let (own, peer) = (issue(&ca, NODE), issue(&ca, PEER));
    let after_end = (own.not_after_unix_s + 1) * 1000;
    let clock = Arc::new(AtomicU64::new(NOW_UNIX_MS));
    let time = Arc::clone(&clock);
    let time = time_from(move || time.load(Ordering::Relaxed));
    let node = load(ca.cert_pem(), &own, Some(&list(&ca, &[])), time).unwrap();

    let both = list_of(&ca, &[&own, &peer], NOW_UNIX_MS + 1);
    let renewed = node.renew_trust(ca.cert_pem(), Some(&both)).unwrap();
    assert!(matches!(renewed.judge(&shown(&peer)), Err(PeerError::Revoked { .. })));
    let stranger = self::ca("herd");
    let error = node.renew_trust(stranger.cert_pem(), Some(&list(&stranger, &[]))).unwrap_err();
    assert!(matches!(error, CredentialsError::Untrusted(PeerError::NotSigned)), "{error}");

    clock.store(after_end, Ordering::Relaxed);
    let later = list_of(&ca, &[], after_end);
    let renewed = node.renew_trust(ca.cert_pem(), Some(&later)).unwrap();
    let late = ca.issue(&Identity::from_spiffe(PEER).unwrap(), after_end).unwrap();
    renewed.judge(&shown(&late)).unwrap();
}

#[test]
fn of_certificates_of_one_ca_that_counts_which_ends_last() {
    let ca = ca("herd");
    let (own, peer) = (issue(&ca, NODE), issue(&ca, PEER));
    let short = shorter(&ca);
    let ended = time_from(|| NOW_UNIX_MS + 3_600_000);
    let error = load(&short, &own, None, ended.clone()).unwrap_err();
    assert!(matches!(error, CredentialsError::Untrusted(PeerError::CaExpired { .. })), "{error}");
    for bundle in [[&short, ca.cert_pem()].concat(), [ca.cert_pem(), &short].concat()] {
        let node = load(&bundle, &own, Some(&list(&ca, &[])), ended.clone()).unwrap();
        node.judge(&shown(&peer)).unwrap();
    }
}

/// Another certificate of a CA, which ends half an hour after [`NOW_UNIX_MS`].
fn shorter(ca: &Authority) -> String {
    let key = rcgen::KeyPair::from_pem(ca.key_pem()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "rdcq");
    params.distinguished_name.push(rcgen::DnType::CommonName, ca.herd().as_str());
    params.subject_alt_names =
        vec![rcgen::SanType::URI(format!("spiffe://{}", ca.herd()).try_into().unwrap())];
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    params.not_after = time::OffsetDateTime::from_unix_timestamp((NOW_UNIX_MS / 1000 + 1800) as i64).unwrap();
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn a_ca_file_holds_a_few_cas_of_one_herd() {
    let cas: Vec<_> = (0..=MAX_CAS).map(|_| ca("herd")).collect();
    let bundle = |cas: &[Authority]| cas.iter().map(Authority::cert_pem).collect::<String>();
    let own = issue(&cas[0], NODE);
    load(&bundle(&cas[..MAX_CAS]), &own, None, now()).unwrap();
    let error = load(&bundle(&cas), &own, None, now()).unwrap_err();
    assert!(error.to_string().contains("more than 8"), "{error}");
    let mixed = [cas[0].cert_pem(), ca("other").cert_pem()].concat();
    let error = load(&mixed, &own, None, now()).unwrap_err();
    assert!(matches!(error, CredentialsError::OtherCa { .. }), "{error}");
    let error = load(&[cas[0].cert_pem(), &own.cert_pem].concat(), &own, None, now()).unwrap_err();
    assert!(matches!(error, CredentialsError::OtherCa { .. }), "{error}");
    let error = load(&bundle(&[]), &own, None, now()).unwrap_err();
    assert!(matches!(error, CredentialsError::Unreadable { part: Part::Ca, .. }), "{error}");
}

#[test]
fn a_ca_is_read_out_of_a_bundle_by_its_key() {
    let (old, new) = (ca("herd"), ca("herd"));
    let bundle = format!("# the herd's\n{}\n{}", old.cert_pem(), new.cert_pem());
    for made in [&old, &new] {
        let read = Authority::from_pem(&bundle, made.key_pem()).unwrap();
        assert_eq!(read.cert_pem(), made.cert_pem());
    }
    assert!(Authority::from_pem(&bundle, ca("herd").key_pem()).is_err());
}

#[test]
fn a_peer_that_was_let_in_is_judged_by_the_time_of_now() {
    let authority = ca("herd");
    let clock = Arc::new(AtomicU64::new(NOW_UNIX_MS));
    let time = Arc::clone(&clock);
    let time = time_from(move || time.load(Ordering::Relaxed));
    let lists = list(&authority, &[]);
    let node = load(authority.cert_pem(), &issue(&authority, NODE), Some(&lists), Arc::clone(&time)).unwrap();
    let without = load(authority.cert_pem(), &issue(&authority, NODE), None, time).unwrap();
    let peer = shown(&issue(&authority, PEER));
    let pass = |time: Duration| {
        let then = Duration::from_millis(NOW_UNIX_MS) + time;
        clock.store(u64::try_from(then.as_millis()).unwrap(), Ordering::Relaxed);
    };
    assert_eq!(node.lists_end_unix_s(), Some(NOW_UNIX_MS / 1000 + LIST_LIFETIME.as_secs()));
    pass(LIST_LIFETIME - Duration::from_secs(1));
    node.judge(&peer).unwrap();
    pass(LIST_LIFETIME + Duration::from_secs(1));
    assert!(matches!(node.judge(&peer), Err(PeerError::ListExpired { .. })));
    without.judge(&peer).unwrap();
    pass(LEAF_LIFETIME + Duration::from_secs(1));
    assert!(matches!(without.judge(&peer), Err(PeerError::Expired { .. })));
    assert!(matches!(without.judge(&[]), Err(PeerError::Identify(_))));
}

#[test]
fn a_secret_is_the_key_s_and_the_label_s() {
    let authority = ca("herd");
    let own = issue(&authority, NODE);
    let read = |own| load(authority.cert_pem(), own, None, now()).unwrap();
    let secret = read(&own).secret("reset");
    assert_eq!(read(&own).secret("reset"), secret);
    assert_ne!(read(&own).secret("rese"), secret);
    assert_ne!(read(&issue(&authority, NODE)).secret("reset"), secret);
}

#[test]
fn a_certificate_says_what_it_was_issued_for() {
    let authority = ca("herd");
    let own = issue(&authority, NODE);
    let text = [authority.cert_pem(), &own.cert_pem].concat();
    let [root, leaf] = describe(&text).unwrap().try_into().unwrap();
    assert_eq!(root.kind, CertificateKind::Ca("herd".parse().unwrap()));
    assert_eq!(leaf.kind, CertificateKind::Node(Identity::from_spiffe(NODE).unwrap()));
    assert_eq!((&leaf.serial, leaf.not_after_unix_s), (&own.serial, own.not_after_unix_s));
    assert_eq!(leaf.not_after_unix_s, NOW_UNIX_MS / 1000 + LEAF_LIFETIME.as_secs());
    assert_eq!(leaf.issuer, "herd");
    assert!(root.key_id.is_some());
    assert_eq!(root.key_id, leaf.issuer_key_id);
}
