//! `rdcq status`.

mod bandwidth;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;

use clap::Args;
use rdcq_client::meter::{Reading, meter};
use rdcq_client::status::{Told, status};
use rdcq_client::{OperationError, Session};
use rdcq_wire::Role;
use rdcq_wire::message::{PeerFlow, PeerTraffic, Traffic};
use serde::Serialize;

use crate::console::Console;
use crate::failure::Failure;
use crate::servers::{Server, Servers, Undone};

use bandwidth::{Bandwidth, Transfer};

/// Show how nodes are doing: connections, traffic, refusals.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq status 10.1.2.3:7404 --peers"))]
pub(crate) struct Status {
    #[command(flatten)]
    servers: Servers,
    /// Show a line a peer as well.
    #[arg(long)]
    peers: bool,
}

impl Status {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let Self { servers, peers } = self;
        let shown = |answers: Vec<_>| {
            let nodes = answers.into_iter().map(|(server, outcome)| Node::of(server, outcome, peers));
            Statuses { nodes: nodes.collect() }
        };
        servers.show(console, herd, UNTOLD, answer, shown).await
    }
}

/// What a node told of itself.
struct Answer {
    told: Told,
    /// None of a node that does not know the question.
    reading: Option<Reading>,
}

async fn answer(session: &Session, Server { role, addr }: Server) -> Result<Answer, OperationError> {
    let told = status(session, role, addr).await?;
    let reading = meter(session, Some(told.report.serving), addr).await.ok();
    Ok(Answer { told, reading })
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
    #[serde(skip_serializing_if = "Option::is_none")]
    bandwidth: Option<Bandwidth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfers: Option<Vec<Transfer>>,
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
    /// What the peer may be sent on all planes together, if it has a limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    egress_limit_bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress_limit_bytes_per_second: Option<u64>,
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
    fn of(server: Server, outcome: Result<Answer, OperationError>, with_peers: bool) -> Self {
        let Server { role, addr } = server;
        let (role, state) = match outcome {
            Ok(answer) => {
                let figures = Figures::of(&answer, with_peers);
                (Some(answer.told.report.serving), State::Told(Box::new(figures)))
            }
            Err(error) => (role, State::Silent { failure: error.code.to_string(), error: error.to_string() }),
        };
        Self { role: role.map(Role::name), addr, state }
    }
}

impl Figures {
    fn of(Answer { told: Told { report, peers }, reading }: &Answer, with_peers: bool) -> Self {
        let reading = reading.as_ref();
        let transfers = |reading: &Reading| reading.transfers.iter().map(Transfer::of).collect();
        let flows: BTreeMap<_, _> =
            reading.iter().flat_map(|reading| &reading.peers).map(|flow| (&flow.node, flow)).collect();
        let peer = |peer: &PeerTraffic| Peer::of(peer, flows.get(&peer.node).copied());
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
            bandwidth: reading.map(Bandwidth::of),
            transfers: reading.map(transfers),
            peers_open: report.peers_open,
            peers: with_peers.then(|| peers.iter().map(peer).collect()),
        }
    }

    fn refusals(&self) -> u64 {
        self.refused.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Peer {
    fn of(peer: &PeerTraffic, flow: Option<&PeerFlow>) -> Self {
        Self {
            node: peer.node.to_string(),
            roles: peer.roles.iter().map(Role::name).collect(),
            plane: peer.plane.name(),
            egress_limit_bytes_per_second: flow.and_then(|flow| flow.egress_limit),
            ingress_limit_bytes_per_second: flow.and_then(|flow| flow.ingress_limit),
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
