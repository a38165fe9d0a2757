//! `rdcq status`.

mod table;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;
use futures_util::{StreamExt, stream};
use rdcq_client::status::{Told, status};
use rdcq_client::{OperationError, Session};
use rdcq_wire::message::{PeerTraffic, Traffic};
use rdcq_wire::{Kind, Role, access};
use serde::Serialize;

use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::failure::{Exit, Failure};

/// Nodes asked at a time. More would make the caller's own socket the slow one.
const AT_A_TIME: usize = 64;

/// Show how nodes are doing: connections, traffic, refusals.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Ask only these: IP:PORT, or ROLE=IP:PORT as `rdcq node` writes it.
    ///
    /// Left out, they are all servers that the settings name, and this host's agent.
    #[arg(value_name = "ADDR")]
    only: Vec<Server>,
    /// Show a line a peer as well.
    #[arg(long)]
    peers: bool,
}

impl Status {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let caller = Caller::open(console, herd, Rights::Operator, None).await?;
        let servers = servers(&caller.session, self.only);
        let asked = caller.attend(async { Ok(ask(&caller.session, &servers).await) }).await?;
        for (Server { addr, .. }, outcome) in servers.iter().zip(&asked) {
            if let Err(error) = outcome {
                console.note(format_args!("{addr}: {error}"));
            }
        }
        let failures: Vec<_> = asked.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        let verdict = verdict(servers.len(), &failures);
        let nodes = servers.iter().zip(&asked);
        let nodes = nodes.map(|(server, outcome)| Node::of(*server, outcome.as_ref(), self.peers));
        console.result(Some(caller.herd.as_str()), &Statuses { nodes: nodes.collect() })?;
        verdict
    }
}

/// An address to ask, and what it serves where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Server {
    role: Option<Role>,
    addr: SocketAddr,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, addr) = match text.split_once('=') {
            Some((role, addr)) => (Some(role.parse::<Role>().map_err(|error| error.to_string())?), addr),
            None => (None, text),
        };
        if let Some(role) = role.filter(|role| !access::serves(*role, Kind::Status)) {
            return Err(format!("no node serves as {role}; it is a caller's role"));
        }
        let addr = addr.parse().map_err(|_| "write IP:PORT, or ROLE=IP:PORT".to_owned())?;
        Ok(Self { role, addr })
    }
}

/// Whom to ask: those named, as what the settings know them, or all that the settings name.
fn servers(session: &Session, only: Vec<Server>) -> Vec<Server> {
    let known = session.servers();
    if only.is_empty() {
        return known.into_iter().map(|(role, addr)| Server { role: Some(role), addr }).collect();
    }
    let role_of = |addr| known.iter().find(|(_, known)| *known == addr).map(|(role, _)| *role);
    only.into_iter()
        .map(|server| Server { role: server.role.or_else(|| role_of(server.addr)), ..server })
        .collect()
}

async fn ask(session: &Session, servers: &[Server]) -> Vec<Result<Told, OperationError>> {
    let answers = stream::iter(servers).map(|server| status(session, server.role, server.addr));
    answers.buffered(AT_A_TIME).collect().await
}

/// How the command ends when these of so many nodes did not answer.
fn verdict(asked: usize, failures: &[&OperationError]) -> Result<(), Failure> {
    let Some(first) = failures.first() else { return Ok(()) };
    let first = Exit::of(first.code);
    let alike = failures.iter().all(|error| Exit::of(error.code) == first);
    let exit = match (failures.len() < asked, alike) {
        (true, _) => Exit::Partly,
        (false, true) => first,
        (false, false) => Exit::Unavailable,
    };
    let failure =
        Failure::new(exit, format!("{} of {asked} nodes did not tell how they are", failures.len()));
    Err(match first {
        Exit::Denied if alike => failure.with_hint(
            "operators and controllers may ask every node, a client its agent; name an operator's settings with --herd",
        ),
        _ => failure.with_hint("the others are as shown; look at those nodes' logs, or try again"),
    })
}

/// What is shown.
#[derive(Debug, Serialize)]
struct Statuses {
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    addr: SocketAddr,
    #[serde(flatten)]
    state: State,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum State {
    Told(Box<Figures>),
    Silent {
        /// What kind of failure it is, in a word or two.
        failure: String,
        error: String,
    },
}

/// What a node told. Counters begin when the role began to serve.
#[derive(Debug, Serialize)]
struct Figures {
    node: String,
    roles: Vec<&'static str>,
    uptime_ms: u64,
    handshakes: u64,
    handshakes_failed: u64,
    refused: BTreeMap<String, u64>,
    sent_bytes: u64,
    received_bytes: u64,
    datagrams_sent: u64,
    batches_sent: u64,
    open: Connections,
    peers_open: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<Vec<Peer>>,
}

/// The open connections with one node on one plane.
#[derive(Debug, Serialize)]
struct Peer {
    node: String,
    roles: Vec<&'static str>,
    plane: &'static str,
    #[serde(flatten)]
    open: Connections,
}

/// Open connections, added up.
#[derive(Debug, Serialize)]
struct Connections {
    connections: u32,
    open_calls: u32,
    rtt_us: u64,
    congestion_window_bytes: u64,
    datagram_bytes: u16,
    packets_sent: u64,
    packets_lost: u64,
    /// From 0 to 1.
    loss: Option<f64>,
    datagrams_sent: u64,
    batches_sent: u64,
    /// Datagrams a batch.
    batch_size: Option<f64>,
    sent_bytes: u64,
    received_bytes: u64,
}

impl Node {
    fn of(server: Server, outcome: Result<&Told, &OperationError>, with_peers: bool) -> Self {
        let Server { role, addr } = server;
        let (role, state) = match outcome {
            Ok(told) => (Some(told.report.serving), State::Told(Box::new(Figures::of(told, with_peers)))),
            Err(error) => (role, State::Silent { failure: error.code.to_string(), error: error.to_string() }),
        };
        Self { role: role.map(Role::name), addr, state }
    }
}

impl Figures {
    fn of(Told { report, peers }: &Told, with_peers: bool) -> Self {
        let refused = report.refused.iter().map(|refused| (refused.why.to_string(), refused.count));
        Self {
            node: report.node.to_string(),
            roles: report.roles.iter().map(Role::name).collect(),
            uptime_ms: report.uptime_ms,
            handshakes: report.handshakes,
            handshakes_failed: report.handshakes_failed,
            refused: refused.collect(),
            sent_bytes: report.bytes_sent,
            received_bytes: report.bytes_received,
            datagrams_sent: report.datagrams_sent,
            batches_sent: report.batches_sent,
            open: Connections::of(&report.open),
            peers_open: report.peers_open,
            peers: with_peers.then(|| peers.iter().map(Peer::of).collect()),
        }
    }

    fn refusals(&self) -> u64 {
        self.refused.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Peer {
    fn of(peer: &PeerTraffic) -> Self {
        Self {
            node: peer.node.to_string(),
            roles: peer.roles.iter().map(Role::name).collect(),
            plane: peer.plane.name(),
            open: Connections::of(&peer.traffic),
        }
    }
}

impl Connections {
    fn of(traffic: &Traffic) -> Self {
        Self {
            connections: traffic.connections,
            open_calls: traffic.open_calls,
            rtt_us: traffic.rtt_us,
            congestion_window_bytes: traffic.congestion_window,
            datagram_bytes: traffic.datagram_size,
            packets_sent: traffic.packets_sent,
            packets_lost: traffic.packets_lost,
            loss: traffic.loss(),
            datagrams_sent: traffic.datagrams_sent,
            batches_sent: traffic.batches_sent,
            batch_size: traffic.batch_size(),
            sent_bytes: traffic.bytes_sent,
            received_bytes: traffic.bytes_received,
        }
    }
}

#[cfg(test)]
mod tests {
    use rdcq_wire::ErrorCode;

    use super::*;

    #[test]
    fn an_address_is_given_with_the_role_that_it_serves_or_without() {
        let server = |text: &str| text.parse::<Server>();
        let addr = "127.0.0.1:7404".parse().unwrap();
        assert_eq!(server("127.0.0.1:7404"), Ok(Server { role: None, addr }));
        assert_eq!(server("tracker=127.0.0.1:7404"), Ok(Server { role: Some(Role::Tracker), addr }));
        for text in
            ["", "tracker", "tracker=", "king=127.0.0.1:7404", "client=127.0.0.1:7404", "localhost:7404"]
        {
            assert!(server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_exit_code_says_whether_all_some_or_none_answered_and_why() {
        let error = |code| OperationError::new(code, "why");
        let (gone, slow) = (error(ErrorCode::Unavailable), error(ErrorCode::TimedOut));
        let (denied, malformed) = (error(ErrorCode::Denied), error(ErrorCode::Integrity));
        let exit =
            |asked, failures: &[&OperationError]| verdict(asked, failures).map_err(|failure| failure.exit);
        assert_eq!(exit(0, &[]), Ok(()));
        assert_eq!(exit(2, &[]), Ok(()));
        assert_eq!(exit(3, &[&gone, &slow]), Err(Exit::Partly));
        assert_eq!(exit(2, &[&gone, &slow]), Err(Exit::Unavailable));
        assert_eq!(exit(2, &[&denied, &denied]), Err(Exit::Denied));
        assert_eq!(exit(2, &[&denied, &malformed]), Err(Exit::Unavailable));
        assert!(verdict(1, &[&denied]).unwrap_err().hint.unwrap().contains("operator"));
    }
}
