//! The proxy: the front door for pushes.
//!
//! It checks who may push what, passes the bytes on to the origin that will own them, a span at a time, and commits the
//! tag only when the origin has the content whole and durable. It keeps no state: after a restart a push goes on through
//! it, or through another.

mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use rdcq_config::{HerdAddresses, ProxyConfig};
use rdcq_runtime::{Bound, Host, Member, Running, StartError, data_ports};
use rdcq_wire::Role;
use tokio_util::sync::CancellationToken;

use crate::service::Proxy;

/// A proxy that is bound and not yet running.
pub struct App {
    bound: Bound,
}

impl App {
    /// Takes the address.
    pub fn bind(host: &Host, member: Member, config: ProxyConfig) -> Result<Self, StartError> {
        let ports = data_ports(&config.data_ports);
        Ok(Self { bound: Bound::bind(host, member, Role::Proxy, config.listen, ports)? })
    }

    /// The address taken.
    pub fn addr(&self) -> SocketAddr {
        self.bound.addr()
    }

    /// Begins to serve.
    pub async fn spawn(self, herd: HerdAddresses) -> Result<Running, StartError> {
        let first = |addrs: &[SocketAddr], needed| {
            addrs.first().copied().ok_or(StartError::Herd { role: Role::Proxy, needed })
        };
        let origin = first(&herd.origins, Role::Origin)?;
        let build_index = first(&herd.build_indexes, Role::BuildIndex)?;
        let proxy = Proxy::new(self.bound.pool.clone(), origin, build_index);
        Ok(self.bound.serve(Arc::new(proxy), CancellationToken::new()))
    }
}
