//! What happens, in the order of its times.

use std::cmp::Reverse;
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

/// When something is due, how many were added before it, and where it is kept.
type Entry = Reverse<(Time, u64, u32)>;

/// What is to happen. Large swarms have hundreds of thousands of things ahead: what is moved about to keep them in order is small.
#[derive(Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Entry>,
    happenings: Vec<Option<Happening>>,
    free: Vec<u32>,
    made: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Time, happening: Happening) {
        self.made += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.happenings.push(None);
            self.happenings.len() as u32 - 1
        });
        self.happenings[place as usize] = Some(happening);
        self.entries.push(Reverse((at, self.made, place)));
    }

    /// The earliest, and of two at a time the one that was added first.
    pub(super) fn next(&mut self) -> Option<(Time, Happening)> {
        let Reverse((at, _, place)) = self.entries.pop()?;
        self.free.push(place);
        self.happenings[place as usize].take().map(|happening| (at, happening))
    }
}
