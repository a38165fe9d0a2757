//! What endpoints and connections have done, as data, and how it adds up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rdcq_wire::message::{self, PeerTraffic, Traffic};
use rdcq_wire::{Identity, NodeId};

use crate::Plane;

impl From<Plane> for message::Plane {
    fn from(plane: Plane) -> Self {
        match plane {
            Plane::Control => Self::Control,
            Plane::Data(_) => Self::Data,
        }
    }
}

/// What an endpoint has done since it opened, and what it holds now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointStats {
    /// What its connections are for.
    pub plane: Plane,
    /// Where it accepts connections, if it does.
    pub listen: Option<SocketAddr>,
    /// Those that are open now, accepted and dialled.
    pub connections: Vec<ConnectionStats>,
    /// Handshakes done, as server and as client.
    pub handshakes: u64,
    /// Handshakes that failed, as server and as client.
    pub handshakes_failed: u64,
    /// Connections refused, by reason: a few lower-case letters and dashes. Under `flood` count datagrams that seemed to begin one
    /// and were not taken up beside data.
    pub refused: BTreeMap<&'static str, u64>,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// Batches in which they were handed to the system.
    pub batches_sent: u64,
    /// UDP payload sent on all connections that ever were, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received on all connections that ever were, in bytes.
    pub bytes_received: u64,
    /// Bytes sent on all connections that ever were as network interfaces count them: UDP payload, and the headers of Ethernet, IP
    /// and UDP.
    pub link_bytes_sent: u64,
    /// Bytes received on all connections that ever were as network interfaces count them.
    pub link_bytes_received: u64,
}

/// One connection that is open.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionStats {
    /// Who is at the other end.
    pub peer: Identity,
    /// Where that is.
    pub remote: SocketAddr,
    /// Whether this side opened it.
    pub dialled: bool,
    /// How long it has been open.
    pub age: Duration,
    /// The round-trip time, smoothed.
    pub rtt: Duration,
    /// How many bytes may be under way.
    pub congestion_window: u64,
    /// QUIC packets that were lost.
    pub lost_packets: u64,
    /// QUIC packets sent.
    pub sent_packets: u64,
    /// Largest datagram that the path is known to carry, in bytes of UDP payload.
    pub datagram_size: u16,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Bytes sent as network interfaces count them: UDP payload, and the headers of Ethernet, IP and UDP.
    pub link_bytes_sent: u64,
    /// Bytes received as network interfaces count them.
    pub link_bytes_received: u64,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// Batches in which they were handed to the system.
    pub batches_sent: u64,
    /// Requests under way.
    pub open_calls: u32,
}

impl ConnectionStats {
    /// The same as one of many.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            connections: 1,
            open_calls: self.open_calls,
            rtt_us: u64::try_from(self.rtt.as_micros()).unwrap_or(u64::MAX),
            congestion_window: self.congestion_window,
            datagram_size: self.datagram_size,
            packets_sent: self.sent_packets,
            packets_lost: self.lost_packets,
            datagrams_sent: self.datagrams_sent,
            batches_sent: self.batches_sent,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
        }
    }
}

/// What several endpoints have done, added up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// All connections that are open now.
    pub open: Traffic,
    /// How many of those this side opened.
    pub dialled: u32,
    /// Handshakes done.
    pub handshakes: u64,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Connections refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// Batches in which they were handed to the system.
    pub batches_sent: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Bytes sent as network interfaces count them: UDP payload, and the headers of Ethernet, IP and UDP.
    pub link_bytes_sent: u64,
    /// Bytes received as network interfaces count them.
    pub link_bytes_received: u64,
}

impl Totals {
    /// Adds up.
    pub fn of<'a>(endpoints: impl IntoIterator<Item = &'a EndpointStats>) -> Self {
        let mut totals = Self::default();
        endpoints.into_iter().for_each(|endpoint| totals.add(endpoint));
        totals
    }

    fn add(&mut self, endpoint: &EndpointStats) {
        for connection in &endpoint.connections {
            self.open.add(&connection.traffic());
            self.dialled = self.dialled.saturating_add(connection.dialled.into());
        }
        for (why, count) in &endpoint.refused {
            let sum = self.refused.entry(why).or_default();
            *sum = sum.saturating_add(*count);
        }
        let sums = [
            (&mut self.handshakes, endpoint.handshakes),
            (&mut self.handshakes_failed, endpoint.handshakes_failed),
            (&mut self.datagrams_sent, endpoint.datagrams_sent),
            (&mut self.batches_sent, endpoint.batches_sent),
            (&mut self.bytes_sent, endpoint.bytes_sent),
            (&mut self.bytes_received, endpoint.bytes_received),
            (&mut self.link_bytes_sent, endpoint.link_bytes_sent),
            (&mut self.link_bytes_received, endpoint.link_bytes_received),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

/// The open connections by peer and plane, those with the most bytes first, then in the order of their names. Shards of
/// one plane count as one, and so do a node's certificates for different roles.
pub fn peers<'a>(endpoints: impl IntoIterator<Item = &'a EndpointStats>) -> Vec<PeerTraffic> {
    let mut peers: BTreeMap<(&NodeId, message::Plane), PeerTraffic> = BTreeMap::new();
    for endpoint in endpoints {
        let plane = endpoint.plane.into();
        for connection in &endpoint.connections {
            let Identity { node, roles, .. } = &connection.peer;
            let peer = peers.entry((node, plane)).or_insert_with(|| PeerTraffic {
                node: node.clone(),
                roles: *roles,
                plane,
                traffic: Traffic::default(),
            });
            peer.roles = peer.roles.iter().chain(roles.iter()).collect();
            peer.traffic.add(&connection.traffic());
        }
    }
    let mut peers: Vec<_> = peers.into_values().collect();
    peers.sort_by_key(|peer| std::cmp::Reverse(peer.traffic.bytes()));
    peers
}

#[cfg(test)]
mod tests {
    use rdcq_wire::Role;

    use super::*;

    fn connection(node: &str, role: Role, bytes: u64) -> ConnectionStats {
        ConnectionStats {
            peer: Identity { herd: "test".parse().unwrap(), node: node.parse().unwrap(), roles: role.into() },
            remote: "127.0.0.1:1".parse().unwrap(),
            dialled: role == Role::Origin,
            age: Duration::from_secs(1),
            rtt: Duration::from_micros(bytes),
            congestion_window: 10,
            lost_packets: 1,
            sent_packets: 100,
            datagram_size: 1452,
            bytes_sent: bytes,
            bytes_received: 0,
            link_bytes_sent: bytes + 42 * 90,
            link_bytes_received: 0,
            datagrams_sent: 90,
            batches_sent: 9,
            open_calls: 2,
        }
    }

    fn endpoint(plane: Plane, connections: Vec<ConnectionStats>) -> EndpointStats {
        let refused = BTreeMap::from([("busy", 1), ("herd", u64::MAX)]);
        EndpointStats {
            plane,
            connections,
            handshakes: 3,
            bytes_sent: 7,
            link_bytes_sent: 9,
            refused,
            ..EndpointStats::default()
        }
    }

    fn endpoints() -> [EndpointStats; 3] {
        [
            endpoint(Plane::Control, vec![connection("a", Role::Agent, 5), connection("b", Role::Agent, 5)]),
            endpoint(
                Plane::Data(0),
                vec![connection("b", Role::Agent, 10), connection("a", Role::Origin, 4)],
            ),
            endpoint(Plane::Data(1), vec![connection("b", Role::Client, 20)]),
        ]
    }

    #[test]
    fn peers_are_grouped_by_name_and_plane_and_the_busiest_comes_first() {
        let peers = peers(&endpoints());
        let lines: Vec<_> = peers
            .iter()
            .map(|peer| {
                let Traffic { connections, bytes_sent, rtt_us, .. } = peer.traffic;
                (peer.node.as_str(), peer.plane, peer.roles.to_string(), connections, bytes_sent, rtt_us)
            })
            .collect();
        let (control, data) = (message::Plane::Control, message::Plane::Data);
        let wanted = [
            ("b", data, "agent+client".to_owned(), 2, 30, 20),
            ("a", control, "agent".to_owned(), 1, 5, 5),
            ("b", control, "agent".to_owned(), 1, 5, 5),
            ("a", data, "origin".to_owned(), 1, 4, 4),
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn totals_add_up_endpoints_and_connections_and_do_not_overflow() {
        let totals = Totals::of(&endpoints());
        assert_eq!((totals.open.connections, totals.open.open_calls, totals.dialled), (5, 10, 1));
        assert_eq!((totals.open.bytes_sent, totals.bytes_sent, totals.handshakes), (44, 21, 9));
        assert_eq!((totals.link_bytes_sent, totals.link_bytes_received), (27, 0));
        assert_eq!(totals.refused, BTreeMap::from([("busy", 3), ("herd", u64::MAX)]));
        assert_eq!(Totals::of([]), Totals::default());
    }
}
