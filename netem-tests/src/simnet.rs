//! A network in memory: datagrams are late, lost, doubled and out of order as a seed says, and never twice differently.
//!
//! It takes the place of UDP below real QUIC endpoints. Time is tokio's: under a paused clock on a current-thread runtime an
//! hour of it passes as fast as the work in it is done, and one seed leads to one course of events. [`SimNet::trace`] is the
//! proof: a hash of everything that was ever sent. What an endpoint adds of its own must follow from the seed, too: the
//! generators of its randomness and its connection IDs, and certificates of one length (Ed25519).
//!
//! Latency counts in nanoseconds, but tokio wakes a sleeper at full milliseconds; what arrives within one is handed over at
//! its end, in the order of arrival.

mod conditions;
mod socket;
mod state;
mod trace;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use quinn::TokioRuntime;
use rdcq_transport::{Binding, Network, Plane};
use tokio::time::Instant;

pub use conditions::{Conditions, Odds};
pub use trace::{Event, Fate, Trace};

use socket::{SimRuntime, SimSocket};
use state::State;

/// The network. A clone is the same network.
#[derive(Clone)]
pub struct SimNet {
    state: Arc<Mutex<State>>,
}

impl SimNet {
    /// A network on which nothing is bound. Its course of events follows from `seed`.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed, conditions))) }
    }

    /// The network as one machine sees it: wherever its endpoints bind, they bind at `ip`.
    pub fn host(&self, ip: IpAddr) -> SimHost {
        SimHost { net: self.clone(), ip }
    }

    /// Changes how datagrams fare that are sent from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().conditions = conditions;
    }

    /// Cuts a machine off from all others. What is on its way still arrives.
    pub fn partition(&self, ip: IpAddr) {
        self.lock().partitioned.insert(ip);
    }

    /// Lets a machine reach the others again.
    pub fn heal(&self, ip: IpAddr) {
        self.lock().partitioned.remove(&ip);
    }

    /// Ends a machine's endpoints as `kill -9` does: the tasks that drive them end where they stand, nothing is sent any
    /// more, and their addresses are free. Tasks that others started on the machine's behalf are theirs to abort.
    pub fn crash(&self, ip: IpAddr) {
        // Aborting drops what a task holds, sockets included, so the lock must be free by then.
        let tasks = self.lock().unbind_all(ip);
        tasks.into_iter().for_each(|task| task.abort());
    }

    /// What has happened so far.
    pub fn trace(&self) -> Trace {
        self.lock().tracer.trace()
    }

    /// The latest events, oldest first: what a failed test should print.
    pub fn recent(&self) -> Vec<Event> {
        self.lock().tracer.recent()
    }

    fn bind_at(&self, addr: SocketAddr) -> io::Result<Binding> {
        let bound = self.lock().bind(addr, Instant::now())?;
        let runtime = SimRuntime { net: self.clone(), ip: bound.addr.ip(), inner: TokioRuntime };
        Ok(Binding {
            socket: Arc::new(SimSocket::new(self.clone(), bound)),
            runtime: Arc::new(runtime),
            figures: None,
            tasks: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }
}

impl Network for SimNet {
    /// An unspecified address asks for a machine of one's own, 10.0.0.1 and on; port 0 for the lowest one free from
    /// 49,152 on.
    fn bind(&self, addr: SocketAddr, _: Plane) -> io::Result<Binding> {
        self.bind_at(addr)
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("trace", &self.trace()).finish_non_exhaustive()
    }
}

/// The network as one machine sees it.
#[derive(Debug, Clone)]
pub struct SimHost {
    net: SimNet,
    ip: IpAddr,
}

impl Network for SimHost {
    /// The machine's own address and an unspecified one both mean the machine; any other is refused.
    fn bind(&self, addr: SocketAddr, _: Plane) -> io::Result<Binding> {
        if addr.ip() != self.ip && !addr.ip().is_unspecified() {
            let why = format!("{} is not an address of {}", addr.ip(), self.ip);
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
        }
        self.net.bind_at(SocketAddr::new(self.ip, addr.port()))
    }
}
