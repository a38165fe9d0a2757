//! `rdcq node`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::user::{Barrier, Running, User};

#[test]
fn a_node_whose_key_others_can_read_does_not_start() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    let key = user.path("certs/t1.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    user.run(&["node", "--config", settings.to_str().unwrap()]).failed(1, &["mode 0644", "chmod 600"]);
}

#[test]
fn a_node_whose_certificate_lacks_the_role_does_not_start() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    user.run(&["certs", "issue", "--node", "t1", "--role", "agent", "--force"]).succeeded();
    user.run(&["node", "--config", settings.to_str().unwrap()])
        .failed(1, &["tracker", "issue one with the role"]);
}

#[test]
fn a_node_says_where_it_serves_and_a_signal_ends_it_well() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Running::start(user.command().arg("node").arg("--config").arg(&settings));
        let ready = node.line();
        let addr = ready.trim_end().strip_prefix("ready tracker=").expect("a line of one role");
        assert_ne!(addr.parse::<SocketAddr>().unwrap().port(), 0);
        node.signal(signal);
        node.end().succeeded();
    }
}

#[test]
fn a_signal_ends_a_node_that_is_still_starting() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    let barrier = Barrier::instead_of(user.path("certs/t1.pem"));
    for signal in [Signal::TERM, Signal::INT] {
        let mut node = Running::start(user.command().arg("node").arg("--config").arg(&settings));
        let _held = barrier.wait_for(&mut node);
        node.signal(signal);
        node.end().failed(130, &["interrupted"]);
    }
}

#[test]
fn a_hangup_does_not_end_a_node() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    let mut node = Running::start(user.command().arg("node").arg("--config").arg(&settings));
    node.line();
    for _ in 0..2 {
        node.signal(Signal::HUP);
        node.wait_for("certificates are read anew");
    }
    node.signal(Signal::TERM);
    node.end().succeeded();
}

#[test]
fn a_port_in_use_is_named_and_nothing_starts() {
    let user = User::new().with_certificates();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let settings = user.tracker_settings();
    let text = std::fs::read_to_string(&settings).unwrap().replace("127.0.0.1:0", &addr);
    std::fs::write(&settings, text).unwrap();
    user.run(&["node", "--config", settings.to_str().unwrap()]).failed(1, &["cannot listen on", &addr]);
}

#[test]
fn limits_that_are_saved_hold_and_what_makes_no_sense_changes_nothing() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    let base = std::fs::read_to_string(&settings).unwrap();
    let limited = |limit: &str| format!("{base}\n[bandwidth.egress]\nlimit = '{limit}'\n");
    let mut node = Running::start(user.command().arg("node").arg("--config").arg(&settings));
    node.line();
    // Written to.
    std::fs::write(&settings, limited("800Mbit/s")).unwrap();
    node.wait_for("bandwidth.egress.limit: not set -> \"800Mbit/s\"");
    // Renamed into place.
    let rename = |text: &str| {
        let new = settings.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &settings).unwrap();
    };
    rename(&limited("800"));
    node.wait_for("\"800\" has no unit");
    rename("[bandwidth");
    node.wait_for("the settings from before hold");
    // It still compares with what held before the bad ones.
    rename(&limited("1Gbit/s"));
    node.wait_for("bandwidth.egress.limit: \"800Mbit/s\" -> \"1Gbit/s\"");
    rename(&base);
    node.wait_for("[bandwidth] was taken away and still holds");
    std::fs::remove_file(&settings).unwrap();
    node.signal(Signal::HUP);
    node.wait_for("cannot read the settings");
    std::fs::write(&settings, limited("unlimited")).unwrap();
    node.wait_for("bandwidth.egress.limit: \"1Gbit/s\" -> \"unlimited\"");
    node.signal(Signal::TERM);
    node.end().succeeded();
}

#[test]
fn limits_that_contradict_one_another_keep_a_node_from_starting() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    let text = std::fs::read_to_string(&settings).unwrap();
    let limits = "[bandwidth.egress]\nlimit = '1Mbit/s'\nclasses.urgent.minimum = '2Mbit/s'\n";
    std::fs::write(&settings, format!("{text}\n{limits}")).unwrap();
    let node = user.run(&["node", "--config", settings.to_str().unwrap()]);
    node.failed(1, &["[bandwidth.egress]: the minimums of the classes are 2Mbit/s"]);
}
