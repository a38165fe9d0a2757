//! What goes wrong, and with whom.

use std::time::Duration;

use rand::Rng;

/// What goes wrong in a run. Shares are of all agents.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// Agents that restart mid-way, and keep what they have verified.
    pub restarting: f64,
    /// How long a restart takes.
    pub down_for: Duration,
    /// Agents that vanish for good mid-way, without a word.
    pub leaving: f64,
    /// Agents that say that they have everything, take requests and send nothing. They want nothing.
    pub silent: f64,
    /// Agents that say that they have everything and send wrong bytes. They want nothing.
    pub lying: f64,
    /// When all trackers die.
    pub trackers_die_at: Option<Duration>,
    /// When the source restarts, which then no longer knows what it has offered to whom.
    pub source_restarts_at: Option<Duration>,
}

/// What an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Honest,
    Silent,
    Liar,
}

/// What becomes of an honest agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Restarts(Duration),
    Leaves(Duration),
}

/// An odd number without pattern: who is what does not go with who is slow or starts early.
const SCATTERS: u64 = 0x9e37_79b1;

impl Faults {
    /// What an agent is, from 0 on, of so many.
    pub(super) fn manner(&self, agent: u32, agents: u32) -> Manner {
        let place = Self::place(agent, agents);
        let silent = count(self.silent, agents);
        if place < silent {
            Manner::Silent
        } else if place < silent + count(self.lying, agents) {
            Manner::Liar
        } else {
            Manner::Honest
        }
    }

    /// Whether an agent wants the file and serves what it has.
    pub(super) fn is_honest(&self, agent: u32, agents: u32) -> bool {
        self.manner(agent, agents) == Manner::Honest
    }

    /// What becomes of an honest agent in a run of about this length.
    pub(super) fn fate(&self, agent: u32, agents: u32, length: Duration, rng: &mut impl Rng) -> Fate {
        let when = length.mul_f64(rng.random_range(0.1..0.9));
        let last = agents - 1 - Self::place(agent, agents);
        let restarting = count(self.restarting, agents);
        if last < restarting {
            Fate::Restarts(when)
        } else if last < restarting + count(self.leaving, agents) {
            Fate::Leaves(when)
        } else {
            Fate::Stays
        }
    }

    /// Where an agent stands in a fixed shuffle of all.
    fn place(agent: u32, agents: u32) -> u32 {
        let agents = u64::from(agents.max(1));
        // Steps of a number that shares no factor with the count reach every place once.
        let step = (SCATTERS % agents..).find(|step| gcd(*step, agents) == 1).unwrap_or(1);
        (u64::from(agent) * step % agents) as u32
    }
}

/// How many agents a share of all comes to.
fn count(share: f64, agents: u32) -> u32 {
    (share * f64::from(agents)).round() as u32
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn shares_are_exact_and_nobody_is_two_things() {
        let faults =
            Faults { restarting: 0.05, leaving: 0.05, silent: 0.05, lying: 0.1, ..Faults::default() };
        let mut rng = StdRng::seed_from_u64(1);
        let count = |of: &dyn Fn(u32) -> bool| (0..1000).filter(|agent| of(*agent)).count();
        assert_eq!(count(&|agent| faults.manner(agent, 1000) == Manner::Silent), 50);
        assert_eq!(count(&|agent| faults.manner(agent, 1000) == Manner::Liar), 100);
        let second = Duration::from_secs(1);
        let fates: Vec<Fate> = (0..1000).map(|agent| faults.fate(agent, 1000, second, &mut rng)).collect();
        assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Restarts(_))).count(), 50);
        assert_eq!(fates.iter().filter(|fate| matches!(fate, Fate::Leaves(_))).count(), 50);
        let both = |agent: u32| fates[agent as usize] != Fate::Stays && !faults.is_honest(agent, 1000);
        assert_eq!(count(&both), 0);
    }
}
