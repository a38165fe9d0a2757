//! How datagrams fare.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// How datagrams fare. Each is judged by itself, whatever its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// How long a datagram is on its way, one way.
    pub latency: Duration,
    /// What may be added to it: from nothing to all of this, evenly.
    pub jitter: Duration,
    /// How often a datagram is lost.
    pub loss: Odds,
    /// How often a datagram is held back for as long again, so that later ones overtake it.
    pub reorder: Odds,
    /// How often a datagram arrives twice.
    pub duplicate: Odds,
}

impl Conditions {
    /// A good local network: half a millisecond, nothing lost.
    pub const LAN: Self = Self {
        latency: Duration::from_micros(500),
        jitter: Duration::ZERO,
        loss: Odds::NEVER,
        reorder: Odds::NEVER,
        duplicate: Odds::NEVER,
    };

    /// Decides over one datagram: how long each of its copies takes. None means that it is lost.
    pub(super) fn judge(&self, rng: &mut StdRng) -> Copies {
        let first = self.delay(rng);
        let held_back =
            if self.reorder.draw(rng) { self.latency.max(Self::LEAST_HOLD) } else { Duration::ZERO };
        let lost = self.loss.draw(rng);
        let second = self.duplicate.draw(rng).then(|| self.delay(rng));
        if lost { [None, None] } else { [Some(first + held_back), second] }
    }

    fn delay(&self, rng: &mut StdRng) -> Duration {
        self.latency + self.jitter.mul_f64(rng.random())
    }

    /// Tokio's timers tell milliseconds apart, so less would not change the order of anything.
    const LEAST_HOLD: Duration = Duration::from_millis(2);
}

impl Default for Conditions {
    fn default() -> Self {
        Self::LAN
    }
}

/// The delays of a datagram and of its double.
pub(super) type Copies = [Option<Duration>; 2];

/// How often something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Odds {
    per_million: u32,
}

impl Odds {
    /// Never.
    pub const NEVER: Self = Self { per_million: 0 };
    /// Always.
    pub const ALWAYS: Self = Self { per_million: 1_000_000 };

    /// So many times in a thousand; more than a thousand is always.
    pub const fn per_mille(times: u16) -> Self {
        Self::per_million(times as u32 * 1000)
    }

    /// So many times in a million; more than a million is always.
    pub const fn per_million(times: u32) -> Self {
        if times > Self::ALWAYS.per_million { Self::ALWAYS } else { Self { per_million: times } }
    }

    fn draw(self, rng: &mut StdRng) -> bool {
        rng.random_range(0..Self::ALWAYS.per_million) < self.per_million
    }
}
