//! `rdcq status`.

use std::net::UdpSocket;

use serde_json::Value;

use crate::user::{Outcome, Running, User};

fn up(user: &User) -> Running {
    let mut up = Running::start(user.command().arg("up"));
    up.wait_for("is up");
    up
}

fn json(outcome: &Outcome) -> Vec<Value> {
    let value: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(value["format"], 1, "{value}");
    value["nodes"].as_array().unwrap().clone()
}

fn text<'a>(node: &'a Value, key: &str) -> &'a str {
    node[key].as_str().unwrap_or_else(|| panic!("no {key} in {node}"))
}

/// What the herd says of itself, and where the server of a role is.
fn status(user: &User) -> Vec<Value> {
    json(&user.run(&["status", "--output", "json"]).succeeded())
}

fn addr_of(nodes: &[Value], role: &str) -> String {
    text(nodes.iter().find(|node| text(node, "role") == role).unwrap(), "addr").to_owned()
}

#[test]
fn every_server_and_the_host_s_agent_tell_how_they_are() {
    let user = User::new();
    let _up = up(&user);
    let nodes = status(&user);
    let mut told: Vec<_> = nodes.iter().map(|node| (text(node, "role"), text(node, "node"))).collect();
    let agent = told.pop().unwrap();
    let servers = ["proxy", "origin", "build-index", "tracker"].map(|role| (role, format!("{role}-1")));
    assert!(servers.iter().map(|(role, node)| (*role, node.as_str())).eq(told), "{nodes:?}");
    assert_eq!(agent.0, "agent");
    for node in &nodes {
        assert_eq!(node["roles"], serde_json::json!([text(node, "role")]), "{node}");
        assert!(node["uptime_ms"].as_u64().unwrap() > 0, "{node}");
        assert!(node["handshakes"].as_u64().unwrap() > 0, "{node}");
        let open = &node["open"];
        for figure in ["connections", "sent_bytes", "received_bytes", "rtt_us", "congestion_window_bytes"] {
            assert!(open[figure].as_u64().unwrap() > 0, "{figure} of {node}");
        }
        assert!(node["peers_open"].as_u64().unwrap() > 0 && node.get("peers").is_none(), "{node}");
    }
    let shown = user.run(&["status", "--peers"]).succeeded();
    assert!(shown.stdout.contains("uptime") && shown.stdout.contains("build-index-1"), "{shown:?}");
}

#[test]
fn what_a_pull_moved_is_in_the_figures_of_who_sent_and_who_received() {
    const LEN: usize = 3_000_000;
    let user = User::new();
    let _up = up(&user);
    let content: Vec<u8> = (0..LEN as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(user.path("content"), content).unwrap();
    user.there_and_back("content");
    let nodes = json(&user.run(&["status", "--peers", "--output", "json"]).succeeded());
    let node = |role: &str| nodes.iter().find(|node| text(node, "role") == role).unwrap();
    for (role, figure) in
        [("origin", "received_bytes"), ("origin", "sent_bytes"), ("agent", "received_bytes")]
    {
        let node = node(role);
        assert!(node[figure].as_u64().unwrap() > LEN as u64, "{figure} of {node}");
    }
    let (origin, agent) = (node("origin"), node("agent"));
    assert!(origin["datagrams_sent"].as_u64() >= origin["batches_sent"].as_u64(), "{origin}");
    let peers = origin["peers"].as_array().unwrap();
    let of_agent = peers.iter().filter(|peer| peer["node"] == agent["node"]);
    let sent: u64 = of_agent.map(|peer| peer["sent_bytes"].as_u64().unwrap()).sum();
    assert!(sent > LEN as u64, "{origin}");
    assert!(peers.iter().any(|peer| peer["plane"] == "data"), "{origin}");
}

#[test]
fn only_the_nodes_named_are_asked_and_what_an_unknown_one_serves_is_found_out() {
    let user = User::new();
    let _up = up(&user);
    let nodes = status(&user);
    let tracker = addr_of(&nodes, "tracker");
    let operator = std::fs::read_to_string(user.path("data/rdcq/up/operator.toml")).unwrap();
    let unknowing = operator.replace(&format!("[\"{tracker}\"]"), "[]");
    assert_ne!(unknowing, operator);
    let settings = user.write("unknowing.toml", &unknowing);
    let settings = settings.to_str().unwrap();
    let line = ["status", &tracker, "--herd", settings, "--output", "json"];
    let told = json(&user.run(&line).succeeded());
    assert_eq!(told.len(), 1);
    assert_eq!((text(&told[0], "role"), text(&told[0], "addr")), ("tracker", tracker.as_str()));
    let wrong = format!("origin={tracker}");
    let outcome = user.run(&["status", &wrong, "--herd", settings]);
    assert_eq!(outcome.code, Some(5), "{outcome:?}");
    user.run(&["status", "client=127.0.0.1:1"]).failed(2, &["caller's role"]);
}

#[test]
fn a_node_that_does_not_answer_is_shown_and_told_by_the_exit_code() {
    let user = User::new();
    let _up = up(&user);
    let proxy = addr_of(&status(&user), "proxy");
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = format!("tracker={}", nobody.local_addr().unwrap());
    for (line, code, silent) in [(vec!["status", &dead], 6, 0), (vec!["status", &proxy, &dead], 8, 1)] {
        let outcome = user.run(&[&line[..], &["--output", "json"]].concat());
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains("did not tell"), "{outcome:?}");
        let nodes = json(&outcome);
        assert_eq!(nodes.len(), line.len() - 1);
        assert_eq!(text(&nodes[silent], "role"), "tracker");
        assert!(text(&nodes[silent], "error").contains("tracker did not answer"), "{nodes:?}");
    }
}

#[test]
fn a_client_is_told_by_its_agent_alone() {
    let user = User::new();
    let _up = up(&user);
    let folder = user.path("data/rdcq/up");
    std::fs::rename(folder.join("operator.toml"), folder.join("hidden.toml")).unwrap();
    let outcome = user.run(&["status", "--output", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome:?}");
    assert!(outcome.stderr.contains("operator's settings"), "{outcome:?}");
    for node in json(&outcome) {
        match text(&node, "role") {
            "agent" => assert!(node["uptime_ms"].as_u64().is_some(), "{node}"),
            _ => assert_eq!(text(&node, "failure"), "denied", "{node}"),
        }
    }
}
