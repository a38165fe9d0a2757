//! Simulated, loopback and namespace tests of whole herds.
//!
//! [`SimNet`] is the network of the simulated ring: real QUIC endpoints exchange datagrams in memory, under virtual time.
//! The tests themselves are in `tests/`.

pub mod simnet;

pub use simnet::{Conditions, Odds, SimHost, SimNet, Trace};
