//! The numbers of the scheduler.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How patient a swarm is and how much it asks for at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A peer that owes bytes and sends none for this long is given up.
    pub silence: Duration,
    /// How long a peer that was given up rests before it may be asked again, should nobody else have what it has.
    pub give_up_for: Duration,
    /// How long the origins watch pieces wait for agents whose windows are full before they help out.
    pub origin_patience: Duration,
    /// With at most this many pieces missing, all of them in flight, an overdue one is asked from a second peer.
    pub end_game_pieces: u32,
    /// What is in flight from an origin while no agent can be asked.
    pub origin_alone: WindowSettings,
    /// What is in flight from an origin while agents can be asked.
    pub origin_shared: WindowSettings,
    /// What is in flight from an agent.
    pub agent: WindowSettings,
    /// What is in flight from all agents together, without what is overdue.
    pub all_agents: WindowSettings,
}

/// How much is in flight from one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSettings {
    /// The least, in bytes.
    pub min_bytes: u64,
    /// The least, in pieces of mean length; two, so that one is on its way while the next is asked for.
    pub min_pieces: u32,
    /// The most, in bytes.
    pub max_bytes: u64,
    /// The longest span of one request, in bytes; always at least one piece.
    pub span_bytes: u64,
    /// How many spans fit a window at least: while one comes, the next are on their way.
    pub spans: u64,
    /// The time for which the peer should have work waiting, beyond what keeps its link filled.
    pub queue: Duration,
}

impl WindowSettings {
    /// The same for a blob whose pieces have this length.
    pub(crate) fn of_blob(self, piece: u64) -> Self {
        let least = u64::from(self.min_pieces) * piece;
        Self { min_bytes: self.min_bytes.max(least), ..self }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(1),
            give_up_for: Duration::from_secs(3),
            origin_patience: Duration::from_millis(300),
            end_game_pieces: 32,
            // One agent alone must fill 1 Gbit/s over 100 ms, which is 12 MiB.
            origin_alone: WindowSettings {
                min_bytes: MIB,
                min_pieces: 2,
                max_bytes: 16 * MIB,
                span_bytes: MIB,
                spans: 4,
                queue: Duration::from_millis(200),
            },
            // What one agent has in flight from the origin no other agent knows of, and may ask for too: short. Half as
            // long, and two agents leave a tenth of the origin's uplink idle.
            origin_shared: WindowSettings {
                min_bytes: 32 * KIB,
                min_pieces: 2,
                max_bytes: MIB,
                span_bytes: 64 * KIB,
                spans: 1,
                queue: Duration::from_millis(5),
            },
            agent: WindowSettings {
                min_bytes: 64 * KIB,
                min_pieces: 2,
                max_bytes: 8 * MIB,
                span_bytes: 256 * KIB,
                spans: 1,
                queue: Duration::from_millis(10),
            },
            all_agents: WindowSettings {
                min_bytes: 64 * KIB,
                min_pieces: 12,
                max_bytes: 32 * MIB,
                span_bytes: 256 * KIB,
                spans: 1,
                queue: Duration::from_millis(20),
            },
        }
    }
}
