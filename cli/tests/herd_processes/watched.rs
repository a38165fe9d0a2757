//! A limit that an operator sets while a pull runs, and what is seen of it.

use std::fs;

use rdcq::Seat;
use serde_json::Value;

use crate::cluster::{Cluster, agent};
use crate::file::MIB;

const PULLING: Seat = agent(1);

/// 16 Mbit/s: a pull takes long enough to be looked at.
const LIMIT: u64 = 2_000_000;

/// Writes what the origin may send, and has all nodes read their settings.
fn limit(cluster: &Cluster, unlimited: &str, limit: &str) {
    let text = format!("{unlimited}\n[bandwidth.egress]\nlimit = \"{limit}\"\n");
    fs::write(cluster.path("origin-1.toml"), text).unwrap();
    cluster.run(&["reload"]).report();
}

fn node<'a>(report: &'a Value, name: &str) -> &'a Value {
    let nodes = report["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["node"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_limit_that_is_set_while_a_pull_runs_is_held_and_seen_and_ended_again() {
    let cluster = Cluster::start(1);
    let unlimited = fs::read_to_string(cluster.path("origin-1.toml")).unwrap();
    limit(&cluster, &unlimited, "16Mbit/s");
    let file = cluster.file(48 * MIB);
    let tag = cluster.push(&file);
    let mut pull = cluster.begin_pull(&tag, PULLING);
    cluster.wait_recorded(PULLING, &file, &mut pull).expect("a pull that is held up");

    let seen = cluster.run(&["top"]).report();
    let (origin, agent) = (node(&seen, "origin-1"), node(&seen, "agent-1"));
    assert_eq!(number(&origin["egress"]["limit_bytes_per_second"]), LIMIT, "{origin}");
    let rate = number(&origin["egress"]["bytes_per_second"]);
    assert!(rate > 0 && rate <= LIMIT + LIMIT / 10, "{origin}");
    let normal = &origin["egress"]["classes"][1];
    assert!(normal["class"] == "normal" && number(&normal["bytes_per_second"]) > 0, "{origin}");
    let to_agent = origin["peers"].as_array().unwrap().iter().find(|peer| peer["node"] == "agent-1").unwrap();
    assert!(number(&to_agent["egress_bytes_per_second"]) > 0, "{origin}");
    assert!(number(&agent["ingress"]["bytes_per_second"]) > 0, "{agent}");
    assert_eq!(agent["ingress"]["limit_bytes_per_second"], Value::Null, "{agent}");
    let moving = &agent["transfers"][0];
    assert_eq!((&moving["tag"], &moving["class"]), (&Value::from(tag), &Value::from("normal")), "{agent}");
    assert!((1..file.size()).contains(&number(&moving["done_bytes"])), "{moving}");
    assert_eq!(number(&moving["size_bytes"]), file.size());
    assert!(number(&moving["bytes_per_second"]) > 0 && number(&moving["left_ms"]) > 0, "{moving}");

    let told = cluster.run(&["status"]).report();
    let bandwidth = &node(&told, "origin-1")["bandwidth"];
    assert_eq!(number(&bandwidth["egress"]["limit_bytes_per_second"]), LIMIT, "{bandwidth}");
    // Who asks at once is shown the same figures.
    assert!(number(&bandwidth["egress"]["bytes"]) >= number(&origin["egress"]["bytes"]), "{bandwidth}");
    assert_eq!(node(&told, "agent-1")["transfers"][0]["digest"], file.manifest.content.to_string());

    limit(&cluster, &unlimited, "unlimited");
    pull.end().report();
    cluster.check_pulled(PULLING, &file);
    let seen = cluster.run(&["top", "--once", "--interval", "500ms"]).report();
    assert_eq!(node(&seen, "agent-1")["transfers"], Value::Array(Vec::new()));
}
