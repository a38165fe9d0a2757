//! What a node moves, and what it may.

use serde::{Deserialize, Serialize};

use super::{MAX_STATUS_BYTES, Note};
use crate::{Class, Digest, Kind, List, Message, NodeId, Request, Role};

/// Asks a node what it has moved so far. Answered by every role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Meter {}

impl Message for Meter {
    const KIND: Kind = Kind::Meter;
}

impl Request for Meter {
    type Reply = Metered;
}

/// What the role that was asked has moved, and what its node may; the body is a line a peer, those with the most bytes first,
/// then a line a transfer.
///
/// Bytes are those that network interfaces count: of each datagram of a connection its UDP payload, and 42 bytes of headers over
/// IPv4 or 62 over IPv6 (Ethernet, IP, UDP). Datagrams of no connection are left out: those that refuse one, or ask who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Metered {
    /// The node's name.
    pub node: NodeId,
    /// The role that answers.
    pub serving: Role,
    /// When the figures were taken, in milliseconds since the role began to serve.
    pub at_ms: u64,
    /// Bytes sent on all connections that ever were.
    pub sent: u64,
    /// Bytes received on all connections that ever were.
    pub received: u64,
    /// Connections that are open.
    pub connections: u32,
    /// What the node sends, in all its roles.
    pub egress: Flow,
    /// What the node receives, in all its roles.
    pub ingress: Flow,
    /// How many peers have connections open.
    pub peers_open: u32,
    /// How many of them the body tells of.
    pub peers: u32,
    /// How many transfers are under way.
    pub transfers_open: u32,
    /// How many of them the body tells of.
    pub transfers: u32,
}

impl Message for Metered {
    const KIND: Kind = Kind::Metered;
}

/// One direction of a node's bandwidth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Flow {
    /// What the node may move now, in bytes a second; none if it is not limited.
    pub limit: Option<u64>,
    /// Streams that wait for their turn.
    pub waiting: u32,
    /// How that is shared.
    pub classes: List<ClassFlow, { Class::ALL.len() }>,
}

/// A class of a direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct ClassFlow {
    /// Which.
    pub class: Class,
    /// Bytes that it has moved since the node began: of bodies alone while there was no limit, as interfaces count them while there
    /// was one.
    pub moved: u64,
    /// Its part, beside the weights of the others that want something.
    pub weight: u32,
    /// What it has before the others share the rest, in bytes a second.
    pub minimum: Option<u64>,
    /// What it never has more of, in bytes a second.
    pub ceiling: Option<u64>,
}

/// The connections with one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PeerFlow {
    /// The peer's name.
    pub node: NodeId,
    /// How many are open.
    pub connections: u32,
    /// Bytes sent on those since each was opened.
    pub sent: u64,
    /// Bytes received on those since each was opened.
    pub received: u64,
    /// What the peer may be sent, in bytes a second, if it has a limit of its own.
    pub egress_limit: Option<u64>,
    /// What may be asked of the peer, in bytes a second, if it has a limit of its own.
    pub ingress_limit: Option<u64>,
}

/// Content on its way to the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Transfer {
    /// The tag that was asked for first.
    pub tag: Note,
    /// The content.
    pub digest: Digest,
    /// How much it matters.
    pub class: Class,
    /// Bytes that are here and verified.
    pub done: u64,
    /// Bytes in all.
    pub size: u64,
}

impl Metered {
    /// Most peers in one body. At their longest they fill it to four fifths.
    pub const MAX_PEERS: usize = 4096;
    /// Most transfers in one body. At their longest they fill it to a fiftieth.
    pub const MAX_TRANSFERS: usize = 64;

    /// Encodes a body of the first of these. Says how many of each it holds.
    pub fn write<'a>(
        peers: impl IntoIterator<Item = &'a PeerFlow>,
        transfers: impl IntoIterator<Item = &'a Transfer>,
    ) -> (Vec<u8>, u32, u32) {
        let mut body = Vec::new();
        let peers = append(&mut body, peers.into_iter().take(Self::MAX_PEERS));
        let transfers = append(&mut body, transfers.into_iter().take(Self::MAX_TRANSFERS));
        (body, peers, transfers)
    }

    /// Reads a body, which must hold exactly what was announced.
    pub fn read(&self, mut body: &[u8]) -> Option<(Vec<PeerFlow>, Vec<Transfer>)> {
        let too_many = self.peers as usize > Self::MAX_PEERS || self.transfers as usize > Self::MAX_TRANSFERS;
        if too_many || body.len() > MAX_STATUS_BYTES as usize {
            return None;
        }
        let peers = take(&mut body, self.peers)?;
        let transfers = take(&mut body, self.transfers)?;
        body.is_empty().then_some((peers, transfers))
    }
}

fn append<'a, T: Serialize + 'a>(body: &mut Vec<u8>, lines: impl Iterator<Item = &'a T>) -> u32 {
    let mut count = 0;
    for line in lines {
        body.extend(postcard::to_allocvec(line).expect("a line always encodes"));
        count += 1;
    }
    count
}

fn take<'a, T: Deserialize<'a>>(body: &mut &'a [u8], count: u32) -> Option<Vec<T>> {
    let mut lines = Vec::new();
    for _ in 0..count {
        let (line, rest) = postcard::take_from_bytes(body).ok()?;
        lines.push(line);
        *body = rest;
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn flow() -> Flow {
        let class = |class| ClassFlow { class, moved: 300, weight: 4, minimum: Some(1000), ceiling: None };
        Flow { limit: Some(100_000_000), waiting: 2, classes: List::first_of(Class::ALL.map(class)) }
    }

    fn metered(peers: u32, transfers: u32) -> Metered {
        Metered {
            node: "o1".parse().unwrap(),
            serving: Role::Origin,
            at_ms: 61_000,
            sent: 2_400_000,
            received: 30_000,
            connections: 4,
            egress: flow(),
            ingress: Flow::default(),
            peers_open: 1,
            peers,
            transfers_open: 1,
            transfers,
        }
    }

    fn longest_peer() -> PeerFlow {
        PeerFlow {
            node: "n".repeat(NodeId::MAX_LEN).parse().unwrap(),
            connections: u32::MAX,
            sent: u64::MAX,
            received: u64::MAX,
            egress_limit: Some(u64::MAX),
            ingress_limit: Some(u64::MAX),
        }
    }

    fn longest_transfer() -> Transfer {
        Transfer {
            tag: Note::from("t".repeat(Note::MAX_LEN)),
            digest: Digest::from_bytes([0xff; 32]),
            class: Class::Background,
            done: u64::MAX,
            size: u64::MAX,
        }
    }

    mod meter {
        use super::*;

        message_tests!(Meter, Meter {}, "4400000600000000000102b81701");
    }

    mod reply {
        use super::*;

        message_tests!(
            Metered,
            metered(1, 2),
            "4500003b00000000000102b81701026f3101c8dc0380be9201b0ea01040180c2d72f020300ac020401e8070001ac020401e8070002ac020401e8070000000001010102"
        );
    }

    #[test]
    fn a_body_reads_back_and_one_that_is_not_what_was_announced_does_not() {
        let peer = PeerFlow { sent: 7, egress_limit: None, ..longest_peer() };
        let (body, peers, transfers) = Metered::write([&peer, &longest_peer()], [&longest_transfer()]);
        assert_eq!((peers, transfers), (2, 1));
        let read = metered(2, 1).read(&body).unwrap();
        assert_eq!(read, (vec![peer, longest_peer()], vec![longest_transfer()]));
        for (peers, transfers) in [(1, 1), (2, 0), (3, 1), (2, 2), (0, 0)] {
            assert_eq!(metered(peers, transfers).read(&body), None);
        }
        for end in 0..body.len() {
            assert_eq!(metered(2, 1).read(&body[..end]), None, "cut to {end} bytes");
        }
    }

    #[test]
    fn as_much_as_a_body_may_hold_fits_at_its_longest_and_no_more_is_read() {
        let many = (vec![longest_peer(); Metered::MAX_PEERS + 1], vec![longest_transfer(); 65]);
        let (body, peers, transfers) = Metered::write(&many.0, &many.1);
        assert_eq!((peers as usize, transfers as usize), (Metered::MAX_PEERS, Metered::MAX_TRANSFERS));
        assert!(body.len() <= MAX_STATUS_BYTES as usize);
        assert!(metered(peers, transfers).read(&body).is_some());
        let one = postcard::to_allocvec(&longest_transfer()).unwrap();
        assert_eq!(metered(peers, transfers + 1).read(&[body, one].concat()), None);
        assert_eq!(metered(u32::MAX, u32::MAX).read(&[]), None);
    }
}
