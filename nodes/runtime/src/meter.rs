//! What a running role moves, as it tells callers.

use std::collections::BTreeMap;

use rdcq_bandwidth::Limits;
use rdcq_transport::BandwidthStats;
use rdcq_transport::stats::EndpointStats;
use rdcq_wire::message::{ClassFlow, Flow, PeerFlow};
use rdcq_wire::{ByteRate, List, NodeId, RateLimit};

/// A direction as it travels.
pub(crate) fn flow(BandwidthStats { limits, moved, waiting }: &BandwidthStats) -> Flow {
    let class = |&(class, moved): &(_, u64)| {
        let limits = limits.classes.of(class);
        ClassFlow {
            class,
            moved,
            weight: limits.weight.get(),
            minimum: limits.minimum.map(ByteRate::bytes_per_second),
            ceiling: rate(limits.ceiling),
        }
    };
    Flow {
        limit: rate(limits.node),
        waiting: u32::try_from(*waiting).unwrap_or(u32::MAX),
        classes: List::first_of(moved.iter().map(class)),
    }
}

fn rate(limit: RateLimit) -> Option<u64> {
    limit.rate().map(ByteRate::bytes_per_second)
}

/// The peers with open connections, those with the most bytes first, then in the order of their names.
pub(crate) fn peers(endpoints: &[EndpointStats], egress: &Limits, ingress: &Limits) -> Vec<PeerFlow> {
    let mut peers: BTreeMap<&NodeId, PeerFlow> = BTreeMap::new();
    let own = |limits: &Limits, node| limits.peers.get(node).copied().and_then(rate);
    for connection in endpoints.iter().flat_map(|endpoint| &endpoint.connections) {
        let node = &connection.peer.node;
        let peer = peers.entry(node).or_insert_with(|| PeerFlow {
            node: node.clone(),
            connections: 0,
            sent: 0,
            received: 0,
            egress_limit: own(egress, node),
            ingress_limit: own(ingress, node),
        });
        peer.connections += 1;
        peer.sent = peer.sent.saturating_add(connection.link_bytes_sent);
        peer.received = peer.received.saturating_add(connection.link_bytes_received);
    }
    let mut peers: Vec<_> = peers.into_values().collect();
    peers.sort_by_key(|peer| std::cmp::Reverse(peer.sent.saturating_add(peer.received)));
    peers
}

#[cfg(test)]
mod tests {
    use rdcq_wire::Class;

    use super::*;
    use crate::metrics::sample;

    #[test]
    fn a_direction_says_what_holds_now() {
        let node = "800Mbit/s".parse().unwrap();
        let mut limits = Limits { node, ..Limits::default() };
        limits.classes.urgent.minimum = Some("8Mbit/s".parse().unwrap());
        limits.classes.background.ceiling = "80Mbit/s".parse().unwrap();
        let moved = Class::ALL.map(|class| (class, 10 + class as u64));
        let flow = flow(&BandwidthStats { limits, moved, waiting: 3 });
        assert_eq!((flow.limit, flow.waiting), (Some(100_000_000), 3));
        let lines: Vec<_> =
            flow.classes.iter().map(|c| (c.class, c.moved, c.weight, c.minimum, c.ceiling)).collect();
        let wanted = [
            (Class::Urgent, 10, 8, Some(1_000_000), None),
            (Class::Normal, 11, 4, None, None),
            (Class::Background, 12, 1, None, Some(10_000_000)),
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_peer_is_one_line_with_what_its_connections_moved_and_its_own_limit() {
        let mut egress = Limits::default();
        egress.peers.insert("agent-1".parse().unwrap(), "8Mbit/s".parse().unwrap());
        let peers = peers(&sample(), &egress, &Limits::default());
        let lines: Vec<_> = peers
            .iter()
            .map(|peer| {
                (peer.node.as_str(), peer.connections, peer.sent, peer.egress_limit, peer.ingress_limit)
            })
            .collect();
        assert_eq!(
            lines,
            [("agent-1", 2, 1_283_160, Some(1_000_000), None), ("proxy-1", 1, 341_580, None, None)]
        );
    }
}
