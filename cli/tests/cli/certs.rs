//! `rdcq certs`.

use crate::user::{User, mode};

#[test]
fn certs_init_writes_a_private_key_and_replaces_nothing_unless_forced() {
    let user = User::new();
    user.run(&["certs", "init", "--out", "ca", "--herd", "h1"]).succeeded();
    let (cert, key) = (user.path("ca/ca.pem"), user.path("ca/ca.key"));
    assert_eq!(mode(&key), 0o600);
    let before = std::fs::read(&cert).unwrap();
    user.run(&["certs", "init", "--out", "ca"]).failed(1, &["there already", "--force"]);
    assert_eq!(std::fs::read(&cert).unwrap(), before);
    user.run(&["certs", "init", "--out", "ca", "--force"]).succeeded();
    assert_ne!(std::fs::read(&cert).unwrap(), before);
    assert_eq!(mode(&key), 0o600);
}

#[test]
fn certs_init_makes_a_name_up_and_refuses_one_that_no_herd_can_have() {
    let user = User::new();
    let made = user.run(&["certs", "init", "--output", "json"]).succeeded().stdout;
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let herd = made["herd"].as_str().unwrap();
    assert!(herd.starts_with("rdcq-") && herd.len() == 13, "{herd}");
    user.run(&["certs", "init", "--out", "x", "--herd", "No Herd"]).failed(2, &["not a herd name"]);
}

#[test]
fn certs_issue_writes_all_that_a_node_needs_and_replaces_nothing_unless_forced() {
    let user = User::new();
    user.run(&["certs", "init"]).succeeded();
    let line = ["certs", "issue", "--node", "n1", "--role", "origin,tracker", "--out", "n1"];
    let said = user.run(&line).succeeded().stdout;
    assert!(said.contains("/n1/origin/tracker"), "{said}");
    assert_eq!(mode(&user.path("n1/n1.key")), 0o600);
    assert_eq!(
        std::fs::read(user.path("n1/ca.pem")).unwrap(),
        std::fs::read(user.path("certs/ca.pem")).unwrap()
    );
    assert!(!user.path("n1/ca.key").exists());
    let before = std::fs::read(user.path("n1/n1.pem")).unwrap();
    user.run(&line).failed(1, &["there already", "--force"]);
    assert_eq!(std::fs::read(user.path("n1/n1.pem")).unwrap(), before);
    user.run(&[&line[..], &["--force"]].concat()).succeeded();
    assert_ne!(std::fs::read(user.path("n1/n1.pem")).unwrap(), before);
}

#[test]
fn certs_issue_refuses_unknown_roles_and_a_folder_without_a_ca() {
    let user = User::new();
    user.run(&["certs", "issue", "--node", "n", "--role", "king"]).failed(2, &["unknown role"]);
    user.run(&["certs", "issue", "--node", "n", "--role", "agent"]).failed(3, &["ca.pem"]);
    for name in ["ca", "old-ca", "crl"] {
        user.run(&["certs", "issue", "--node", name, "--role", "agent"]).failed(2, &["CA's own files"]);
    }
}

#[test]
fn a_certificate_of_another_ca_does_not_land_beside_the_first_ca_s() {
    let user = User::new();
    user.run(&["certs", "init", "--out", "one"]).succeeded();
    user.run(&["certs", "init", "--out", "two"]).succeeded();
    user.run(&["certs", "issue", "--ca", "one", "--node", "a", "--role", "agent", "--out", "n"]).succeeded();
    user.run(&["certs", "issue", "--ca", "two", "--node", "b", "--role", "agent", "--out", "n"])
        .failed(1, &["ca.pem", "there already"]);
}
