//! `kill -9` of each role during a pull.

use rdcq::Seat;

use crate::cluster::{BUILD_INDEX, Cluster, ORIGIN, PROXY, TRACKER, agent};
use crate::command::{BytesFrom, Running};
use crate::file::{File, MIB};

/// The agent that pulls.
const PULLING: Seat = agent(1);

/// A pull that is some way: the file, its tag, the command, and bytes that the agent has on record.
struct Begun {
    file: File,
    tag: String,
    pull: Running,
    on_record: u64,
}

/// Sizes to try, in MiB: on a fast machine a pull may be over before it is seen to have begun.
const SIZES: [usize; 3] = [48, 128, 384];

fn begin(cluster: &Cluster) -> Begun {
    for mib in SIZES {
        let file = cluster.file(mib * MIB);
        let tag = cluster.push(&file);
        let mut pull = cluster.begin_pull(&tag, PULLING);
        if let Some(on_record) = cluster.wait_recorded(PULLING, &file, &mut pull) {
            return Begun { file, tag, pull, on_record };
        }
        pull.end().report();
    }
    panic!("a pull of {SIZES:?} MiB is over before it can be disturbed");
}

/// Kills a node in the middle of a pull. The pull ends well, alone or when it is run again, and through the other agent,
/// too. Returns how many bytes were on record when the node was killed, and where the pull's bytes came from.
fn check(seat: Seat) -> (u64, BytesFrom) {
    let mut cluster = Cluster::start(2);
    let Begun { file, tag, pull, on_record } = begin(&cluster);
    cluster.kill(seat);
    cluster.start_node(seat);
    let first = pull.end();
    let outcome = if first.is_success() { first } else { cluster.begin_pull(&tag, PULLING).end() };
    let from = BytesFrom::of(&outcome.report());
    cluster.check_pulled(PULLING, &file);
    assert_eq!(from.all(), file.size(), "every piece is fetched once: {outcome:?}");
    cluster.begin_pull(&tag, agent(2)).end().report();
    cluster.check_pulled(agent(2), &file);
    (on_record, from)
}

#[test]
fn a_pull_outlives_kill_9_of_the_proxy() {
    check(PROXY);
}

#[test]
fn a_pull_outlives_kill_9_of_the_origin() {
    check(ORIGIN);
}

#[test]
fn a_pull_outlives_kill_9_of_the_build_index() {
    check(BUILD_INDEX);
}

#[test]
fn a_pull_outlives_kill_9_of_the_tracker() {
    check(TRACKER);
}

#[test]
fn a_pull_outlives_kill_9_of_its_agent_and_fetches_no_verified_piece_again() {
    let (on_record, from) = check(PULLING);
    assert!(from.held >= on_record, "{on_record} bytes were on record: {from:?}");
}
