//! What the agents' schedulers decided follows from what they were told, and from nothing else.

use rdcq_runtime::swarm_log::{Replayed, replay};

use crate::cluster::{Cluster, agent};
use crate::command::Running;
use crate::file::MIB;

const AGENTS: u32 = 3;
/// What a node logs that shows its schedulers' steps.
const STEPS: &str = "info,rdcq::swarm_steps=trace";

#[test]
fn what_agents_log_of_their_swarms_leads_to_the_same_decisions_again() {
    let cluster = Cluster::logging(AGENTS, STEPS);
    let file = cluster.file(16 * MIB);
    let tag = cluster.push(&file);
    let pulls: Vec<Running> = (1..=AGENTS).map(|number| cluster.begin_pull(&tag, agent(number))).collect();
    pulls.into_iter().for_each(|pull| drop(pull.end().report()));
    let mut all = Replayed::default();
    for seat in (1..=AGENTS).map(agent) {
        cluster.check_pulled(seat, &file);
        let replayed = replay(cluster.log(seat).as_bytes()).unwrap_or_else(|error| panic!("{seat}: {error}"));
        assert_eq!(replayed.swarms, 1, "{seat}");
        assert!(replayed.actions > 0, "{seat}: {replayed:?}");
        all.steps += replayed.steps;
    }
    let pieces = u64::from(file.manifest.pieces.len());
    assert!(all.steps > pieces * u64::from(AGENTS), "every piece is told of: {all:?} of {pieces} pieces");
}
