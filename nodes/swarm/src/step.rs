//! What was done to a swarm, written down so that it can be done again.

use std::fmt;

use rdcq_wire::{PieceSet, Span};
use serde::{Deserialize, Serialize};

use crate::event::{Action, Event};
use crate::settings::Settings;
use crate::swarm::Swarm;
use crate::time::Time;

/// What a swarm begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its numbers.
    pub settings: Settings,
    /// Bytes of each piece.
    pub lengths: Vec<u32>,
    /// The pieces that are stored already.
    pub have: Vec<Span>,
    /// From where its randomness comes.
    pub seed: u64,
    /// When it begins.
    pub now: Time,
}

/// One call on a swarm that may change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// [`Swarm::handle_event`].
    Event(Time, Event),
    /// [`Swarm::handle_timeout`].
    Timeout(Time),
    /// [`Swarm::poll_action`], and what it returned.
    Action(Option<Action>),
}

/// Another swarm decided otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// What was decided when it was written down.
    pub before: Option<Action>,
    /// What was decided this time.
    pub now: Option<Action>,
}

impl Start {
    /// A swarm that begins so.
    pub fn swarm(self) -> Swarm {
        let mut have =
            PieceSet::empty(u32::try_from(self.lengths.len()).expect("pieces are numbered by 32 bits"));
        self.have.into_iter().for_each(|span| have.insert_span(span));
        Swarm::new(self.settings, self.lengths, have, self.seed, self.now)
    }
}

impl Step {
    /// Does the same to a swarm to which the same was done until then.
    pub fn repeat(self, swarm: &mut Swarm) -> Result<(), Difference> {
        match self {
            Self::Event(at, event) => swarm.handle_event(at, event),
            Self::Timeout(at) => swarm.handle_timeout(at),
            Self::Action(before) => {
                let now = swarm.poll_action();
                if now != before {
                    return Err(Difference { before, now });
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, now } = self;
        write!(f, "it decided {before:?} before, and {now:?} now")
    }
}
