//! `rdcq reload`.

use std::fs::File;
use std::path::{Path, PathBuf};

use rdcq_certs::Credentials;
use rdcq_client::Session;
use rdcq_client::reload::reload;
use rdcq_config::HerdAddresses;
use rdcq_runtime::Host;
use rdcq_wire::{ErrorCode, Role};
use serde_json::{Value, json};

use crate::user::{Outcome, Running, User};

/// A tracker that runs with a limit on what it sends.
struct Node {
    settings: PathBuf,
    addr: String,
    running: Running,
}

impl Node {
    fn start(user: &User, name: &str) -> Self {
        Self::start_with(user, name, &[])
    }

    fn start_with(user: &User, name: &str, flags: &[&str]) -> Self {
        user.run(&["certs", "issue", "--node", name, "--role", "tracker", "--force"]).succeeded();
        let settings =
            user.write(&format!("{name}.toml"), &settings(name, "[limits]\ndrain = '10s'\n", "100Mbit/s"));
        let mut running =
            Running::start(user.command().arg("node").arg("--config").arg(&settings).args(flags));
        let addr = running.line().trim_end().strip_prefix("ready tracker=").unwrap().to_owned();
        Self { settings, addr, running }
    }

    /// Changes the settings so that the node does not see that they were saved.
    fn write(&self, text: &str) {
        let len = std::fs::metadata(&self.settings).unwrap();
        let padding = usize::try_from(len.len()).unwrap().checked_sub(text.len()).unwrap();
        std::fs::write(&self.settings, format!("{text}{}", "\n".repeat(padding))).unwrap();
        let file = File::options().append(true).open(&self.settings).unwrap();
        file.set_modified(len.modified().unwrap()).unwrap();
    }
}

fn settings(name: &str, more: &str, limit: &str) -> String {
    format!(
        "data_dir = '{name}-data'\n{}[herd]\norigins = ['127.0.0.1:7402']\n[tracker]\nlisten = '127.0.0.1:0'\n{more}\
         [bandwidth.egress]\nlimit = '{limit}'\n",
        identity(name)
    )
}

fn identity(name: &str) -> String {
    format!("[identity]\nca = 'certs/ca.pem'\ncert = 'certs/{name}.pem'\nkey = 'certs/{name}.key'\n")
}

/// The settings of a caller with a role, who knows these trackers.
fn caller(user: &User, role: &str, trackers: &[&Node]) -> PathBuf {
    user.run(&["certs", "issue", "--node", role, "--role", role]).succeeded();
    let addrs: Vec<_> = trackers.iter().map(|node| format!("'{}'", node.addr)).collect();
    let text = format!("{}[herd]\ntrackers = [{}]\n[client]\n", identity(role), addrs.join(", "));
    user.write(&format!("{role}.toml"), &text)
}

fn reload_json(user: &User, settings: &Path, only: &[&str]) -> (Outcome, Vec<Value>) {
    let line = [&["reload", "--herd", settings.to_str().unwrap(), "--output", "json"], only].concat();
    let outcome = user.run(&line);
    let said: Value = serde_json::from_str(&outcome.stdout).unwrap_or_default();
    let nodes = said["nodes"].as_array().cloned().unwrap_or_default();
    (outcome, nodes)
}

#[test]
fn what_changed_is_told_and_a_file_that_makes_no_sense_changes_nothing() {
    let user = User::new().with_certificates();
    let mut node = Node::start(&user, "t1");
    let operator = caller(&user, "operator", &[&node]);
    // What the settings name besides trackers is this host's agent, which does not run.
    let addr = node.addr.clone();
    let only = [addr.as_str()];
    let reload = || reload_json(&user, &operator, &only);

    node.write(&settings("t1", "[limits]\ndrain = '20s'\n", "200Mbit/s"));
    let (outcome, nodes) = reload();
    let told = json!([{
        "role": "tracker", "addr": node.addr, "node": "t1", "left_out": 0,
        "changed": ["bandwidth.egress.limit: \"100Mbit/s\" -> \"200Mbit/s\""],
        "restart": ["limits.drain: \"10s\" -> \"20s\""], "kept": [],
    }]);
    assert_eq!(Value::from(nodes), told, "{outcome:?}");
    outcome.succeeded();
    node.running.wait_for("bandwidth.egress.limit: \"100Mbit/s\" -> \"200Mbit/s\"");

    node.write(&settings("t1", "[limits]\ndrain = '20s'\n", "300"));
    let (outcome, nodes) = reload();
    assert_eq!(nodes[0]["failure"], "bad request");
    let said =
        ["t1.toml:13:", "\"300\" has no unit", "the settings from before hold", "1 of 1 nodes did not take"];
    for said in said {
        assert!(outcome.stderr.contains(said), "no {said} in {outcome:?}");
    }
    assert_eq!(outcome.code, Some(1), "{outcome:?}");

    // It is compared with what held before the bad ones.
    node.write(&settings("t1", "[limits]\ndrain = '10s'\n", "1Gbit/s"));
    let line = ["reload", "--herd", operator.to_str().unwrap(), only[0]];
    let shown = user.run(&line).succeeded().stdout;
    let wanted = "t1 (tracker ADDR)\n  bandwidth.egress.limit: \"200Mbit/s\" -> \"1Gbit/s\"\n";
    assert_eq!(shown, wanted.replace("ADDR", &node.addr));
    let shown = user.run(&line).succeeded().stdout;
    assert!(shown.ends_with("\n  no setting is different\n"), "{shown}");

    std::fs::remove_file(&node.settings).unwrap();
    let (outcome, _) = reload();
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("cannot read the settings"), "{outcome:?}");
}

#[test]
fn one_bad_file_of_two_is_told_by_the_exit_code_and_the_other_is_taken() {
    let user = User::new().with_certificates();
    let (good, bad) = (Node::start(&user, "t1"), Node::start(&user, "t2"));
    let operator = caller(&user, "operator", &[&good, &bad]);
    good.write(&settings("t1", "", "200Mbit/s"));
    bad.write("[bandwidth");
    let (outcome, nodes) = reload_json(&user, &operator, &[&good.addr, &bad.addr]);
    assert_eq!(outcome.code, Some(8), "{outcome:?}");
    assert_eq!(nodes[0]["changed"].as_array().unwrap().len(), 1, "{nodes:?}");
    assert!(nodes[1]["error"].as_str().unwrap().contains("t2.toml"), "{nodes:?}");
}

#[test]
fn who_is_no_operator_is_refused_and_so_is_a_herd_without_settings_files() {
    let user = User::new().with_certificates();
    let node = Node::start(&user, "t1");
    for role in ["client", "controller", "agent"] {
        let settings = caller(&user, role, &[&node]);
        let (outcome, nodes) = reload_json(&user, &settings, &[&node.addr]);
        assert_eq!(outcome.code, Some(5), "{outcome:?}");
        assert_eq!(nodes[0]["failure"], "denied", "{nodes:?}");
    }
    let user = User::new();
    let mut up = Running::start(user.command().arg("up"));
    up.wait_for("is up");
    let outcome = user.run(&["reload"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for said in ["without a settings file", "5 of 5 nodes did not take"] {
        assert!(outcome.stderr.contains(said), "{outcome:?}");
    }
}

#[test]
fn however_many_ask_at_once_each_is_answered_and_the_node_goes_on() {
    const ASKERS: usize = 300;
    let user = User::new().with_certificates();
    // Nobody reads what it would say.
    let node = Node::start_with(&user, "t1", &["--quiet"]);
    let operator = caller(&user, "operator", &[&node]);
    let certs = user.path("certs");
    let file = |name: &str| std::fs::read_to_string(certs.join(name)).unwrap();
    let credentials = Credentials::from_pem(
        &file("ca.pem"),
        &file("operator.pem"),
        &file("operator.key"),
        rdcq_certs::system_time(),
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let outcomes = runtime.block_on(async {
        let session =
            Session::open(&Host::system(), &credentials.unwrap(), HerdAddresses::default(), None).unwrap();
        let addr = node.addr.parse().unwrap();
        let asking = (0..ASKERS).map(|_| reload(&session, Some(Role::Tracker), addr));
        let outcomes = futures_util::future::join_all(asking).await;
        session.close();
        outcomes
    });
    let (read, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert!(!read.is_empty(), "{refused:?}");
    assert!(
        refused.iter().all(|outcome| outcome.as_ref().unwrap_err().code == ErrorCode::Busy),
        "{refused:?}"
    );
    let (outcome, _) = reload_json(&user, &operator, &[&node.addr]);
    outcome.succeeded();
}
