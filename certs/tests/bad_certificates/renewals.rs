//! Peers that were let in, judged again after something changed: what is remembered of them must not outlive it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdcq_certs::{
    Authority, CredentialFiles, Credentials, CredentialsError, Issued, LEAF_LIFETIME, LIST_LIFETIME,
    PeerError, Revoked, time_from,
};
use rustls::pki_types::CertificateDer;

use crate::world::{JUDGE, NOW_UNIX_MS, NOW_UNIX_S, PEER, Shown, World, ca, issue, load, shake_both, shown};

struct Herd {
    ca: Authority,
    own: Issued,
    peer: Issued,
    clock: Arc<AtomicU64>,
    node: Credentials,
}

impl Herd {
    /// A node that met its peer in handshakes on both sides.
    fn met() -> Self {
        let ca = ca();
        let (own, peer) = (issue(&ca, JUDGE), issue(&ca, PEER));
        let clock = Arc::new(AtomicU64::new(NOW_UNIX_MS));
        let time = Arc::clone(&clock);
        let time = time_from(move || time.load(Ordering::Relaxed));
        let list = ca.revocation_list(&[], LIST_LIFETIME, NOW_UNIX_MS).unwrap();
        let node = load(ca.cert_pem(), &own, Some(&list), time).unwrap();
        for met in shake_both(&World::new(node.clone(), shown(&peer))) {
            met.unwrap();
        }
        Self { ca, own, peer, clock, node }
    }

    fn shown(&self) -> Vec<CertificateDer<'static>> {
        let Shown::Chain { certs, .. } = shown(&self.peer) else { panic!("it shows a certificate") };
        certs
    }

    fn renew(&self, ca_pem: &str, own: &Issued, list: Option<&str>) -> Result<Credentials, CredentialsError> {
        self.node.renew(CredentialFiles {
            ca_pem,
            cert_pem: &own.cert_pem,
            key_pem: &own.key_pem,
            crl_pem: list,
        })
    }

    fn list(&self, revoked: &[&Issued]) -> String {
        let revoked: Vec<_> = revoked
            .iter()
            .map(|issued| Revoked { serial: issued.serial.clone(), at_unix_s: NOW_UNIX_S })
            .collect();
        self.ca.revocation_list(&revoked, LIST_LIFETIME, NOW_UNIX_MS).unwrap()
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

#[test]
fn a_peer_that_was_let_in_is_refused_once_it_is_on_the_list() {
    let herd = Herd::met();
    let list = herd.list(&[&herd.peer]);
    let renewed = herd.renew(herd.ca.cert_pem(), &herd.own, Some(&list)).unwrap();
    assert!(matches!(renewed.judge(&herd.shown()), Err(PeerError::Revoked { .. })));
    let outcomes = shake_both(&World::new(renewed, shown(&herd.peer)));
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    herd.node.judge(&herd.shown()).unwrap();
}

#[test]
fn a_peer_that_was_let_in_is_refused_once_its_ca_is_gone() {
    let (herd, new) = (Herd::met(), ca());
    let own = issue(&new, JUDGE);
    let renewed = herd.renew(new.cert_pem(), &own, None).unwrap();
    assert_eq!(renewed.judge(&herd.shown()), Err(PeerError::NotSigned));
    let list = new.revocation_list(&[], LIST_LIFETIME, NOW_UNIX_MS).unwrap();
    let both = [new.cert_pem(), herd.ca.cert_pem()].concat();
    let renewed = herd.renew(&both, &own, Some(&list)).unwrap();
    assert_eq!(renewed.judge(&herd.shown()), Err(PeerError::ListMissing));
    let renewed = herd.renew(&both, &own, None).unwrap();
    renewed.judge(&herd.shown()).unwrap();
}

#[test]
fn a_peer_that_was_let_in_is_refused_once_its_time_is_over() {
    let herd = Herd::met();
    herd.pass(LIST_LIFETIME);
    assert!(matches!(herd.node.judge(&herd.shown()), Err(PeerError::ListExpired { .. })));
    let lasting = herd.ca.revocation_list(&[], 2 * LEAF_LIFETIME, NOW_UNIX_MS).unwrap();
    let renewed = herd.renew(herd.ca.cert_pem(), &herd.own, Some(&lasting)).unwrap();
    herd.pass(LEAF_LIFETIME - LIST_LIFETIME);
    renewed.judge(&herd.shown()).unwrap();
    herd.pass(Duration::from_secs(1));
    assert!(matches!(renewed.judge(&herd.shown()), Err(PeerError::Expired { .. })));
    herd.clock.store(1, Ordering::Relaxed);
    assert!(matches!(renewed.judge(&herd.shown()), Err(PeerError::NotYetValid { .. })));
}

#[test]
fn who_the_node_is_does_not_change_while_it_runs() {
    let herd = Herd::met();
    for other in ["spiffe://herd/origin-2/origin", "spiffe://herd/origin-1/origin/tracker"] {
        let error = herd.renew(herd.ca.cert_pem(), &issue(&herd.ca, other), None).unwrap_err();
        assert!(matches!(error, CredentialsError::OtherIdentity { .. }), "{error}");
    }
    herd.renew(herd.ca.cert_pem(), &issue(&herd.ca, JUDGE), None).unwrap();
}

#[test]
fn a_certificate_that_was_good_on_one_side_is_not_for_that_good_on_the_other() {
    use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
    let world = World::forged(|leaf| leaf.extended_key_usages = vec![ClientAuth]);
    let [by_server, by_client] = shake_both(&world);
    by_server.unwrap();
    assert!(rdcq_certs::refusal(&by_client.unwrap_err()).contains("does not let it be a server"));
}
