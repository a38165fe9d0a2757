//! Who is bound where, and what is on its way to them. Decides, and touches nothing outside itself but wakers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Waker;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::conditions::Conditions;
use super::trace::{Fate, Tracer};

pub(super) struct State {
    pub(super) conditions: Conditions,
    pub(super) partitioned: BTreeSet<IpAddr>,
    pub(super) tracer: Tracer,
    rng: StdRng,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    tasks: BTreeMap<IpAddr, Vec<AbortHandle>>,
    next: Sequence,
}

/// Numbers datagrams and sockets in the order in which they came to be.
type Sequence = u64;

/// An address, and which of all that ever bound it is meant: a socket that outlives its machine's crash is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) addr: SocketAddr,
    id: Sequence,
}

/// What arrives at one socket.
pub(super) struct Inbox {
    id: Sequence,
    coming: BTreeMap<(Instant, Sequence), Datagram>,
    arrived: VecDeque<Datagram>,
    reader: Option<Waker>,
}

/// A datagram on its way.
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) contents: Vec<u8>,
}

impl State {
    pub(super) fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            partitioned: BTreeSet::new(),
            tracer: Tracer::new(),
            rng: StdRng::seed_from_u64(seed),
            inboxes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn bind(&mut self, addr: SocketAddr, now: Instant) -> io::Result<Bound> {
        self.tracer.start(now);
        let ip = if addr.ip().is_unspecified() { self.free_ip()? } else { addr.ip() };
        let port = if addr.port() == 0 { self.free_port(ip)? } else { addr.port() };
        let addr = SocketAddr::new(ip, port);
        if self.inboxes.contains_key(&addr) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{addr} is in use")));
        }
        let id = self.number();
        let inbox = Inbox { id, coming: BTreeMap::new(), arrived: VecDeque::new(), reader: None };
        self.inboxes.insert(addr, inbox);
        Ok(Bound { addr, id })
    }

    /// Frees the address, unless it is another's by now, and gives up what was on its way.
    pub(super) fn unbind(&mut self, bound: Bound) -> Option<Inbox> {
        self.inbox(bound)?;
        self.inboxes.remove(&bound.addr)
    }

    /// Frees all addresses of a machine and gives up the tasks that its endpoints started.
    pub(super) fn unbind_all(&mut self, ip: IpAddr) -> Vec<AbortHandle> {
        self.inboxes.retain(|addr, _| addr.ip() != ip);
        self.tasks.remove(&ip).unwrap_or_default()
    }

    /// Remembers a task of a machine's endpoint.
    pub(super) fn add_task(&mut self, ip: IpAddr, task: AbortHandle) {
        let tasks = self.tasks.entry(ip).or_default();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Sends one datagram on its way and says who is to be woken for it.
    pub(super) fn send(
        &mut self,
        bound: Bound,
        to: SocketAddr,
        contents: &[u8],
        now: Instant,
    ) -> Option<Waker> {
        let from = bound.addr;
        // A machine that has crashed sends nothing: there is no event.
        self.inbox(bound)?;
        if let Some(fate) = self.refusal(from, to, contents.len()) {
            self.tracer.record(now, from, to, contents.len(), fate);
            return None;
        }
        let [first, double] = self.conditions.judge(&mut self.rng);
        let fate = first.map_or(Fate::Lost, Fate::Sent);
        self.tracer.record(now, from, to, contents.len(), fate);
        let earliest_before = self.inboxes.get(&to)?.earliest();
        for delay in [first, double].into_iter().flatten() {
            let key = (now + delay, self.number());
            let datagram = Datagram { from, contents: contents.to_vec() };
            self.inboxes.get_mut(&to)?.coming.insert(key, datagram);
        }
        if let Some(delay) = double {
            self.tracer.record(now, from, to, contents.len(), Fate::Doubled(delay));
        }
        let inbox = self.inboxes.get(&to)?;
        // Whoever reads sleeps until the earliest arrival: only an earlier one concerns them.
        let earlier = inbox.earliest() != earliest_before;
        inbox.reader.clone().filter(|_| earlier)
    }

    /// Takes the next datagram that has arrived. `None`: nothing yet.
    pub(super) fn receive(&mut self, bound: Bound, now: Instant) -> Option<Datagram> {
        let inbox = self.inboxes.get_mut(&bound.addr).filter(|inbox| inbox.id == bound.id)?;
        while let Some(entry) = inbox.coming.first_entry().filter(|entry| entry.key().0 <= now) {
            let datagram = entry.remove();
            if inbox.arrived.len() < MAX_ARRIVED {
                inbox.arrived.push_back(datagram);
            } else {
                let len = datagram.contents.len();
                self.tracer.record(now, datagram.from, bound.addr, len, Fate::Overrun);
            }
        }
        inbox.arrived.pop_front()
    }

    /// Notes who reads, and says when the next datagram arrives for them.
    pub(super) fn wait(&mut self, bound: Bound, reader: &Waker) -> Option<Instant> {
        let inbox = self.inboxes.get_mut(&bound.addr).filter(|inbox| inbox.id == bound.id)?;
        inbox.reader = Some(reader.clone());
        inbox.earliest()
    }

    /// Why a datagram goes nowhere, if that is certain before it is sent.
    fn refusal(&self, from: SocketAddr, to: SocketAddr, len: usize) -> Option<Fate> {
        let cut_off = |ip| from.ip() != to.ip() && self.partitioned.contains(&ip);
        if len > MAX_DATAGRAM {
            Some(Fate::TooLong)
        } else if cut_off(from.ip()) || cut_off(to.ip()) {
            Some(Fate::Partitioned)
        } else if !self.inboxes.contains_key(&to) {
            Some(Fate::Unreachable)
        } else {
            None
        }
    }

    fn inbox(&self, bound: Bound) -> Option<&Inbox> {
        self.inboxes.get(&bound.addr).filter(|inbox| inbox.id == bound.id)
    }

    fn free_ip(&self) -> io::Result<IpAddr> {
        let taken = |ip| self.inboxes.keys().any(|addr| addr.ip() == ip);
        let mut hosts = (1..=u16::MAX).map(|host| {
            let [high, low] = host.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
        });
        hosts.find(|ip| !taken(*ip)).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn free_port(&self, ip: IpAddr) -> io::Result<u16> {
        let taken = |port| self.inboxes.contains_key(&SocketAddr::new(ip, port));
        (FIRST_FREE_PORT..=u16::MAX)
            .find(|port| !taken(*port))
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn number(&mut self) -> Sequence {
        self.next += 1;
        self.next
    }
}

impl Inbox {
    fn earliest(&self) -> Option<Instant> {
        self.coming.first_key_value().map(|((due, _), _)| *due)
    }
}

/// The longest datagram carried, in bytes: an Ethernet frame's 1,500 less the headers of IPv4 and UDP.
const MAX_DATAGRAM: usize = 1472;
/// Datagrams that may wait to be read: the 4 MiB that a real socket asks for, in the longest of them.
const MAX_ARRIVED: usize = 4 * 1024 * 1024 / MAX_DATAGRAM;
/// Where the ports begin that nobody asks for by number (RFC 6335, section 6).
const FIRST_FREE_PORT: u16 = 49_152;
