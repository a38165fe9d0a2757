//! What happens, in the order of its times.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use rdcq_swarm::{Failure, RequestId, Time};
use rdcq_wire::Span;

use super::links::Job;

/// Something that happens. What is meant for an agent that has restarted since names the `life` for which it is.
#[derive(Debug)]
pub(super) enum Happening {
    /// The tracker has answered.
    Named {
        agent: u32,
        life: u16,
    },
    Asked {
        by: u32,
        life: u16,
        of: u32,
        request: RequestId,
        span: Span,
    },
    Cancelled {
        by: u32,
        life: u16,
        of: u32,
        request: RequestId,
    },
    Refused {
        by: u32,
        to: u32,
        life: u16,
        request: RequestId,
        failure: Failure,
    },
    /// A link up has sent a piece.
    Sent {
        by: u32,
        life: u16,
    },
    /// Bytes of a piece come in.
    Comes {
        job: Job,
        until: Time,
    },
    Arrived {
        by: u32,
        by_life: u16,
        job: Job,
    },
    /// What an agent has reaches those who listen to it.
    Told {
        by: u32,
        life: u16,
        told: Box<[u32]>,
        spans: Box<[Span]>,
    },
    /// The same, for one that has only begun to listen.
    ToldTo {
        to: u32,
        by: u32,
        spans: Box<[Span]>,
    },
    Tells {
        agent: u32,
        life: u16,
    },
    Due {
        agent: u32,
        life: u16,
    },
    SourceDue,
    SourceRestarts,
    /// The source is found again.
    SourceReturns {
        to: u32,
        life: u16,
    },
    /// The source hears what comes to an agent from others.
    Declined {
        by: u32,
        life: u16,
        spans: Box<[Span]>,
    },
    /// A connection is seen to be over.
    Closed {
        at: u32,
        life: u16,
        of: u32,
    },
    Dies {
        agent: u32,
    },
    Returns {
        agent: u32,
    },
}

/// Something that is due at a time, in nanoseconds, before which so many things were added.
struct Entry {
    at: u64,
    made: u64,
    happening: Happening,
}

impl Entry {
    const fn order(&self) -> (u64, u64) {
        (self.at, self.made)
    }
}

/// The logarithm of a slot's length in nanoseconds. Large swarms have hundreds of things happen in as many microseconds.
const SLOT: u32 = 13;

/// What is to happen. Large swarms have hundreds of thousands of things ahead: only those of the current slot of time are in
/// order, others wait in the slots of theirs.
#[derive(Default)]
pub(super) struct Agenda {
    /// The current slot's, the latest first.
    current: Vec<Entry>,
    slot: u64,
    later: BTreeMap<u64, Vec<Entry>>,
    /// What slots that are over have left.
    spare: Vec<Vec<Entry>>,
    made: u64,
}

impl Agenda {
    /// Nothing is added before what has happened.
    pub(super) fn add(&mut self, at: Time, happening: Happening) {
        self.made += 1;
        let at = at.0.as_nanos() as u64;
        let entry = Entry { at, made: self.made, happening };
        if at >> SLOT <= self.slot {
            let place = self.current.partition_point(|other| other.order() > entry.order());
            self.current.insert(place, entry);
        } else {
            let spare = &mut self.spare;
            self.later.entry(at >> SLOT).or_insert_with(|| spare.pop().unwrap_or_default()).push(entry);
        }
    }

    /// The earliest, and of two at a time the one that was added first.
    pub(super) fn next(&mut self) -> Option<(Time, Happening)> {
        if self.current.is_empty() {
            let (slot, mut entries) = self.later.pop_first()?;
            entries.sort_unstable_by_key(|entry| Reverse(entry.order()));
            self.slot = slot;
            self.spare.push(std::mem::replace(&mut self.current, entries));
        }
        let Entry { at, happening, .. } = self.current.pop()?;
        Some((Time(Duration::from_nanos(at)), happening))
    }
}
