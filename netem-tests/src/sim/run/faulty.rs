//! Agents that die and return.

use std::time::Duration;

use rdcq_swarm::{Event, PeerId};

use super::World;
use crate::sim::faults::{Fate, Manner};
use crate::sim::happening::Happening;

/// After how long a connection to one that vanished without a word is seen to be over.
const VANISHED: Duration = Duration::from_secs(3);

impl World<'_> {
    /// Whether the run waits for an agent.
    pub(super) fn is_awaited(&mut self, number: u32) -> bool {
        let agent = self.agent(number);
        agent.manner == Manner::Honest && !matches!(agent.fate, Fate::Leaves(_))
    }

    pub(super) fn die(&mut self, number: u32) {
        let agent = self.agent(number);
        let mut others = std::mem::take(&mut agent.hears);
        others.append(&mut agent.watchers);
        others.sort_unstable();
        others.dedup();
        agent.die();
        let fate = agent.fate;
        self.uplinks[number as usize].clear();
        let seen_after = match fate {
            // Its host says that the connection is no more.
            Fate::Restarts(_) => self.setting.latency,
            Fate::Leaves(_) | Fate::Stays => VANISHED,
        };
        for other in others {
            let life = self.agent(other).life;
            self.after(seen_after, Happening::Closed { at: other, life, of: number });
        }
        self.spread.left(PeerId(number));
        if let Fate::Restarts(_) = fate {
            self.outcome.restarted += 1;
            self.after(self.setting.faults.down_for, Happening::Returns { agent: number });
        } else {
            self.outcome.left += 1;
        }
    }

    pub(super) fn return_to_life(&mut self, number: u32) {
        let agent = self.agent(number);
        agent.is_up = true;
        let life = agent.life;
        if agent.done.is_none() {
            self.after(
                self.setting.latency * 2 * self.setting.setup,
                Happening::Named { agent: number, life },
            );
        }
    }

    pub(super) fn closed(&mut self, at: u32, life: u16, of: u32) {
        let Some(agent) = self.alive(at, life) else { return };
        agent.forget(of);
        self.tell_swarm(at, Event::PeerLeft { peer: PeerId(of) });
    }
}
