//! What happens, in the order of its times.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

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

struct Entry {
    at: Time,
    made: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The greatest is due next: the earliest, and of two at a time the one that was made first.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.made).cmp(&(self.at, self.made))
    }
}

/// What is to happen.
#[derive(Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Entry>,
    made: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Time, happening: Happening) {
        self.made += 1;
        self.entries.push(Entry { at, made: self.made, happening });
    }

    pub(super) fn next(&mut self) -> Option<(Time, Happening)> {
        self.entries.pop().map(|entry| (entry.at, entry.happening))
    }
}
