//! The tracker: knows which agent has or seeks what, and hands out neighbours.
//!
//! Its state is soft: agents say again and again what they seek, each content by itself, and what they have whole, hundreds of contents
//! at once; what is not repeated is forgotten. A tracker that restarts knows everything again after a third of that time.

mod registry;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use rdcq_config::{HerdAddresses, TrackerConfig};
use rdcq_runtime::{Bound, Host, Member, Running, StartError};
use rdcq_transport::DataPorts;
use rdcq_wire::Role;
use tokio_util::sync::CancellationToken;

use crate::registry::Registry;
use crate::service::Tracker;

/// A tracker that is bound and not yet running.
pub struct App {
    bound: Bound,
    config: TrackerConfig,
}

impl App {
    /// Takes the address.
    pub fn bind(host: &Host, member: Member, config: TrackerConfig) -> Result<Self, StartError> {
        let bound = Bound::bind(host, member, Role::Tracker, config.listen, DataPorts::None)?;
        Ok(Self { bound, config })
    }

    /// The address taken.
    pub fn addr(&self) -> SocketAddr {
        self.bound.addr()
    }

    /// Begins to serve.
    pub async fn spawn(self, herd: HerdAddresses) -> Result<Running, StartError> {
        if herd.origins.is_empty() {
            return Err(StartError::Herd { role: Role::Tracker, needed: Role::Origin });
        }
        let env = self.bound.host.env.clone();
        let registry = Registry::new(self.config.peer_ttl);
        let tracker = Tracker::new(env, self.bound.pool.clone(), registry, herd.origins);
        Ok(self.bound.serve(Arc::new(tracker), CancellationToken::new()))
    }
}
