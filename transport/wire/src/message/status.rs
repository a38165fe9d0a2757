//! How a node is doing: its connections, its traffic, whom it refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::MAX_STATUS_BYTES;
use crate::{Kind, List, Message, NodeId, Request, Role, RoleSet};

/// Asks a node how it is doing. Answered by every role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Status {}

impl Message for Status {
    const KIND: Kind = Kind::Status;
}

impl Request for Status {
    type Reply = StatusReport;
}

/// How the node is doing in the role that was asked; the body is a line a peer and plane, those with the most bytes
/// first.
#[expect(clippy::use_self, reason = "serde repeats the field's type where Self is another")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct StatusReport {
    /// The node's name.
    pub node: NodeId,
    /// The roles that its certificate gives it.
    pub roles: RoleSet,
    /// The role that answers.
    pub serving: Role,
    /// Milliseconds since the role began to serve. All counters begin there.
    pub uptime_ms: u64,
    /// Handshakes done, as server and as client.
    pub handshakes: u64,
    /// Handshakes that failed, as server and as client.
    pub handshakes_failed: u64,
    /// How many connections were refused, by reason.
    pub refused: List<Refused, { StatusReport::MAX_REFUSED }>,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// Batches in which they were handed to the system.
    pub batches_sent: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// All connections that are open now.
    pub open: Traffic,
    /// How many peers and planes they lead to.
    pub peers_open: u32,
    /// How many of those the body tells of.
    pub peers: u32,
}

impl Message for StatusReport {
    const KIND: Kind = Kind::StatusReport;
}

impl StatusReport {
    /// Most reasons for refusals in one report; a node has a dozen.
    pub const MAX_REFUSED: usize = 32;
    /// Most peers in one report's body. At their longest they fill it to nine tenths.
    pub const MAX_PEERS: usize = 4096;

    /// Encodes a body of the first of these peers, and says how many of them it holds.
    pub fn write<'a>(peers: impl IntoIterator<Item = &'a PeerTraffic>) -> (Vec<u8>, u32) {
        let (mut body, mut count) = (Vec::new(), 0);
        for peer in peers.into_iter().take(Self::MAX_PEERS) {
            let bytes = postcard::to_allocvec(peer).expect("a peer's line always encodes");
            if body.len() + bytes.len() > MAX_STATUS_BYTES as usize {
                break;
            }
            body.extend(bytes);
            count += 1;
        }
        (body, count)
    }

    /// Reads a body, which must hold exactly the announced peers.
    pub fn read(&self, mut body: &[u8]) -> Option<Vec<PeerTraffic>> {
        if self.peers as usize > Self::MAX_PEERS || body.len() > MAX_STATUS_BYTES as usize {
            return None;
        }
        let mut peers = Vec::new();
        for _ in 0..self.peers {
            let (peer, rest) = postcard::take_from_bytes(body).ok()?;
            peers.push(peer);
            body = rest;
        }
        body.is_empty().then_some(peers)
    }

    /// How many connections were refused, for whatever reason.
    pub fn refusals(&self) -> u64 {
        self.refused.iter().fold(0, |sum, refused| sum.saturating_add(refused.count))
    }
}

/// How often connections were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Refused {
    /// The reason.
    pub why: Word,
    /// How often.
    pub count: u64,
}

/// The connections with one peer on one plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct PeerTraffic {
    /// The peer's name.
    pub node: NodeId,
    /// The roles that its certificates give it, all together.
    pub roles: RoleSet,
    /// What the connections are for.
    pub plane: Plane,
    /// What they carry.
    pub traffic: Traffic,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Plane {
    /// Small questions and answers.
    Control,
    /// Content.
    Data,
}

impl Plane {
    /// The plane's name in tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// What connections have carried since each was opened, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Traffic {
    /// How many connections.
    pub connections: u32,
    /// Requests under way on them.
    pub open_calls: u32,
    /// The longest of their round-trip times, in microseconds.
    pub rtt_us: u64,
    /// The sum of their congestion windows, in bytes.
    pub congestion_window: u64,
    /// The smallest of their datagram sizes, in bytes of UDP payload.
    pub datagram_size: u16,
    /// QUIC packets sent.
    pub packets_sent: u64,
    /// Those of them that were lost.
    pub packets_lost: u64,
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// Batches in which they were handed to the system.
    pub batches_sent: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
}

impl Traffic {
    /// Adds what other connections carry.
    pub fn add(&mut self, other: &Self) {
        self.datagram_size = match (self.connections, other.connections) {
            (0, _) => other.datagram_size,
            (_, 0) => self.datagram_size,
            _ => self.datagram_size.min(other.datagram_size),
        };
        self.rtt_us = self.rtt_us.max(other.rtt_us);
        self.connections = self.connections.saturating_add(other.connections);
        self.open_calls = self.open_calls.saturating_add(other.open_calls);
        let sums = [
            (&mut self.congestion_window, other.congestion_window),
            (&mut self.packets_sent, other.packets_sent),
            (&mut self.packets_lost, other.packets_lost),
            (&mut self.datagrams_sent, other.datagrams_sent),
            (&mut self.batches_sent, other.batches_sent),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.bytes_received, other.bytes_received),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }

    /// Bytes in both directions.
    pub const fn bytes(&self) -> u64 {
        self.bytes_sent.saturating_add(self.bytes_received)
    }

    /// The lost share of the packets sent, from 0 to 1; none if none were sent.
    pub fn loss(&self) -> Option<f64> {
        ratio(self.packets_lost, self.packets_sent)
    }

    /// Datagrams a batch; none if none were sent.
    pub fn batch_size(&self) -> Option<f64> {
        ratio(self.datagrams_sent, self.batches_sent)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A name for programs: 1 to 32 of `a-z 0-9 -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word(String);

impl Word {
    /// Longest word, in bytes.
    pub const MAX_LEN: usize = 32;

    /// The word as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Word {
    type Error = NoWord;

    fn try_from(text: String) -> Result<Self, NoWord> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(legal) {
            return Err(NoWord);
        }
        Ok(Self(text))
    }
}

impl FromStr for Word {
    type Err = NoWord;

    fn from_str(text: &str) -> Result<Self, NoWord> {
        Self::try_from(text.to_owned())
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`Word`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 1 to 32 of `a-z 0-9 -`")]
pub struct NoWord;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn traffic() -> Traffic {
        Traffic {
            connections: 2,
            open_calls: 3,
            rtt_us: 300,
            congestion_window: 14_520,
            datagram_size: 1452,
            packets_sent: 1000,
            packets_lost: 10,
            datagrams_sent: 990,
            batches_sent: 99,
            bytes_sent: 1_400_000,
            bytes_received: 20_000,
        }
    }

    fn report(peers: u32) -> StatusReport {
        StatusReport {
            node: "o1".parse().unwrap(),
            roles: Role::Origin.into(),
            serving: Role::Origin,
            uptime_ms: 61_000,
            handshakes: 5,
            handshakes_failed: 1,
            refused: List::first_of([Refused { why: "busy".parse().unwrap(), count: 4 }]),
            datagrams_sent: 1990,
            batches_sent: 199,
            bytes_sent: 2_400_000,
            bytes_received: 30_000,
            open: traffic(),
            peers_open: 1,
            peers,
        }
    }

    fn longest_line() -> PeerTraffic {
        let most = Traffic {
            connections: u32::MAX,
            open_calls: u32::MAX,
            rtt_us: u64::MAX,
            congestion_window: u64::MAX,
            datagram_size: u16::MAX,
            packets_sent: u64::MAX,
            packets_lost: u64::MAX,
            datagrams_sent: u64::MAX,
            batches_sent: u64::MAX,
            bytes_sent: u64::MAX,
            bytes_received: u64::MAX,
        };
        let node = "n".repeat(NodeId::MAX_LEN).parse().unwrap();
        PeerTraffic { node, roles: Role::ALL.into_iter().collect(), plane: Plane::Data, traffic: most }
    }

    mod status {
        use super::*;

        message_tests!(Status, Status {}, "4000000600000000000102b81701");
    }

    mod status_report {
        use super::*;

        message_tests!(
            StatusReport,
            report(1),
            "4100003800000000000102b81701026f310201c8dc03050101046275737904c60fc70180be9201b0ea010203ac02b871ac0be8070ade0763c0b955a09c010101"
        );
    }

    #[test]
    fn a_body_reads_back_and_one_that_is_not_what_was_announced_does_not() {
        let peer = PeerTraffic { traffic: traffic(), ..longest_line() };
        let (body, count) = StatusReport::write([&peer, &longest_line()]);
        assert_eq!(count, 2);
        assert_eq!(report(2).read(&body).unwrap(), [peer, longest_line()]);
        assert_eq!(report(1).read(&body), None);
        assert_eq!(report(3).read(&body), None);
        for end in 0..body.len() {
            assert_eq!(report(2).read(&body[..end]), None, "cut to {end} bytes");
        }
    }

    #[test]
    fn as_many_peers_as_a_body_may_hold_fit_at_their_longest_and_no_more_are_read() {
        let many = vec![longest_line(); StatusReport::MAX_PEERS + 1];
        let (mut body, count) = StatusReport::write(&many);
        assert_eq!(count as usize, StatusReport::MAX_PEERS);
        assert!(body.len() <= MAX_STATUS_BYTES as usize);
        assert_eq!(report(count).read(&body).unwrap().len(), StatusReport::MAX_PEERS);
        body.extend(postcard::to_allocvec(&longest_line()).unwrap());
        assert_eq!(report(count + 1).read(&body), None);
        assert_eq!(report(u32::MAX).read(&body), None);
    }

    #[test]
    fn added_up_counts_are_sums_the_worst_time_stands_and_nothing_overflows() {
        let mut sum = Traffic::default();
        sum.add(&traffic());
        assert_eq!(sum, traffic());
        sum.add(&Traffic { connections: 1, rtt_us: 200, datagram_size: 1200, ..Traffic::default() });
        assert_eq!((sum.connections, sum.rtt_us, sum.datagram_size), (3, 300, 1200));
        sum.add(&Traffic::default());
        assert_eq!(sum.datagram_size, 1200);
        sum.add(&longest_line().traffic);
        assert_eq!((sum.bytes_sent, sum.connections, sum.bytes()), (u64::MAX, u32::MAX, u64::MAX));
    }

    #[test]
    fn shares_of_nothing_are_none() {
        assert_eq!((traffic().loss(), traffic().batch_size()), (Some(0.01), Some(10.0)));
        assert_eq!((Traffic::default().loss(), Traffic::default().batch_size()), (None, None));
    }

    #[test]
    fn what_is_not_a_word_is_refused() {
        for text in ["", "two words", "Busy", "x\ny", "é", &"x".repeat(Word::MAX_LEN + 1)] {
            assert_eq!(text.parse::<Word>(), Err(NoWord), "{text:?}");
        }
        assert_eq!("too-many-of-peer".parse::<Word>().unwrap().as_str(), "too-many-of-peer");
    }
}
