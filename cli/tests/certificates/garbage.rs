//! Files that are no certificates and no lists.

use std::fs;

use crate::caller::Caller;
use crate::cluster::{Cluster, TRACKER, agent};

/// How a node says that it does not use what is in its files.
const REFUSED: &str = "the changed credentials are not used";

#[test]
fn what_cannot_be_used_is_named_and_changes_nothing_and_what_follows_is_taken() {
    let cluster = Cluster::with_revocation_lists(1);
    let caller = Caller::operator(&cluster);
    let held = caller.connect(&cluster, TRACKER).unwrap();
    let in_force = cluster.certificate(TRACKER);
    let name = TRACKER.to_string();
    let (cert, crl) = (format!("{name}/{name}.pem"), format!("{name}/crl.pem"));
    let other = format!("{0}/{0}.pem", agent(1));
    let others = fs::read_to_string(cluster.path(&other)).unwrap();
    let cases = [
        (&cert, "garbage", "tracker-1.pem cannot be used", "no PEM certificate"),
        (&cert, &others, "tracker-1.key cannot be used", "does not belong to the certificate"),
        (
            &crl,
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "crl.pem cannot be used",
            "list 1",
        ),
        (&crl, "", "crl.pem cannot be used", "no PEM revocation list"),
    ];
    for (file, bad, named, why) in cases {
        let good = fs::read_to_string(cluster.path(file)).unwrap();
        let mark = cluster.mark(TRACKER);
        fs::write(cluster.path(file), bad).unwrap();
        // Who asks is told at once, rather than when the files have had time to become whole.
        cluster.hang_up(TRACKER);
        cluster.wait_said(mark, &["ERROR", REFUSED, named, why]);
        assert!(caller.shown_by(&cluster, TRACKER) == in_force, "{bad:?} changed what is shown");
        caller.ask(&held).unwrap();
        fs::write(cluster.path(file), good).unwrap();
    }

    let mark = cluster.mark(TRACKER);
    cluster.certs(&["rotate", &cert]);
    cluster.wait_in_force(&[mark]);
    assert!(caller.shown_by(&cluster, TRACKER) == cluster.certificate(TRACKER));
    assert_ne!(cluster.certificate(TRACKER), in_force);
    caller.ask(&held).unwrap();
}

#[test]
fn a_bad_list_is_complained_about_once_without_being_asked() {
    let cluster = Cluster::with_revocation_lists(1);
    let mark = cluster.mark(TRACKER);
    fs::write(cluster.path(&format!("{TRACKER}/crl.pem")), "garbage").unwrap();
    cluster.wait_said(mark, &["ERROR", REFUSED, "crl.pem cannot be used", "no PEM revocation list"]);
    Caller::operator(&cluster).connect(&cluster, TRACKER).unwrap();
    let mark = cluster.mark(TRACKER);
    cluster.certs(&["revoke", &agent(1).to_string()]);
    cluster.give("crl.pem", &TRACKER.to_string());
    cluster.wait_in_force(&[mark]);
    assert_eq!(cluster.log(TRACKER).matches(REFUSED).count(), 1, "{}", cluster.log(TRACKER));
}
