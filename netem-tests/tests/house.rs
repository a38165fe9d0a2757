//! Keeps the house's walls: which crate may import which, and what nobody may bring in.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::process::Command;

use serde_json::Value;

/// Crates, and what each of them may import. `ABOVE` stands for every crate of the lines before: so no role may import
/// another.
const ARROWS: &[(&[&str], &[&str])] = &[
    (&["wire", "env"], &[]),
    (&["bandwidth", "swarm", "membership", "certs", "config"], &["wire"]),
    (&["store"], &["wire", "env"]),
    (&["transport"], &["wire", "env", "bandwidth"]),
    (&["runtime"], &[ABOVE]),
    (&["client"], &[ABOVE]),
    (&["agent", "origin", "tracker", "proxy", "build-index", "controller"], &[ABOVE]),
    (&["cli"], &[ABOVE]),
    (&["netem-tests", "lab", "benches"], &[ABOVE]),
];
const ABOVE: &str = "all of the above";

/// What only a crate's own tests may import besides.
const TEST_ONLY: &[(&str, &str)] = &[("transport", "certs")];

/// Crates that nothing may bring in, and why.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one provider of cryptography"),
    ("openssl-sys", "rustls is the one TLS"),
    ("native-tls", "rustls is the one TLS"),
];

/// What cargo locks without building it: quinn-proto and rustls-webpki have it behind features of the form `ring?/...`.
const NAMED_ONLY: &[&str] = &["ring"];

#[test]
fn every_import_between_our_crates_is_an_arrow_of_the_design() {
    let edges = edges();
    assert!(edges.iter().any(|edge| (&*edge.from, &*edge.to) == ("transport", "wire")), "no edges were read");
    for Edge { from, to, kind } in &edges {
        let for_tests = kind == "dev" && TEST_ONLY.contains(&(from, to));
        assert!(for_tests || may_import(from, to), "{from} must not import {to} ({kind} dependency)");
    }
}

#[test]
fn every_crate_of_the_workspace_stands_in_the_table() {
    for package in packages() {
        let name = short(package["name"].as_str().unwrap());
        assert!(line_of(&name).is_some(), "the crate {name} has no line in the table of arrows");
    }
}

#[test]
fn the_table_refuses_what_it_does_not_name() {
    let refused = [
        ("wire", "env"),
        ("env", "wire"),
        ("swarm", "store"),
        ("store", "transport"),
        ("transport", "certs"),
        ("runtime", "client"),
        ("agent", "origin"),
        ("client", "agent"),
        ("agent", "cli"),
        ("cli", "benches"),
    ];
    for (from, to) in refused {
        assert!(!may_import(from, to), "{from} may import {to}");
    }
    for (from, to) in [("runtime", "certs"), ("origin", "client"), ("cli", "tracker"), ("netem-tests", "cli")]
    {
        assert!(may_import(from, to), "{from} may not import {to}");
    }
}

#[test]
fn nothing_banned_is_built() {
    let tree =
        cargo(&["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"]);
    let built: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(built.contains(&"quinn") && built.contains(&"aws-lc-rs"), "the tree was not read");
    for (name, why) in BANNED {
        assert!(
            !built.contains(name),
            "{name} is built, but {why}; `cargo tree -i {name}` tells who brings it"
        );
    }
}

#[test]
fn nothing_banned_is_locked_but_what_only_a_feature_never_switched_on_names() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
    let locked: Vec<_> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(locked.contains(&"quinn"), "Cargo.lock was not read");
    for (name, why) in BANNED.iter().filter(|(name, _)| !NAMED_ONLY.contains(name)) {
        assert!(!locked.contains(name), "Cargo.lock holds {name}, but {why}");
    }
}

/// One of our crates imports another.
struct Edge {
    from: String,
    to: String,
    /// `normal`, `build` or `dev`.
    kind: String,
}

fn edges() -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in packages() {
        let from = short(package["name"].as_str().unwrap());
        for dependency in package["dependencies"].as_array().unwrap() {
            // Only our own crates are found by their path.
            if dependency["path"].is_string() {
                let to = short(dependency["name"].as_str().unwrap());
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                edges.push(Edge { from: from.clone(), to, kind });
            }
        }
    }
    edges
}

fn packages() -> Vec<Value> {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"])).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// What cargo prints about the workspace, without asking anybody outside.
fn cargo(arguments: &[&str]) -> String {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(arguments).args(["--offline", "--manifest-path", manifest]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A package's name as the table has it.
fn short(package: &str) -> String {
    match package {
        "rdcq" => "cli".to_owned(),
        other => other.strip_prefix("rdcq-").unwrap_or(other).to_owned(),
    }
}

fn may_import(from: &str, to: &str) -> bool {
    let Some(line) = line_of(from) else { return false };
    let above = || ARROWS[..line].iter().any(|(crates, _)| crates.contains(&to));
    let imports = ARROWS[line].1;
    imports.contains(&to) || imports.contains(&ABOVE) && above()
}

fn line_of(name: &str) -> Option<usize> {
    ARROWS.iter().position(|(crates, _)| crates.contains(&name))
}
