//! Simulated, loopback and namespace tests of whole herds.
//!
//! [`SimNet`] is the network of the simulated ring: real QUIC endpoints exchange datagrams in memory, under virtual time.
//! [`World`] is a herd on it whose nodes can be killed, lose their power and lie. The tests themselves are in `tests/`.
//! [`sim`] has the scheduler of thousands of agents run over links that are mere queues.

pub mod sim;
pub mod simnet;
pub mod world;

pub use simnet::{Conditions, Odds, SimHost, SimNet, Trace};
pub use world::{Client, World};
