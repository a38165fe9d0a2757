//! What agents were told and have not looked at.

use rdcq_swarm::{PeerId, Time};
use rdcq_wire::Span;

/// Words of what others have, by the agent to which they came, as long as nothing would follow from them: each comes to some twenty agents,
/// and what a scheduler knows lies about in memory that no cache holds for thousands of them.
pub(super) struct Unread {
    matters_from: Vec<Time>,
    words: Vec<Vec<(PeerId, Span)>>,
}

impl Unread {
    pub(super) fn new(agents: u32) -> Self {
        let agents = agents as usize;
        Self { matters_from: vec![Time::default(); agents], words: vec![Vec::new(); agents] }
    }

    /// From when on an agent looks at each word as it comes.
    pub(super) fn matters(&mut self, agent: u32, from: Time) {
        self.matters_from[agent as usize - 1] = from;
    }

    /// Puts a word aside, unless the agent would look at it.
    pub(super) fn puts_aside(&mut self, agent: u32, now: Time, by: u32, spans: &[Span]) -> bool {
        let aside = now < self.matters_from[agent as usize - 1];
        if aside {
            self.words[agent as usize - 1].extend(spans.iter().map(|span| (PeerId(by), *span)));
        }
        aside
    }

    /// What an agent has not looked at, from the first to the last.
    pub(super) fn of(&mut self, agent: u32) -> &mut Vec<(PeerId, Span)> {
        &mut self.words[agent as usize - 1]
    }

    /// An agent has nobody who would look at anything.
    pub(super) fn forget(&mut self, agent: u32) {
        self.words[agent as usize - 1] = Vec::new();
        self.matters(agent, Time::default());
    }
}
