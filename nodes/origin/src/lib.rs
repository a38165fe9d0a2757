//! The origin: owns content, stores it durably, seeds the swarm.
//!
//! A push ends here: the origin takes the pieces that it lacks, reads the whole back against its digest, and says that
//! it is sealed only when bytes and directory entry are synced. Content that is being pushed is pinned; content that no
//! live version names is dropped.

mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use rdcq_config::{HerdAddresses, OriginConfig};
use rdcq_runtime::{Bound, Collector, Host, Leases, Member, Running, StartError, data_ports, repeat};
use rdcq_store::ContentStore;
use rdcq_wire::Role;
use tokio_util::sync::CancellationToken;

use crate::service::Origin;

/// The holder of the pins that an origin takes on everything when it starts: pushes that were under way may go on.
const STARTING: u64 = 0;

/// An origin that is bound and not yet running.
pub struct App {
    bound: Bound,
    config: OriginConfig,
}

impl App {
    /// Takes the address.
    pub fn bind(host: &Host, member: Member, config: OriginConfig) -> Result<Self, StartError> {
        let bound = Bound::bind(host, member, Role::Origin, config.listen, data_ports(&config.data_ports))?;
        Ok(Self { bound, config })
    }

    /// The address taken.
    pub fn addr(&self) -> SocketAddr {
        self.bound.addr()
    }

    /// Opens the store and begins to serve.
    pub async fn spawn(self, herd: HerdAddresses) -> Result<Running, StartError> {
        if herd.build_indexes.is_empty() {
            return Err(StartError::Herd { role: Role::Origin, needed: Role::BuildIndex });
        }
        let Self { bound, config } = self;
        let env = bound.host.env.clone();
        let herd_id = bound.member.credentials.identity().herd.clone();
        let data_dir = &bound.member.data_dir;
        let catalogue = bound.host.open_catalogue(&data_dir.join("catalogue"), &herd_id).await?;
        let store = ContentStore::open(env.clone(), data_dir.join("content"), herd_id, catalogue).await?;
        let leases = Leases::new(env.clone());
        // Sealed content, too: its push may be about to write the tag.
        for digest in [store.digests(), store.partial_digests()].concat() {
            leases.pin(digest, STARTING, config.push_lease).await;
        }
        let pool = bound.pool.clone();
        let collector = Collector::new(env.clone(), pool, store.clone(), leases.clone(), herd.build_indexes);
        let stop = CancellationToken::new();
        let sweeper = collector.clone();
        repeat(&env, &stop, config.sweep, move || {
            let sweeper = sweeper.clone();
            async move {
                sweeper.sweep().await;
            }
        });
        let origin = Origin::new(env, store, leases, collector, config.push_lease);
        Ok(bound.serve(Arc::new(origin), stop))
    }
}
