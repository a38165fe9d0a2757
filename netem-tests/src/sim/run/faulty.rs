//! Agents that die and return.

use std::time::Duration;

use rdcq_swarm::{Event, PeerId};

use super::{SOURCE, World};
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
        self.unread.forget(number);
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

    /// The source restarts at once, and everybody turns to it anew.
    pub(super) fn restart_source(&mut self) {
        self.spread = Self::spread(self.setting, &self.lengths);
        self.uplinks[SOURCE as usize].forget();
        let back = self.setting.latency * (1 + 2 * self.setting.setup);
        for to in 1..=self.setting.agents {
            let agent = self.agent(to);
            if !agent.is_up || agent.swarm.is_none() {
                continue;
            }
            let life = agent.life;
            self.after(self.setting.latency, Happening::Closed { at: to, life, of: SOURCE });
            self.after(back, Happening::SourceReturns { to, life });
        }
    }

    pub(super) fn return_source(&mut self, to: u32, life: u16) {
        if self.alive(to, life).is_some_and(|agent| agent.done.is_none()) {
            self.join_source(to);
        }
    }

    pub(super) fn closed(&mut self, at: u32, life: u16, of: u32) {
        let Some(agent) = self.alive(at, life) else { return };
        agent.forget(of);
        self.tell_swarm(at, Event::PeerLeft { peer: PeerId(of) });
        if self.is_seeking(at) {
            self.ask_soon(at);
        }
    }

    fn is_seeking(&mut self, number: u32) -> bool {
        let agent = self.agent(number);
        agent.manner == Manner::Honest && agent.swarm.is_some() && agent.done.is_none()
    }
}
