//! The build-index: maps tags to digests, with versions and tombstones.
//!
//! A name has a history of records. One task writes it ([`tags::Writer`]); a record is in a hash-chained log and in the
//! catalogue, both synced, before anybody hears of it. Questions read the catalogue alone. When a version goes, origins
//! and trackers are told that its content may have lost its last name.

mod service;
mod tags;

use std::net::SocketAddr;
use std::sync::Arc;

use rdcq_config::{BuildIndexConfig, HerdAddresses};
use rdcq_runtime::{Bound, Host, Member, Running, StartError};
use rdcq_transport::DataPorts;
use rdcq_wire::Role;
use tokio_util::sync::CancellationToken;

use crate::service::BuildIndex;
use crate::tags::Tags;

/// A build-index that is bound and not yet running.
pub struct App {
    bound: Bound,
}

impl App {
    /// Takes the address.
    pub fn bind(host: &Host, member: Member, config: BuildIndexConfig) -> Result<Self, StartError> {
        Ok(Self { bound: Bound::bind(host, member, Role::BuildIndex, config.listen, DataPorts::None)? })
    }

    /// The address taken.
    pub fn addr(&self) -> SocketAddr {
        self.bound.addr()
    }

    /// Opens log and catalogue and begins to serve.
    pub async fn spawn(self, herd: HerdAddresses) -> Result<Running, StartError> {
        let env = self.bound.host.env.clone();
        let herd_id = self.bound.member.credentials.identity().herd.clone();
        let data_dir = self.bound.member.data_dir.clone();
        let catalogue = self.bound.host.open_catalogue(&data_dir.join("catalogue"), &herd_id).await?;
        let tags = Tags::open(&env, &data_dir, &herd_id, catalogue).await;
        let tags = tags.map_err(|error| StartError::Other(error.to_string()))?;
        let service = BuildIndex::new(env, self.bound.pool.clone(), tags, herd);
        Ok(self.bound.serve(Arc::new(service), CancellationToken::new()))
    }
}
