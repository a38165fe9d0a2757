//! Certificates that no node takes, each with its own reason in the audit log.

use std::sync::Arc;

use rdcq_certs::{Authority, Credentials, KeyKind, LEAF_LIFETIME, time_from};
use rdcq_wire::Identity;
use rustls::client::ResolvesClientCert;

use crate::caller::{Caller, of, operator};
use crate::cluster::{Cluster, ORIGIN, agent};
use crate::operator::unix_ms;
use crate::shown::NoCertificate;

/// Who the strangers say that they are.
const CLAIMED: &str = "spiffe://processes/stranger/client";

/// A stranger's certificate, issued this long ago, in milliseconds.
fn issued(ca: &Authority, age_ms: u64) -> Arc<dyn ResolvesClientCert> {
    let then = unix_ms() - age_ms;
    let issued = ca.issue(&Identity::from_spiffe(CLAIMED).unwrap(), then).unwrap();
    // Its holder's clock has stood still since.
    let time = time_from(move || then);
    let credentials = Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, time).unwrap();
    credentials.client_config().client_auth_cert_resolver.clone()
}

#[test]
fn every_bad_certificate_has_its_own_reason_in_the_audit_log_of_a_running_node() {
    let cluster = Cluster::with_revocation_lists(1);
    let read = |file: &str| std::fs::read_to_string(cluster.path(file)).unwrap();
    let ca = Authority::from_pem(&read("certs/ca.pem"), &read("certs/ca.key")).unwrap();
    let day_ms = 24 * 3600 * 1000;
    let year_ms = u64::try_from(LEAF_LIFETIME.as_millis()).unwrap();
    let now = unix_ms();
    let same_name = Authority::generate("processes".parse().unwrap(), KeyKind::P256, now).unwrap();
    let other_name = Authority::generate("others".parse().unwrap(), KeyKind::P256, now).unwrap();
    let others = other_name.issue(&Identity::from_spiffe("spiffe://others/n/client").unwrap(), now).unwrap();
    let others = Credentials::from_pem(
        other_name.cert_pem(),
        &others.cert_pem,
        &others.key_pem,
        time_from(move || now),
    );
    cluster.certs(&["revoke", &agent(1).to_string()]);
    let mark = cluster.mark(ORIGIN);
    cluster.give("crl.pem", &ORIGIN.to_string());
    cluster.wait_in_force(&[mark]);

    let resolver = |credentials: Credentials| credentials.client_config().client_auth_cert_resolver.clone();
    let cases: [(&str, Arc<dyn ResolvesClientCert>, &str); 5] = [
        ("none", Arc::new(NoCertificate), "showed no certificate"),
        ("another CA of the name", issued(&same_name, 0), "not signed by the key of any CA"),
        ("another herd's CA", resolver(others.unwrap()), "names an issuer that is no CA of this herd"),
        ("ended", issued(&ca, year_ms + day_ms), "the peer's certificate ended at unix time"),
        ("revoked", resolver(of(&cluster, "agent-1")), "spiffe://processes/agent-1/agent is revoked"),
    ];
    let member = operator(&cluster);
    for (what, shown, reason) in cases {
        let mark = cluster.mark(ORIGIN);
        let refused = Caller::showing(&member, shown).connect(&cluster, ORIGIN);
        assert!(refused.is_err(), "{what} was let in");
        cluster.wait_said(mark, &["rdcq::audit", "connection refused", reason]);
        let said = cluster.said(mark);
        assert_eq!(said.matches("connection refused").count(), 1, "{what}: {said}");
    }
    Caller::operator(&cluster).connect(&cluster, ORIGIN).unwrap();
}
