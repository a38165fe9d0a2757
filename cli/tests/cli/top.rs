//! `rdcq top` where nobody watches.

use std::net::UdpSocket;

use serde_json::Value;

use crate::user::{Running, User};

#[test]
fn off_a_terminal_one_reading_is_printed_and_who_does_not_answer_is_shown_as_such() {
    let user = User::new();
    let mut up = Running::start(user.command().arg("up"));
    up.wait_for("is up");
    let shown = user.run(&["top", "--interval", "500ms"]).succeeded().stdout;
    assert!(shown.contains("proxy-1 (proxy 127.0.0.1:") && shown.contains("no limit"), "{shown}");

    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let dead = format!("tracker={}", nobody.local_addr().unwrap());
    let proxy = shown.split(['(', ')']).nth(1).unwrap().replace(' ', "=");
    let outcome = user.run(&["top", &proxy, &dead, "--interval", "500ms", "--output", "json"]);
    assert_eq!(outcome.code, Some(8), "{outcome:?}");
    assert!(outcome.stderr.contains("1 of 2 nodes did not tell how they are"), "{outcome:?}");
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let (told, silent) = (&said["nodes"][0], &said["nodes"][1]);
    assert!(told["over_ms"].as_u64().unwrap() >= 500, "{told}");
    // A command on the same host goes over no link.
    assert_eq!(told["egress"]["bytes_per_second"], 0, "{told}");
    assert_eq!(silent["role"], "tracker");
    assert!(silent["error"].as_str().unwrap().contains("tracker did not answer"), "{silent}");
}

#[test]
fn an_interval_in_which_figures_may_be_the_same_is_refused() {
    let user = User::new();
    for interval in ["0s", "499ms", "2h"] {
        user.run(&["top", "--interval", interval]).failed(2, &["500ms to 1h"]);
    }
}
