//! The admin listener of `rdcq node` and `rdcq up`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::user::{Running, User};

/// Fetches a page and gives its status and body.
fn fetch(addr: SocketAddr, path: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(addr).unwrap();
    write!(tcp, "GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn with_admin(user: &User, listen: &str) -> std::path::PathBuf {
    let settings = user.tracker_settings();
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(&settings, format!("{text}\n[admin]\nlisten = \"{listen}\"\n")).unwrap();
    settings
}

#[test]
fn a_node_answers_where_it_says_until_it_has_stopped() {
    let user = User::new().with_certificates();
    let settings = with_admin(&user, "127.0.0.1:0");
    let mut node = Running::start(user.command().arg("node").arg("--config").arg(&settings));
    let ready = node.line();
    let addr = ready.trim_end().rsplit_once(" admin=").unwrap().1.parse().unwrap();
    assert_eq!(fetch(addr, "/livez"), (200, "alive\n".to_owned()));
    assert_eq!(fetch(addr, "/readyz"), (200, "ready\n".to_owned()));
    let (status, metrics) = fetch(addr, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("\nrdcq_uptime_seconds{role=\"tracker\"} "), "{metrics}");
    assert!(metrics.contains(",herd=\"test-herd\"} 1\n"), "{metrics}");
    assert_eq!(fetch(addr, "/nothing").0, 404);
    node.signal(Signal::TERM);
    let ended = node.end().succeeded();
    assert!(!ended.stderr.contains("whoever reaches"), "{ended:?}");
    TcpStream::connect(addr).unwrap_err();
}

#[test]
fn an_address_that_others_reach_is_warned_about_and_one_in_use_is_named() {
    let user = User::new().with_certificates();
    let settings = with_admin(&user, "0.0.0.0:0");
    let mut node = Running::start(user.command().arg("node").arg("--config").arg(&settings));
    node.wait_for("whoever reaches the admin listener");
    drop(node);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let settings = with_admin(&user, &addr);
    user.run(&["node", "--config", settings.to_str().unwrap()])
        .failed(1, &["the admin listener cannot listen on", &addr]);
}

#[test]
fn a_herd_in_one_process_opens_a_listener_only_if_asked_to_and_counts_all_its_roles() {
    let user = User::new();
    let line = ["up", "--agents", "2", "--admin", "127.0.0.1:0", "--output", "json"];
    let mut up = Running::start(user.command().args(line));
    let ready: serde_json::Value = serde_json::from_str(&up.line()).unwrap();
    let addr = ready["admin"].as_str().unwrap().parse().unwrap();
    std::fs::write(user.path("file"), "content").unwrap();
    user.there_and_back("file");
    let (_, metrics) = fetch(addr, "/metrics");
    for of_origin in [
        "rdcq_connections{role=\"origin\",plane=\"control\",direction=\"accepted\"}",
        "rdcq_handshakes_total{role=\"origin\",plane=\"control\"}",
        "rdcq_handshakes_total{role=\"origin\",plane=\"data\"}",
        "rdcq_sent_bytes_total{role=\"origin\",plane=\"data\"}",
        "rdcq_received_bytes_total{role=\"origin\",plane=\"data\"}",
    ] {
        let told = metrics.lines().find_map(|line| line.strip_prefix(of_origin)).unwrap();
        assert!(told.trim().parse::<u64>().unwrap() > 0, "{of_origin}: {metrics}");
    }
    for role in ["proxy", "origin", "build-index", "tracker", "agent"] {
        let lines = metrics.lines().filter(|line| {
            line.starts_with(&format!("rdcq_sent_bytes_total{{role=\"{role}\",plane=\"control\"}} "))
        });
        assert_eq!(lines.count(), 1, "{role}: {metrics}");
    }
    let version: serde_json::Value = serde_json::from_str(&fetch(addr, "/version").1).unwrap();
    assert_eq!(version["roles"].as_array().unwrap().len(), 6, "{version}");
    up.signal(Signal::TERM);
    up.end().succeeded();
    let mut up = Running::start(user.command().args(["up", "--output", "json"]));
    let ready: serde_json::Value = serde_json::from_str(&up.line()).unwrap();
    assert!(ready.get("admin").is_none(), "{ready}");
}
