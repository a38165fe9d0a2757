//! A swarm of thousands of agents: the agents' own scheduler, over links that are queues of bytes, under virtual time.
//!
//! Nothing but [`rdcq_swarm::Swarm`] is the real thing here: connections, handshakes and headers are numbers of [`Setting`]. A run is a
//! function of its setting and seed.

mod links;
mod run;
mod setting;

pub use run::{Outcome, run};
pub use setting::Setting;
