//! What happened: a hash of all of it, and the latest events in words.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rdcq_wire::{Digest, Hasher};
use tokio::time::Instant;

/// Two runs with the same trace took the same course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Over every event: when, from where, to where, how long, and what became of it.
    pub hash: Digest,
    /// Datagrams sent.
    pub datagrams: u64,
    /// How many of them, doubles included, came to nothing.
    pub dropped: u64,
    /// Virtual time from the first bind to the last event.
    pub virtual_time: Duration,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hash, datagrams, dropped, virtual_time } = self;
        write!(f, "{datagrams} datagrams, {dropped} dropped, in {virtual_time:?}: {hash:?}")
    }
}

/// What became of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Virtual time since the first bind.
    pub at: Duration,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Its length in bytes.
    pub len: usize,
    /// What became of it.
    pub fate: Fate,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, from, to, len, fate } = self;
        write!(f, "{:>12.6} {from} -> {to} {len} bytes, {fate:?}", at.as_secs_f64())
    }
}

/// What may become of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It will arrive after this long.
    Sent(Duration),
    /// Its double will arrive after this long.
    Doubled(Duration),
    /// It was lost.
    Lost,
    /// Its sender or receiver is cut off.
    Partitioned,
    /// Nobody is bound where it goes.
    Unreachable,
    /// It is longer than the network carries.
    TooLong,
    /// It arrived where too many waited to be read already.
    Overrun,
}

impl Fate {
    /// The fate as a number and how long it takes; part of every hash.
    const fn code(self) -> (u8, Duration) {
        match self {
            Self::Sent(delay) => (0, delay),
            Self::Doubled(delay) => (1, delay),
            Self::Lost => (2, Duration::ZERO),
            Self::Partitioned => (3, Duration::ZERO),
            Self::Unreachable => (4, Duration::ZERO),
            Self::TooLong => (5, Duration::ZERO),
            Self::Overrun => (6, Duration::ZERO),
        }
    }
}

/// Keeps the trace.
pub(super) struct Tracer {
    start: Option<Instant>,
    hasher: Hasher,
    datagrams: u64,
    dropped: u64,
    virtual_time: Duration,
    recent: VecDeque<Event>,
}

impl Tracer {
    pub(super) fn new() -> Self {
        Self {
            start: None,
            hasher: Hasher::default(),
            datagrams: 0,
            dropped: 0,
            virtual_time: Duration::ZERO,
            recent: VecDeque::with_capacity(MAX_RECENT),
        }
    }

    /// Virtual time runs from the first call on.
    pub(super) fn start(&mut self, now: Instant) {
        self.start.get_or_insert(now);
    }

    pub(super) fn record(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, len: usize, fate: Fate) {
        let at = now.duration_since(self.start.unwrap_or(now));
        match fate {
            Fate::Sent(_) => self.datagrams += 1,
            Fate::Doubled(_) => {}
            // It was counted as a datagram when it was sent.
            Fate::Overrun => self.dropped += 1,
            Fate::Lost | Fate::Partitioned | Fate::Unreachable | Fate::TooLong => {
                self.datagrams += 1;
                self.dropped += 1;
            }
        }
        self.virtual_time = at;
        self.fold(&Event { at, from, to, len, fate });
    }

    pub(super) fn trace(&self) -> Trace {
        Trace {
            hash: self.hasher.clone().finish(),
            datagrams: self.datagrams,
            dropped: self.dropped,
            virtual_time: self.virtual_time,
        }
    }

    pub(super) fn recent(&self) -> Vec<Event> {
        self.recent.iter().copied().collect()
    }

    fn fold(&mut self, event: &Event) {
        let (code, delay) = event.fate.code();
        let mut bytes = Vec::with_capacity(EVENT_BYTES);
        bytes.extend(event.at.as_nanos().to_be_bytes());
        for addr in [event.from, event.to] {
            bytes.extend(mapped(addr.ip()));
            bytes.extend(addr.port().to_be_bytes());
        }
        bytes.extend((event.len as u64).to_be_bytes());
        bytes.push(code);
        bytes.extend(delay.as_nanos().to_be_bytes());
        debug_assert_eq!(bytes.len(), EVENT_BYTES);
        self.hasher.update(&bytes);
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(*event);
    }
}

fn mapped(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Events kept in words: some screens full.
const MAX_RECENT: usize = 200;
/// An event's bytes in the hash: two times, two addresses with ports, a length, a fate.
const EVENT_BYTES: usize = 2 * 16 + 2 * 18 + 8 + 1;
