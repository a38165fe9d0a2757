//! Certificates that are taken back, and lists that end.

use std::time::{Duration, Instant};

use crate::caller::{Caller, of, operator};
use crate::cluster::{BUILD_INDEX, Cluster, ORIGIN, TRACKER, agent};
use crate::load::under_load;
use crate::operator::{unix_ms, wait_until_unix_s, within};

/// How long after its change a list may take to cut somebody off.
const PROMISED: Duration = Duration::from_secs(5);
/// What is added for a machine that runs other tests, too.
const BUSY_MACHINE: Duration = Duration::from_secs(3);

#[test]
fn who_is_revoked_is_cut_off_within_seconds_and_refused_and_the_others_go_on() {
    let cluster = Cluster::with_revocation_lists(2);
    let (revoked, servers) = (agent(1), [ORIGIN, BUILD_INDEX, TRACKER]);
    let file = cluster.file(1 << 20);
    let tag = cluster.push(&file);
    // From now on it has connections to all of the servers.
    cluster.begin_pull(&tag, revoked).end().report();
    cluster.certs(&["revoke", &revoked.to_string()]);
    let pulls = under_load(&cluster, &[agent(2)], |load| {
        let marks: Vec<_> = cluster.marks().into_iter().filter(|mark| mark.seat != revoked).collect();
        let began = Instant::now();
        marks.iter().for_each(|mark| cluster.give("crl.pem", &mark.seat.to_string()));
        for mark in marks.iter().filter(|mark| servers.contains(&mark.seat)) {
            cluster.wait_said(*mark, &["rdcq::audit", "connection closed", "/agent-1/agent", "is revoked"]);
        }
        let took = within(PROMISED + BUSY_MACHINE, began, "cutting a revoked node off");
        println!("a revoked node was cut off by three servers after {took:?}");
        cluster.wait_in_force(&marks);

        let marks = cluster.marks();
        let shown = of(&cluster, &revoked.to_string()).client_config();
        let caller = Caller::showing(&operator(&cluster), shown.client_auth_cert_resolver.clone());
        for mark in marks.iter().filter(|mark| mark.seat != revoked) {
            caller.connect(&cluster, mark.seat).unwrap_err();
            cluster.wait_said(
                *mark,
                &["rdcq::audit", "connection refused", "spiffe://processes/agent-1/agent is revoked"],
            );
        }
        load.more();
        let status = cluster.run(&["status", "--peers", "--herd", "operator.toml"]).report();
        let seen = status["nodes"].as_array().unwrap().iter().filter(|node| node["node"] != "agent-1");
        for node in seen {
            assert!(!node["peers"].to_string().contains("agent-1"), "{node}");
        }
    });
    println!("{pulls} pulls");

    let fresh = cluster.file((1 << 20) + 1);
    let tag = cluster.push(&fresh);
    let refused = cluster.begin_pull(&tag, revoked).end();
    assert!(!refused.is_success(), "{refused:?}");
}

/// Long enough for the list to be taken before it ends.
const LASTING_S: u64 = 6;

#[test]
fn nobody_is_believed_by_a_list_that_has_ended_until_there_is_another() {
    let cluster = Cluster::with_revocation_lists(1);
    let caller = Caller::operator(&cluster);
    let held = caller.connect(&cluster, TRACKER).unwrap();
    let mark = cluster.mark(TRACKER);
    cluster.certs(&["revoke", "--lasting", &format!("{LASTING_S}s")]);
    let ends = unix_ms() / 1000 + LASTING_S;
    cluster.give("crl.pem", &TRACKER.to_string());
    cluster.wait_in_force(&[mark]);
    drop(caller.connect(&cluster, TRACKER).unwrap());

    let mark = cluster.mark(TRACKER);
    wait_until_unix_s(ends);
    caller.connect(&cluster, TRACKER).unwrap_err();
    for what in ["connection refused", "connection closed"] {
        cluster.wait_said(mark, &["rdcq::audit", what, "the revocation list ended at unix time"]);
    }
    caller.ask(&held).unwrap_err();

    cluster.certs(&["revoke"]);
    cluster.give("crl.pem", &TRACKER.to_string());
    cluster.wait_in_force(&[mark]);
    let again = caller.connect(&cluster, TRACKER).unwrap();
    caller.ask(&again).unwrap();
}
