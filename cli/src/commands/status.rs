//! `rdcq status`.

mod table;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;

use clap::Args;
use rdcq_client::OperationError;
use rdcq_client::status::{Told, status};
use rdcq_wire::Role;
use rdcq_wire::message::{PeerTraffic, Traffic};
use serde::Serialize;

use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::failure::Failure;
use crate::servers::{Server, Servers, Undone, ask_each, verdict};

/// Show how nodes are doing: connections, traffic, refusals.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    servers: Servers,
    /// Show a line a peer as well.
    #[arg(long)]
    peers: bool,
}

impl Status {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let caller = Caller::open(console, herd, Rights::Operator, None).await?;
        let session = &caller.session;
        let servers = self.servers.of(session);
        let asking = ask_each(&servers, |server| status(session, server.role, server.addr));
        let asked = caller.attend(async { Ok(asking.await) }).await?;
        let verdict = verdict(console, &servers, &asked, UNTOLD);
        let nodes = servers.iter().zip(&asked);
        let nodes = nodes.map(|(server, outcome)| Node::of(*server, outcome.as_ref(), self.peers));
        console.result(Some(caller.herd.as_str()), &Statuses { nodes: nodes.collect() })?;
        verdict
    }
}

pub(super) const UNTOLD: Undone = Undone {
    what: "tell how they are",
    hint: "the others are as shown; look at those nodes' logs, or try again",
};

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
