//! How nodes are doing, as people read it.

use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::HumanBytes;

use super::super::shown::{NOTHING, rate, span};
use super::bandwidth::Bandwidth;
use super::{Connections, Figures, Node, Peer, State, Statuses};

const NODES: [&str; 9] =
    ["node", "role", "address", "uptime", "connections", "sent", "received", "handshakes", "refused"];
const PEERS: [&str; 12] = [
    "node",
    "role",
    "peer",
    "plane",
    "connections",
    "rtt",
    "window",
    "loss",
    "datagram",
    "batch",
    "sent",
    "received",
];
const LIMITS: [&str; 8] = ["node", "role", "direction", "limit", "urgent", "normal", "background", "waiting"];
const TRANSFERS: [&str; 6] = ["node", "role", "getting", "class", "done", "of"];
/// Columns of names, which begin at the left; those of numbers end at the right.
const NODE_NAMES: usize = 3;
const PEER_NAMES: usize = 4;
const LIMIT_NAMES: usize = 3;
const TRANSFER_NAMES: usize = 4;

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nodes = table(&NODES, NODE_NAMES);
        nodes.add_rows(self.nodes.iter().map(node_row));
        write!(f, "{}", nodes.trim_fmt())?;
        write_if_any(f, &self.limits())?;
        write_if_any(f, &self.transfers())?;
        let told = self.told().filter_map(|(node, figures)| Some((node, figures, figures.peers.as_ref()?)));
        let mut peers = table(&PEERS, PEER_NAMES);
        let mut left_out = 0;
        for (node, figures, lines) in told {
            peers.add_rows(lines.iter().map(|peer| peer_row(node, figures, peer)));
            left_out += (figures.peers_open as usize).saturating_sub(lines.len());
        }
        write_if_any(f, &peers)?;
        if left_out > 0 {
            write!(f, "\nand {left_out} peers with less traffic")?;
        }
        Ok(())
    }
}

impl Statuses {
    fn told(&self) -> impl Iterator<Item = (&Node, &Figures)> {
        self.nodes.iter().filter_map(|node| match &node.state {
            State::Told(figures) => Some((node, &**figures)),
            State::Silent { .. } => None,
        })
    }

    /// What nodes may move that have a limit.
    fn limits(&self) -> Table {
        let mut limits = table(&LIMITS, LIMIT_NAMES);
        for (node, figures) in self.told() {
            for (name, direction) in figures.bandwidth.iter().flat_map(Bandwidth::directions) {
                let Some(limit) = direction.limit_bytes_per_second else { continue };
                let classes = direction.classes.iter().map(|class| HumanBytes(class.bytes).to_string());
                let mut row = names(node, figures);
                row.extend([name.to_owned(), rate(limit)]);
                row.extend(classes);
                row.push(direction.waiting.to_string());
                limits.add_row(row);
            }
        }
        limits
    }

    /// What is on its way to nodes.
    fn transfers(&self) -> Table {
        let mut transfers = table(&TRANSFERS, TRANSFER_NAMES);
        for (node, figures) in self.told() {
            for transfer in figures.transfers.iter().flatten() {
                let mut row = names(node, figures);
                row.extend([transfer.tag.clone(), transfer.class.to_owned()]);
                row.extend(
                    [transfer.done_bytes, transfer.size_bytes].map(|bytes| HumanBytes(bytes).to_string()),
                );
                transfers.add_row(row);
            }
        }
        transfers
    }
}

fn names(node: &Node, figures: &Figures) -> Vec<String> {
    vec![figures.node.clone(), node.role.unwrap_or(NOTHING).to_owned()]
}

fn write_if_any(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    if table.is_empty() { Ok(()) } else { write!(f, "\n{}", table.trim_fmt()) }
}

fn table(header: &[&str], names: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(header);
    for column in table.column_iter_mut().skip(names) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn node_row(node: &Node) -> Vec<String> {
    let (role, addr) = (node.role.unwrap_or(NOTHING).to_owned(), node.addr.to_string());
    match &node.state {
        State::Silent { failure, .. } => vec![NOTHING.to_owned(), role, addr, failure.clone()],
        State::Told(figures) => vec![
            figures.node.clone(),
            role,
            addr,
            span(figures.uptime_ms),
            figures.open.connections.to_string(),
            HumanBytes(figures.sent_bytes).to_string(),
            HumanBytes(figures.received_bytes).to_string(),
            handshakes(figures),
            figures.refusals().to_string(),
        ],
    }
}

fn handshakes(figures: &Figures) -> String {
    match figures.handshakes_failed {
        0 => figures.handshakes.to_string(),
        failed => format!("{} ({failed} failed)", figures.handshakes),
    }
}

fn peer_row(node: &Node, figures: &Figures, Peer { node: peer, plane, open, .. }: &Peer) -> Vec<String> {
    let Connections { connections, rtt_us, loss, batch_size, .. } = open;
    vec![
        figures.node.clone(),
        node.role.unwrap_or(NOTHING).to_owned(),
        peer.clone(),
        (*plane).to_owned(),
        connections.to_string(),
        format!("{}.{:03} ms", rtt_us / 1000, rtt_us % 1000),
        HumanBytes(open.congestion_window_bytes).to_string(),
        loss.map_or_else(|| NOTHING.to_owned(), |loss| format!("{:.2} %", 100.0 * loss)),
        open.datagram_bytes.to_string(),
        batch_size.map_or_else(|| NOTHING.to_owned(), |size| format!("{size:.1}")),
        HumanBytes(open.sent_bytes).to_string(),
        HumanBytes(open.received_bytes).to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use rdcq_client::OperationError;
    use rdcq_client::meter::Reading;
    use rdcq_client::status::Told;
    use rdcq_wire::message::{
        ClassFlow, Flow, Metered, PeerFlow, PeerTraffic, Plane, Refused, StatusReport, Traffic, Transfer,
    };
    use rdcq_wire::{Class, Digest, ErrorCode, List, Role};

    use super::super::Answer;
    use super::*;
    use crate::servers::Server;

    fn statuses(with_peers: bool) -> Statuses {
        let traffic = Traffic {
            connections: 2,
            open_calls: 1,
            rtt_us: 1234,
            congestion_window: 14_520,
            datagram_size: 1452,
            packets_sent: 1000,
            packets_lost: 5,
            datagrams_sent: 990,
            batches_sent: 400,
            bytes_sent: 1_048_576,
            bytes_received: 2048,
        };
        let peer = PeerTraffic {
            node: "agent-1".parse().unwrap(),
            roles: Role::Agent.into(),
            plane: Plane::Data,
            traffic,
        };
        let report = StatusReport {
            node: "origin-1".parse().unwrap(),
            roles: Role::Origin.into(),
            serving: Role::Origin,
            uptime_ms: 61_000,
            handshakes: 7,
            handshakes_failed: 1,
            refused: List::first_of([
                Refused { why: "busy".parse().unwrap(), count: 4 },
                Refused { why: "herd".parse().unwrap(), count: 1 },
            ]),
            datagrams_sent: 2000,
            batches_sent: 500,
            bytes_sent: 3_145_728,
            bytes_received: 4096,
            open: traffic,
            peers_open: 11,
            peers: 1,
        };
        let transfer = Transfer {
            tag: "k:7".to_owned().into(),
            digest: Digest::from_bytes([7; 32]),
            class: Class::Urgent,
            done: 1024,
            size: 2048,
        };
        let class = |class| ClassFlow { class, moved: 3072, weight: 4, minimum: None, ceiling: Some(7) };
        let egress =
            Flow { limit: Some(100_000_000), waiting: 3, classes: List::first_of(Class::ALL.map(class)) };
        let flow = PeerFlow {
            node: "agent-1".parse().unwrap(),
            connections: 2,
            sent: 1,
            received: 2,
            egress_limit: Some(1_000_000),
            ingress_limit: None,
        };
        let metered = Metered {
            node: "origin-1".parse().unwrap(),
            serving: Role::Origin,
            at_ms: 61_000,
            sent: 4_000_000,
            received: 5000,
            connections: 2,
            egress,
            ingress: Flow::default(),
            peers_open: 1,
            peers: 1,
            transfers_open: 1,
            transfers: 1,
        };
        let reading = Some(Reading { metered, peers: vec![flow], transfers: vec![transfer] });
        let told = Answer { told: Told { report, peers: vec![peer] }, reading };
        let gone = OperationError::new(ErrorCode::Unavailable, "nobody is there");
        let at = |role, port| Server { role: Some(role), addr: ([127, 0, 0, 1], port).into() };
        Statuses {
            nodes: vec![
                Node::of(at(Role::Origin, 7402), Ok(told), with_peers),
                Node::of(at(Role::Tracker, 7404), Err(gone), with_peers),
            ],
        }
    }

    #[test]
    fn people_see_a_line_a_node_and_if_they_want_a_line_a_peer() {
        let cells = |text: String| -> Vec<Vec<String>> {
            let lines = text.lines().filter(|line| line.starts_with('│'));
            lines
                .map(|line| {
                    line.trim_matches('│').split(['│', '┆']).map(|cell| cell.trim().to_owned()).collect()
                })
                .collect()
        };
        let rows = cells(statuses(false).to_string());
        assert_eq!(rows.len(), 7);
        assert_eq!(rows[0], NODES);
        let origin = [
            "origin-1",
            "origin",
            "127.0.0.1:7402",
            "1m 1s",
            "2",
            "3.00 MiB",
            "4.00 KiB",
            "7 (1 failed)",
            "5",
        ];
        assert_eq!(rows[1], origin);
        assert_eq!(rows[2], ["-", "tracker", "127.0.0.1:7404", "unavailable", "", "", "", "", ""]);
        assert_eq!(rows[3], LIMITS);
        let limits = ["origin-1", "origin", "egress", "800 Mbit/s", "3.00 KiB", "3.00 KiB", "3.00 KiB", "3"];
        assert_eq!(rows[4], limits);
        assert_eq!(rows[5], TRANSFERS);
        assert_eq!(rows[6], ["origin-1", "origin", "k:7", "urgent", "1.00 KiB", "2.00 KiB"]);
        let text = statuses(true).to_string();
        assert!(text.ends_with("\nand 10 peers with less traffic"), "{text}");
        let rows = cells(text);
        assert_eq!((rows.len(), &rows[7][..]), (9, &PEERS.map(str::to_owned)[..]));
        let peer = [
            "origin-1",
            "origin",
            "agent-1",
            "data",
            "2",
            "1.234 ms",
            "14.18 KiB",
            "0.50 %",
            "1452",
            "2.5",
            "1.00 MiB",
            "2.00 KiB",
        ];
        assert_eq!(rows[8], peer);
    }

    #[test]
    fn programs_see_the_same_with_peers_only_if_they_want_them() {
        let json = |with_peers| serde_json::to_value(statuses(with_peers)).unwrap();
        let nodes = json(true)["nodes"].clone();
        assert_eq!(nodes[0]["role"], "origin");
        assert_eq!(nodes[0]["refused"], serde_json::json!({ "busy": 4, "herd": 1 }));
        assert_eq!(nodes[0]["open"]["loss"], 0.005);
        assert_eq!(nodes[0]["peers"][0]["plane"], "data");
        assert_eq!(nodes[0]["peers"][0]["rtt_us"], 1234);
        assert_eq!(nodes[0]["peers"][0]["egress_limit_bytes_per_second"], 1_000_000);
        let egress = &nodes[0]["bandwidth"]["egress"];
        assert_eq!(
            (&egress["bytes"], &egress["limit_bytes_per_second"]),
            (&4_000_000.into(), &100_000_000.into())
        );
        let class = serde_json::json!({
            "class": "urgent", "bytes": 3072, "weight": 4,
            "minimum_bytes_per_second": null, "ceiling_bytes_per_second": 7,
        });
        assert_eq!(egress["classes"][0], class);
        assert_eq!(nodes[0]["bandwidth"]["ingress"]["limit_bytes_per_second"], serde_json::Value::Null);
        assert_eq!(nodes[0]["transfers"][0]["done_bytes"], 1024);
        let silent = serde_json::json!({
            "role": "tracker", "addr": "127.0.0.1:7404", "failure": "unavailable", "error": "nobody is there",
        });
        assert_eq!(nodes[1], silent);
        assert!(json(false)["nodes"][0].get("peers").is_none());
    }
}
