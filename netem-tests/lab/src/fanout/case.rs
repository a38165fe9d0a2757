//! How many agents, which file, over which links, and the least time that these allow.

use std::time::Duration;

use rdcq_config::Congestion;
use rdcq_wire::ByteRate;

/// How much slower a slow agent's link is.
const SLOWER: u64 = 4;

/// A swarm's links and its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Those that pull.
    pub(super) agents: u8,
    /// Further ones that say that they have the file, and send wrong bytes.
    pub(super) liars: u8,
    pub(super) bytes: u64,
    /// What every host's link carries, up and down.
    pub(super) rate: ByteRate,
    /// One agent in so many is slow; none if it is 0.
    pub(super) slow_every: u8,
    pub(super) queue: Duration,
    pub(super) congestion: Congestion,
    /// Bytes of the largest datagram that rdcq's nodes try.
    pub(super) datagram: u16,
    /// To how much of their links' rate they limit what they send, in percent; 0 is no limit.
    pub(super) egress_percent: u8,
}

/// Agents whose links are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Fast,
    Slow,
}

impl Case {
    /// The kind of an agent; the first is number 1.
    pub(super) const fn kind(&self, agent: usize) -> Kind {
        match agent.checked_rem(self.slow_every as usize) {
            Some(0) => Kind::Slow,
            _ => Kind::Fast,
        }
    }

    /// Bytes a second that a host's link carries; number 0 is the source.
    pub(super) fn rate_of(&self, host: usize) -> anyhow::Result<ByteRate> {
        if host == 0 || self.kind(host) == Kind::Fast {
            return Ok(self.rate);
        }
        Ok(format!("{}bit/s", self.rate.bytes_per_second() * 8 / SLOWER).parse()?)
    }

    /// The settings that limit what a host sends.
    pub(super) fn limits_of(&self, host: usize) -> anyhow::Result<String> {
        if self.egress_percent == 0 {
            return Ok(String::new());
        }
        let bits = self.rate_of(host)?.bytes_per_second() * 8 * u64::from(self.egress_percent) / 100;
        Ok(format!("[bandwidth.egress]\nlimit = \"{bits}bit/s\"\n"))
    }

    /// How many agents are of a kind.
    pub(super) fn count(&self, kind: Kind) -> usize {
        (1..=usize::from(self.agents)).filter(|agent| self.kind(*agent) == kind).count()
    }

    /// The least seconds for all agents of a kind: for the source to send all once, for one of them to receive it, and for
    /// all who send to send what those receive who are at least as fast.
    pub(super) fn bound(&self, kind: Kind) -> f64 {
        let seconds = self.bytes as f64 / self.rate.bytes_per_second() as f64;
        let (fast, slow) = (self.count(Kind::Fast) as f64, self.count(Kind::Slow) as f64);
        let senders = 1.0 + fast + slow / SLOWER as f64;
        let (receivers, longer) = match kind {
            Kind::Fast => (fast, 1.0),
            Kind::Slow => (fast + slow, SLOWER as f64),
        };
        seconds.max(seconds * longer).max(receivers * seconds / senders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(agents: u8, slow_every: u8) -> Case {
        let rate = "8Mbit/s".parse().unwrap();
        let (queue, congestion) = (Duration::ZERO, Congestion::default());
        Case {
            agents,
            liars: 0,
            bytes: 10_000_000,
            rate,
            slow_every,
            queue,
            congestion,
            datagram: 1452,
            egress_percent: 0,
        }
    }

    #[test]
    fn on_equal_links_the_file_takes_as_long_as_to_one() {
        assert_eq!(case(4, 0).bound(Kind::Fast), 10.0);
        assert_eq!(case(200, 0).bound(Kind::Fast), 10.0);
        assert_eq!(case(200, 0).count(Kind::Slow), 0);
    }

    #[test]
    fn each_kind_has_a_bound_of_its_own() {
        let case = case(8, 4);
        assert_eq!([case.count(Kind::Fast), case.count(Kind::Slow)], [6, 2]);
        assert_eq!([case.bound(Kind::Fast), case.bound(Kind::Slow)], [10.0, 40.0]);
        let rates = [0, 3, 4].map(|host| case.rate_of(host).unwrap().bytes_per_second());
        assert_eq!(rates, [1_000_000, 1_000_000, 250_000]);
    }
}
