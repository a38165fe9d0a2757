//! A swarm of thousands of agents: the agents' own scheduler, over links that are queues of bytes, under virtual time.
//!
//! Nothing but [`rdcq_swarm`] is the real thing here: connections, handshakes and headers are numbers of [`Setting`]. A
//! run is a function of its setting and seed.

mod agent;
mod faults;
mod happening;
mod invariants;
mod links;
mod outcome;
mod run;
mod setting;
mod unread;

pub use faults::Faults;
pub use invariants::{check, small};
pub use outcome::Outcome;
pub use run::run;
pub use setting::{Origin, Setting};
