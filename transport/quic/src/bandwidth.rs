//! A node's bandwidth while it runs: who moves bytes waits here for its turn.
//!
//! [`Bandwidth`] is one for all endpoints of a node. It holds an arbiter for each direction, which is pure, and does for it what
//! takes a clock and tasks: streams wait in a [`Turn`], a keeper wakes them when something is granted, and an [`Account`] for each
//! connection tells what that really moved, with headers and what was sent twice.
//!
//! While a direction has no limit nobody waits or locks anything in it.

mod account;
mod gate;
mod pace;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use rdcq_bandwidth::Limits;
use rdcq_env::Env;
use rdcq_wire::Class;

pub(crate) use account::{Accounts, Moved};
pub(crate) use gate::{Gate, Turn};
pub(crate) use pace::Pace;

/// A node's bandwidth in both directions. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Bandwidth(Arc<Both>);

struct Both {
    egress: Arc<Gate>,
    ingress: Arc<Gate>,
}

/// Which way bytes go, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To peers.
    Egress,
    /// From peers.
    Ingress,
}

impl Direction {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Egress, Self::Ingress];

    /// Its name in settings and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a node may move in one direction, and what it has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandwidthStats {
    /// What it may.
    pub limits: Limits,
    /// Bytes that each class has moved since the node began: of bodies alone while there was no limit, with all headers while
    /// there was one.
    pub moved: [(Class, u64); Class::ALL.len()],
    /// Streams that wait for their turn now.
    pub waiting: usize,
}

impl Bandwidth {
    /// Keeps these limits, which must be [consistent](Limits::check).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(env: &Env, egress: Limits, ingress: Limits) -> Self {
        Self(Arc::new(Both { egress: Gate::new(env, egress), ingress: Gate::new(env, ingress) }))
    }

    /// Lets everything pass.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn unlimited(env: &Env) -> Self {
        Self::new(env, Limits::default(), Limits::default())
    }

    /// Keeps other limits from now on. What is under way goes on at the new rate, which begins with what the old one had left.
    pub fn set_limits(&self, egress: Limits, ingress: Limits) {
        self.0.egress.set_limits(egress);
        self.0.ingress.set_limits(ingress);
    }

    /// What one direction may move, and has moved.
    pub fn stats(&self, direction: Direction) -> BandwidthStats {
        self.gate(direction).stats()
    }

    /// Whether anybody may have to wait in a direction.
    pub(crate) fn is_limited(&self, direction: Direction) -> bool {
        self.gate(direction).is_limited()
    }

    pub(crate) fn gate(&self, direction: Direction) -> &Arc<Gate> {
        match direction {
            Direction::Egress => &self.0.egress,
            Direction::Ingress => &self.0.ingress,
        }
    }
}

impl fmt::Debug for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = Direction::ALL.map(|direction| self.stats(direction));
        f.debug_struct("Bandwidth").field("egress", &stats[0]).field("ingress", &stats[1]).finish()
    }
}
