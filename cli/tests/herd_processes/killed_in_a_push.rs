//! `kill -9` of each role, and of the pushing command, during a push.

use rdcq::Seat;

use crate::cluster::{BUILD_INDEX, Cluster, ORIGIN, PROXY, TRACKER, agent, tag_of};
use crate::command::Running;
use crate::file::{File, MIB};

/// A push that is some way: the file, the command, and bytes that the origin has on record.
struct Begun {
    file: File,
    push: Running,
}

/// Sizes to try, in MiB: on a fast machine a push may be over before it is seen to have begun.
const SIZES: [usize; 3] = [48, 128, 384];

fn begin(cluster: &Cluster) -> Begun {
    for mib in SIZES {
        let file = cluster.file(mib * MIB);
        let mut push = cluster.begin_push(&file);
        if cluster.wait_recorded(ORIGIN, &file, &mut push).is_some() {
            return Begun { file, push };
        }
        push.end().report();
    }
    panic!("a push of {SIZES:?} MiB is over before it can be disturbed");
}

/// Kills a node in the middle of a push. The push ends well, alone or when it is run again; what the origin had verified
/// is not sent again; what was pushed before and what is pushed now can be pulled.
fn check(seat: Seat) {
    let mut cluster = Cluster::start(1);
    let before = cluster.file(MIB);
    let tag_before = cluster.push(&before);
    let Begun { file, push } = begin(&cluster);
    cluster.kill(seat);
    cluster.start_node(seat);
    let first = push.end();
    let on_record = cluster.recorded(ORIGIN, &file);
    let (outcome, most) = if first.is_success() {
        // A part is counted when it is acknowledged, so one that is counted twice was sent twice.
        (first, file.size())
    } else {
        assert!(on_record > 0, "the origin has forgotten everything: {first:?}");
        (cluster.begin_push(&file).end(), file.size() - on_record)
    };
    let sent = outcome.report()["sent_bytes"].as_u64().unwrap();
    assert!(
        sent <= most,
        "{sent} bytes were sent of {}, {on_record} were on record: {outcome:?}",
        file.size()
    );
    for (tag, file) in [(tag_before, &before), (tag_of(&outcome), &file)] {
        cluster.begin_pull(&tag, agent(1)).end().report();
        cluster.check_pulled(agent(1), file);
    }
}

#[test]
fn a_push_outlives_kill_9_of_the_proxy() {
    check(PROXY);
}

#[test]
fn a_push_outlives_kill_9_of_the_origin() {
    check(ORIGIN);
}

#[test]
fn a_push_outlives_kill_9_of_the_build_index() {
    check(BUILD_INDEX);
}

#[test]
fn a_push_outlives_kill_9_of_the_tracker() {
    check(TRACKER);
}

#[test]
fn a_push_outlives_kill_9_of_an_agent() {
    check(agent(1));
}

#[test]
fn a_push_that_is_killed_goes_on_where_it_was_when_it_is_run_again() {
    let cluster = Cluster::start(1);
    let Begun { file, push } = begin(&cluster);
    drop(push);
    let on_record = cluster.recorded(ORIGIN, &file);
    assert!(on_record > 0);
    let outcome = cluster.begin_push(&file).end();
    let sent = outcome.report()["sent_bytes"].as_u64().unwrap();
    assert!(sent <= file.size() - on_record, "{on_record} bytes were on record: {outcome:?}");
    cluster.begin_pull(&tag_of(&outcome), agent(1)).end().report();
    cluster.check_pulled(agent(1), &file);
}
