//! What a herd does when nothing goes wrong, and when all of it does.

use crate::cluster::{Cluster, ORIGIN, agent, is_file};
use crate::command::{BytesFrom, Running};
use crate::file::MIB;

const AGENTS: u32 = 4;

#[test]
fn eight_processes_push_pull_on_four_agents_at_once_feed_one_another_and_drop_what_is_removed() {
    let cluster = Cluster::start(AGENTS);
    let file = cluster.file(64 * MIB);
    let tag = cluster.push(&file);
    assert!(cluster.has_any(ORIGIN, &file));

    let agents: Vec<_> = (1..=AGENTS).map(agent).collect();
    let pulls: Vec<Running> = agents.iter().map(|seat| cluster.begin_pull(&tag, *seat)).collect();
    let sources: Vec<BytesFrom> = pulls.into_iter().map(|pull| BytesFrom::of(&pull.end().report())).collect();
    agents.iter().for_each(|seat| cluster.check_pulled(*seat, &file));
    for from in &sources {
        assert_eq!(from.all(), file.size(), "{sources:?}");
    }
    let (origin, of_agents) =
        sources.iter().fold((0, 0), |(origin, agents), from| (origin + from.origins, agents + from.agents));
    assert!(of_agents >= origin, "less than half of all bytes came from agents: {sources:?}");
    assert!(origin >= file.size(), "somebody made bytes up: {sources:?}");

    cluster.run(&["remove", "--yes", &tag]).report();
    assert_eq!(cluster.begin_pull(&tag, agent(1)).end().code, Some(3), "what was removed is not found");
    cluster.wait_gone(ORIGIN, &file);
    agents.iter().for_each(|seat| cluster.wait_gone(*seat, &file));
    for seat in &agents {
        assert!(
            is_file(&cluster.pulled(*seat), &file.content),
            "the file delivered through {seat} must stay"
        );
    }
}

#[test]
fn an_acknowledged_push_survives_kill_9_of_everything_at_once() {
    let mut cluster = Cluster::start(1);
    let file = cluster.file(8 * MIB);
    let tag = cluster.push(&file);
    for seat in cluster.kill_all() {
        cluster.start_node(seat);
    }
    assert_eq!(cluster.begin_pull(&tag, agent(1)).end().report()["tag"], *tag);
    cluster.check_pulled(agent(1), &file);
}

#[test]
fn sigterm_ends_every_role_well() {
    let mut cluster = Cluster::start(1);
    let file = cluster.file(MIB);
    let tag = cluster.push(&file);
    // Now all nodes have connections to one another.
    cluster.begin_pull(&tag, agent(1)).end().report();
    for seat in rdcq::HerdPlan::with_agents(1).seats() {
        assert_eq!(cluster.terminate(seat), Some(0), "{seat}: {}", cluster.log(seat));
    }
}
