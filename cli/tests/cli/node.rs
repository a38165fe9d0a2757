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
