//! How fast nodes move, from two readings of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rdcq_client::OperationError;
use rdcq_client::meter::Reading;
use rdcq_wire::message::{ClassFlow, Flow, PeerFlow, Transfer};
use rdcq_wire::{Digest, Role};
use serde::Serialize;

use crate::servers::Server;

/// What a server told at one moment, or why it did not.
pub(super) type Outcome = Result<Reading, OperationError>;

/// A page for each node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Pages {
    pub(super) nodes: Vec<Page>,
}

/// What is shown of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Page {
    Told(Box<Rates>),
    Silent {
        #[serde(skip_serializing_if = "Option::is_none")]
        role: Option<&'static str>,
        addr: SocketAddr,
        error: String,
    },
}

/// How fast a node moves. A rate is none where there is nothing to compare with: at first sight, and after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Rates {
    pub(super) node: String,
    pub(super) serving: Vec<Serving>,
    /// Between the two readings.
    pub(super) over_ms: Option<u64>,
    pub(super) uptime_ms: u64,
    pub(super) connections: u32,
    pub(super) egress: Direction,
    pub(super) ingress: Direction,
    pub(super) transfers_open: u32,
    pub(super) transfers: Vec<Moving>,
    pub(super) peers_open: u32,
    pub(super) peers: Vec<Peer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Serving {
    pub(super) role: &'static str,
    pub(super) addr: SocketAddr,
}

/// One direction, as network interfaces count it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Direction {
    pub(super) bytes: u64,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) limit_bytes_per_second: Option<u64>,
    pub(super) waiting: u32,
    pub(super) classes: Vec<Class>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Class {
    pub(super) class: &'static str,
    pub(super) bytes: u64,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) weight: u32,
    pub(super) minimum_bytes_per_second: Option<u64>,
    pub(super) ceiling_bytes_per_second: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Peer {
    pub(super) node: String,
    pub(super) connections: u32,
    pub(super) egress_bytes_per_second: Option<u64>,
    pub(super) ingress_bytes_per_second: Option<u64>,
    pub(super) egress_limit_bytes_per_second: Option<u64>,
    pub(super) ingress_limit_bytes_per_second: Option<u64>,
}

/// Content on its way to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Moving {
    pub(super) tag: String,
    pub(super) digest: String,
    pub(super) class: &'static str,
    pub(super) done_bytes: u64,
    pub(super) size_bytes: u64,
    pub(super) bytes_per_second: Option<u64>,
    /// At this rate.
    pub(super) left_ms: Option<u64>,
}

impl Pages {
    /// Of what the servers told at one moment and the one before. Roles of one node share a page.
    pub(super) fn of(servers: &[Server], before: &[Outcome], after: &[Outcome]) -> Self {
        let mut nodes: Vec<Page> = Vec::new();
        for (index, (Server { role, addr }, outcome)) in servers.iter().zip(after).enumerate() {
            match outcome {
                Err(error) => {
                    let (role, error) = (role.map(Role::name), error.to_string());
                    nodes.push(Page::Silent { role, addr: *addr, error });
                }
                Ok(reading) => {
                    let before = before.get(index).and_then(|outcome| outcome.as_ref().ok());
                    let rates = Rates::of(*addr, before, reading);
                    match nodes.iter_mut().find_map(|page| page.told(&rates.node)) {
                        Some(known) => known.add(rates),
                        None => nodes.push(Page::Told(Box::new(rates))),
                    }
                }
            }
        }
        nodes.iter_mut().for_each(Page::sort);
        Self { nodes }
    }
}

impl Page {
    fn told(&mut self, node: &str) -> Option<&mut Rates> {
        match self {
            Self::Told(rates) if rates.node == node => Some(rates),
            _ => None,
        }
    }

    fn sort(&mut self) {
        if let Self::Told(rates) = self {
            rates.peers.sort_by_key(|peer| std::cmp::Reverse(peer.rate()));
        }
    }

    /// What tells it from others.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Told(rates) => rates.node.clone(),
            Self::Silent { role: Some(role), addr, .. } => format!("{role} {addr}"),
            Self::Silent { addr, .. } => addr.to_string(),
        }
    }
}

/// What two readings of one role are apart.
struct Apart<'a> {
    before: &'a Reading,
    over: Duration,
}

impl<'a> Apart<'a> {
    /// Nothing if the role began anew between the two, or they are one and the same.
    fn of(before: Option<&'a Reading>, after: &Reading) -> Option<Self> {
        let before = before?;
        let same =
            before.metered.node == after.metered.node && before.metered.serving == after.metered.serving;
        let over = Duration::from_millis(after.metered.at_ms.checked_sub(before.metered.at_ms)?);
        let restarted =
            after.metered.sent < before.metered.sent || after.metered.received < before.metered.received;
        (same && !over.is_zero() && !restarted).then_some(Self { before, over })
    }

    fn rate(&self, before: u64, after: u64) -> Option<u64> {
        per_second(after.checked_sub(before)?, self.over)
    }
}

fn per_second(bytes: u64, over: Duration) -> Option<u64> {
    let rate = u128::from(bytes) * 1000 / over.as_millis().max(1);
    u64::try_from(rate).ok()
}

impl Rates {
    fn of(addr: SocketAddr, before: Option<&Reading>, after: &Reading) -> Self {
        let apart = Apart::of(before, after);
        let apart = apart.as_ref();
        let metered = &after.metered;
        let rate = |of: fn(&Reading) -> u64| apart.and_then(|apart| apart.rate(of(apart.before), of(after)));
        let flow_before = |of: fn(&Reading) -> &Flow| apart.map(|apart| (apart, of(apart.before)));
        Self {
            node: metered.node.to_string(),
            serving: vec![Serving { role: metered.serving.name(), addr }],
            over_ms: apart.and_then(|apart| u64::try_from(apart.over.as_millis()).ok()),
            uptime_ms: metered.at_ms,
            connections: metered.connections,
            egress: Direction {
                bytes: metered.sent,
                bytes_per_second: rate(|reading| reading.metered.sent),
                ..Direction::of(flow_before(|reading| &reading.metered.egress), &metered.egress)
            },
            ingress: Direction {
                bytes: metered.received,
                bytes_per_second: rate(|reading| reading.metered.received),
                ..Direction::of(flow_before(|reading| &reading.metered.ingress), &metered.ingress)
            },
            transfers_open: metered.transfers_open,
            transfers: after.transfers.iter().map(|transfer| Moving::of(apart, transfer)).collect(),
            peers_open: metered.peers_open,
            peers: peers(apart, &after.peers),
        }
    }

    /// Adds what another role of the node moves. Limits, classes and who waits are the node's: each of its roles tells the same.
    fn add(&mut self, other: Self) {
        self.serving.extend(other.serving);
        self.over_ms = self.over_ms.or(other.over_ms);
        self.uptime_ms = self.uptime_ms.max(other.uptime_ms);
        self.connections = self.connections.saturating_add(other.connections);
        self.egress.add(&other.egress);
        self.ingress.add(&other.ingress);
        self.transfers_open = self.transfers_open.saturating_add(other.transfers_open);
        self.transfers.extend(other.transfers);
        self.peers_open = self.peers_open.saturating_add(other.peers_open);
        for peer in other.peers {
            match self.peers.iter_mut().find(|known| known.node == peer.node) {
                Some(known) => {
                    known.add(&peer);
                    self.peers_open = self.peers_open.saturating_sub(1);
                }
                None => self.peers.push(peer),
            }
        }
    }
}

/// Both rates together, as far as they are known.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

impl Direction {
    fn of(before: Option<(&Apart<'_>, &Flow)>, after: &Flow) -> Self {
        let class = |now: &ClassFlow| {
            let moved = before.and_then(|(apart, flow)| {
                let then = flow.classes.iter().find(|then| then.class == now.class)?;
                apart.rate(then.moved, now.moved)
            });
            Class {
                class: now.class.name(),
                bytes: now.moved,
                bytes_per_second: moved,
                weight: now.weight,
                minimum_bytes_per_second: now.minimum,
                ceiling_bytes_per_second: now.ceiling,
            }
        };
        Self {
            limit_bytes_per_second: after.limit,
            waiting: after.waiting,
            classes: after.classes.iter().map(class).collect(),
            ..Self::default()
        }
    }

    fn add(&mut self, other: &Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.bytes_per_second = sum(self.bytes_per_second, other.bytes_per_second);
    }
}

impl Peer {
    fn add(&mut self, other: &Self) {
        self.connections = self.connections.saturating_add(other.connections);
        self.egress_bytes_per_second = sum(self.egress_bytes_per_second, other.egress_bytes_per_second);
        self.ingress_bytes_per_second = sum(self.ingress_bytes_per_second, other.ingress_bytes_per_second);
    }

    fn rate(&self) -> Option<u64> {
        sum(self.egress_bytes_per_second, self.ingress_bytes_per_second)
    }
}

/// The peers of one role. What a connection moved that has closed since is gone from the sums: such a peer has no rate for once.
fn peers(apart: Option<&Apart<'_>>, after: &[PeerFlow]) -> Vec<Peer> {
    let then: BTreeMap<_, _> =
        apart.iter().flat_map(|apart| &apart.before.peers).map(|peer| (&peer.node, peer)).collect();
    let rate = |peer: &PeerFlow, of: fn(&PeerFlow) -> u64| {
        let apart = apart?;
        // Of many peers only some are told: one that was not may have been there all the same.
        let told_all = apart.before.peers.len() >= apart.before.metered.peers_open as usize;
        let before = then.get(&peer.node).map(|then| of(then)).or_else(|| told_all.then_some(0))?;
        apart.rate(before, of(peer))
    };
    let line = |peer: &PeerFlow| Peer {
        node: peer.node.to_string(),
        connections: peer.connections,
        egress_bytes_per_second: rate(peer, |peer| peer.sent),
        ingress_bytes_per_second: rate(peer, |peer| peer.received),
        egress_limit_bytes_per_second: peer.egress_limit,
        ingress_limit_bytes_per_second: peer.ingress_limit,
    };
    after.iter().map(line).collect()
}

impl Moving {
    fn of(apart: Option<&Apart<'_>>, transfer: &Transfer) -> Self {
        let Transfer { tag, digest, class, done, size } = transfer;
        let rate = apart.and_then(|apart| {
            let then = apart.before.transfers.iter().find(|then| then.digest == *digest);
            apart.rate(then?.done, *done)
        });
        let left = size.saturating_sub(*done);
        let left_ms = rate
            .filter(|rate| *rate > 0)
            .and_then(|rate| u64::try_from(u128::from(left) * 1000 / u128::from(rate)).ok());
        Self {
            tag: tag.to_string(),
            digest: short(digest),
            class: class.name(),
            done_bytes: *done,
            size_bytes: *size,
            bytes_per_second: rate,
            left_ms,
        }
    }
}

/// As much of a digest as tells it from others.
fn short(digest: &Digest) -> String {
    const SHOWN: usize = "sha256:".len() + 12;
    digest.to_string().chars().take(SHOWN).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use rdcq_wire::List;
    use rdcq_wire::message::{Metered, Note};

    use super::*;

    fn flow(limit: Option<u64>, moved: u64) -> Flow {
        let class = |class: rdcq_wire::Class| ClassFlow {
            class,
            moved: moved * (1 + class as u64),
            weight: 4,
            minimum: (class == rdcq_wire::Class::Urgent).then_some(1_000_000),
            ceiling: (class == rdcq_wire::Class::Background).then_some(2_000_000),
        };
        Flow { limit, waiting: 3, classes: List::first_of(rdcq_wire::Class::ALL.map(class)) }
    }

    fn peer(node: &str, sent: u64, received: u64) -> PeerFlow {
        PeerFlow {
            node: node.parse().unwrap(),
            connections: 2,
            sent,
            received,
            egress_limit: (node == "a2").then_some(6_250_000),
            ingress_limit: None,
        }
    }

    /// A node after so many seconds, in which it moved as much each second.
    pub(in super::super) fn reading(node: &str, serving: Role, seconds: u64) -> Reading {
        let transfer = Transfer {
            tag: Note::from("k:7".to_owned()),
            digest: Digest::from_bytes([7; 32]),
            class: rdcq_wire::Class::Urgent,
            done: 1_000_000 * seconds,
            size: 10_000_000,
        };
        let transfers = if serving == Role::Agent { vec![transfer] } else { Vec::new() };
        Reading {
            metered: Metered {
                node: node.parse().unwrap(),
                serving,
                at_ms: 1000 * seconds,
                sent: 5_000_000 * seconds,
                received: 1_000_000 * seconds,
                connections: 4,
                egress: flow(Some(12_500_000), 1000 * seconds),
                ingress: flow(None, 0),
                peers_open: 2,
                peers: 2,
                transfers_open: u32::try_from(transfers.len()).unwrap(),
                transfers: u32::try_from(transfers.len()).unwrap(),
            },
            peers: vec![peer("a1", 1_000_000 * seconds, 0), peer("a2", 4_000_000 * seconds, 1000 * seconds)],
            transfers,
        }
    }

    pub(in super::super) fn server(role: Role, port: u16) -> Server {
        Server { role: Some(role), addr: ([127, 0, 0, 1], port).into() }
    }

    fn rates(before: &Reading, after: &Reading) -> Rates {
        Rates::of(([127, 0, 0, 1], 1).into(), Some(before), after)
    }

    fn gone() -> OperationError {
        OperationError::new(rdcq_wire::ErrorCode::Unavailable, "nobody is there")
    }

    #[test]
    fn rates_are_what_was_moved_between_two_readings_over_the_node_s_own_time() {
        let rates = rates(&reading("n1", Role::Agent, 10), &reading("n1", Role::Agent, 14));
        assert_eq!((rates.over_ms, rates.uptime_ms), (Some(4000), 14_000));
        assert_eq!(rates.egress.bytes_per_second, Some(5_000_000));
        assert_eq!(rates.ingress.bytes_per_second, Some(1_000_000));
        assert_eq!(rates.egress.limit_bytes_per_second, Some(12_500_000));
        let classes: Vec<_> =
            rates.egress.classes.iter().map(|class| (class.class, class.bytes_per_second)).collect();
        assert_eq!(classes, [("urgent", Some(1000)), ("normal", Some(2000)), ("background", Some(3000))]);
        let peers: Vec<_> = rates.peers.iter().map(|peer| (&*peer.node, peer.rate())).collect();
        assert_eq!(peers, [("a1", Some(1_000_000)), ("a2", Some(4_001_000))]);
    }

    #[test]
    fn a_transfer_has_progress_a_rate_and_time_left() {
        let (mut before, after) = (reading("n1", Role::Agent, 2), reading("n1", Role::Agent, 6));
        let moving = &rates(&before, &after).transfers[0];
        assert_eq!((moving.done_bytes, moving.size_bytes), (6_000_000, 10_000_000));
        assert_eq!((moving.bytes_per_second, moving.left_ms), (Some(1_000_000), Some(4000)));
        assert_eq!((&*moving.tag, &*moving.digest), ("k:7", "sha256:070707070707"));
        // One that stands still will not end, and of one that is new nothing is known.
        before.transfers[0].done = 6_000_000;
        let moving = &rates(&before, &after).transfers[0];
        assert_eq!((moving.bytes_per_second, moving.left_ms), (Some(0), None));
        before.transfers.clear();
        assert_eq!(rates(&before, &after).transfers[0].bytes_per_second, None);
    }

    #[test]
    fn without_anything_to_compare_with_there_is_no_rate() {
        let after = reading("n1", Role::Agent, 10);
        let none = |before: Option<&Reading>| {
            let rates = Rates::of(([127, 0, 0, 1], 1).into(), before, &after);
            let classes = rates.egress.classes.iter().all(|class| class.bytes_per_second.is_none());
            let peers = rates.peers.iter().all(|peer| peer.rate().is_none());
            rates.over_ms.is_none() && rates.egress.bytes_per_second.is_none() && classes && peers
        };
        assert!(none(None), "at first sight");
        assert!(none(Some(&after)), "the same figures again");
        assert!(none(Some(&reading("n1", Role::Agent, 11))), "the node has begun anew");
        assert!(none(Some(&reading("n2", Role::Agent, 9))), "it was another node");
        assert!(none(Some(&reading("n1", Role::Origin, 9))), "it was another role");
        let mut back = reading("n1", Role::Agent, 9);
        back.metered.sent = u64::MAX;
        assert!(none(Some(&back)), "counters that go back");
        assert!(!none(Some(&reading("n1", Role::Agent, 9))));
    }

    #[test]
    fn a_peer_whose_connection_closed_has_no_rate_and_a_new_one_counts_from_nothing() {
        let (mut before, mut after) = (reading("n1", Role::Agent, 10), reading("n1", Role::Agent, 11));
        before.peers[0].sent = u64::MAX;
        before.peers.truncate(1);
        before.metered.peers_open = 1;
        after.peers[1].sent = 500;
        let told = rates(&before, &after);
        assert_eq!(told.peers[0].egress_bytes_per_second, None);
        assert_eq!(told.peers[1].egress_bytes_per_second, Some(500));
        assert_eq!(told.egress.bytes_per_second, Some(5_000_000));
        // One that was left out of a list may have been there all the same.
        before.metered.peers_open = 2;
        assert_eq!(rates(&before, &after).peers[1].egress_bytes_per_second, None);
    }

    #[test]
    fn roles_of_one_node_share_a_page_with_the_busiest_peer_first_and_silent_ones_have_their_own() {
        let servers = [server(Role::Origin, 1), server(Role::Tracker, 2), server(Role::Agent, 3)];
        let outcomes = |seconds| {
            let gone = Err(gone());
            [Ok(reading("n1", Role::Origin, seconds)), gone, Ok(reading("n1", Role::Agent, seconds))]
        };
        let pages = Pages::of(&servers, &outcomes(1), &outcomes(2)).nodes;
        let names: Vec<_> = pages.iter().map(Page::name).collect();
        assert_eq!(names, ["n1", "tracker 127.0.0.1:2"]);
        let Page::Told(rates) = &pages[0] else { panic!("{pages:?}") };
        assert_eq!((rates.connections, rates.serving.len(), rates.transfers.len()), (8, 2, 1));
        assert_eq!(rates.egress.bytes_per_second, Some(10_000_000));
        assert_eq!(rates.egress.classes[0].bytes_per_second, Some(1000));
        let peers: Vec<_> =
            rates.peers.iter().map(|peer| (&*peer.node, peer.connections, peer.rate())).collect();
        assert_eq!(peers, [("a2", 4, Some(8_002_000)), ("a1", 4, Some(2_000_000))]);
        assert_eq!(rates.peers_open, 2);
        // Told before, silent now, and back: nothing to compare with.
        let silent = [Err(gone()), Err(gone()), Err(gone())];
        let Page::Told(rates) = &Pages::of(&servers, &silent, &outcomes(2)).nodes[0] else { panic!() };
        assert_eq!(rates.egress.bytes_per_second, None);
        assert_eq!(Pages::of(&servers, &outcomes(1), &silent).nodes.len(), 3);
    }
}
