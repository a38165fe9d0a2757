//! `rdcq reload`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;

use clap::Args;
use rdcq_client::OperationError;
use rdcq_client::reload::reload;
use rdcq_wire::{Role, message};
use serde::Serialize;

use crate::console::Console;
use crate::failure::Failure;
use crate::reloaded::Reloaded;
use crate::servers::{Server, Servers, Undone};

/// Have nodes read their settings file again, and show what changed.
///
/// A file that makes no sense changes nothing. No transfer is interrupted.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq reload 10.1.2.3:7404"))]
pub(crate) struct Reload {
    #[command(flatten)]
    servers: Servers,
}

impl Reload {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let ask = async |session: &_, server: Server| reload(session, server.role, server.addr).await;
        let shown = |answers: Vec<_>| {
            let nodes = answers.into_iter().map(|(server, outcome)| Node::of(server, outcome));
            Reloads { nodes: nodes.collect() }
        };
        self.servers.show(console, herd, UNREAD, ask, shown).await
    }
}

const UNREAD: Undone = Undone {
    what: "take their settings",
    hint: "mend what is named and reload again; until then the settings from before hold there",
};

/// What is shown.
#[derive(Debug, Serialize)]
struct Reloads {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    addr: SocketAddr,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Read {
        node: String,
        #[serde(flatten)]
        reloaded: Reloaded,
        /// Settings that are different, too, and are not told.
        left_out: u32,
    },
    Failed {
        /// What kind of failure it is, in a word or two.
        failure: String,
        error: String,
    },
}

impl Node {
    fn of(Server { role, addr }: Server, outcome: Result<message::Reloaded, OperationError>) -> Self {
        let outcome = match outcome {
            Ok(message::Reloaded { node, settings, left_out }) => {
                Outcome::Read { node: node.to_string(), reloaded: Reloaded::of_settings(&settings), left_out }
            }
            Err(error) => Outcome::Failed { failure: error.code.to_string(), error: error.to_string() },
        };
        Self { role: role.map(Role::name), addr, outcome }
    }

    fn place(&self) -> String {
        self.role.map_or_else(|| self.addr.to_string(), |role| format!("{role} {}", self.addr))
    }
}

impl fmt::Display for Reloads {
    /// Roles of one node have one file: whichever was asked first tells what changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for (name, told) in self.by_name() {
            lines.push(format!("{name} ({})", told.places.join(", ")));
            lines.extend(told.reloaded.to_string().lines().map(|line| format!("  {line}")));
            if told.left_out > 0 {
                lines.push(format!("  and {} more", told.left_out));
            }
        }
        for node in &self.nodes {
            if let Outcome::Failed { error, .. } = &node.outcome {
                lines.push(format!("{}\n  {error}", node.place()));
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

/// What the roles of one node told.
#[derive(Default)]
struct ToldByNode {
    places: Vec<String>,
    reloaded: Reloaded,
    left_out: u32,
}

impl Reloads {
    fn by_name(&self) -> BTreeMap<&str, ToldByNode> {
        let mut nodes: BTreeMap<&str, ToldByNode> = BTreeMap::new();
        for node in &self.nodes {
            if let Outcome::Read { node: name, reloaded, left_out } = &node.outcome {
                let told = nodes.entry(name).or_default();
                told.places.push(node.place());
                told.reloaded.add(reloaded);
                told.left_out = told.left_out.max(*left_out);
            }
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use rdcq_wire::ErrorCode;
    use rdcq_wire::message::{Effect, Note, Setting};

    use super::*;

    fn told(node: &str, settings: &[(Effect, &str)], left_out: u32) -> message::Reloaded {
        let setting = |(effect, text): &(Effect, &str)| Setting {
            effect: *effect,
            text: Note::from((*text).to_owned()),
        };
        let reloaded = message::Reloaded::new(node.parse().unwrap(), settings.iter().map(setting).collect());
        message::Reloaded { left_out, ..reloaded }
    }

    fn reloads() -> Reloads {
        let restart = (Effect::Restart, "limits.drain: 10 -> 20");
        let first = told("n1", &[(Effect::Kept, "bandwidth"), (Effect::Changed, "a: 1 -> 2"), restart], 3);
        let second = told("n1", &[restart], 0);
        let same = told("n2", &[], 0);
        let bad = OperationError::new(ErrorCode::BadRequest, "n3.toml: line 3: what is this?");
        let at = |role, port| Server { role: Some(role), addr: ([127, 0, 0, 1], port).into() };
        Reloads {
            nodes: vec![
                Node::of(at(Role::Proxy, 1), Ok(first)),
                Node::of(at(Role::Tracker, 3), Err(bad)),
                Node::of(at(Role::Agent, 4), Ok(same)),
                Node::of(at(Role::Origin, 2), Ok(second)),
            ],
        }
    }

    #[test]
    fn people_see_each_node_once_with_all_that_its_roles_told() {
        let shown = "n1 (proxy 127.0.0.1:1, origin 127.0.0.1:2)
  a: 1 -> 2
  limits.drain: 10 -> 20 (when the node starts anew)
  [bandwidth] was taken away and still holds; write limit = \"unlimited\" to end its limit
  and 3 more
n2 (agent 127.0.0.1:4)
  no setting is different
tracker 127.0.0.1:3
  n3.toml: line 3: what is this?";
        assert_eq!(reloads().to_string(), shown);
    }

    #[test]
    fn programs_see_each_answer() {
        let nodes = serde_json::to_value(reloads()).unwrap()["nodes"].clone();
        let first = serde_json::json!({
            "role": "proxy", "addr": "127.0.0.1:1", "node": "n1", "changed": ["a: 1 -> 2"],
            "restart": ["limits.drain: 10 -> 20"], "kept": ["bandwidth"], "left_out": 3,
        });
        assert_eq!(nodes[0], first);
        assert_eq!((nodes[1]["failure"].as_str(), nodes[1].get("changed")), (Some("bad request"), None));
        assert_eq!(nodes[2]["changed"], serde_json::json!([]));
    }
}
