//! The agent: one on every host. It pulls through the swarm, verifies, serves other agents, and gives its host's
//! clients the bytes to deliver.
//!
//! However many ask for one content at once, it is downloaded once ([`downloads`]); of many contents some begin at once, in the same
//! order on every host ([`turns`]); what is verified is served at once,
//! also while the rest is still coming; what is whole is announced to the tracker until it is dropped ([`seeder`]); and
//! its file is lent to clients, open, from the first piece on ([`loans`]).
//! Connections to the servers stay open meanwhile ([`warm`]).

mod downloads;
mod loans;
mod seeder;
mod service;
mod turns;
mod warm;

use std::net::SocketAddr;
use std::sync::Arc;

use rdcq_config::{AgentConfig, HerdAddresses};
use rdcq_runtime::{
    Bound, Collector, Host, Leases, Member, Running, StartError, Uploads, data_ports, repeat,
};
use rdcq_store::ContentStore;
use rdcq_wire::Role;
use tokio_util::sync::CancellationToken;

use crate::downloads::Downloads;
use crate::loans::Loans;
use crate::seeder::Seeder;
use crate::service::Agent;

/// An agent that is bound and not yet running.
pub struct App {
    bound: Bound,
    config: AgentConfig,
}

impl App {
    /// Takes the address.
    pub fn bind(host: &Host, member: Member, config: AgentConfig) -> Result<Self, StartError> {
        let bound = Bound::bind(host, member, Role::Agent, config.listen, data_ports(&config.data_ports))?;
        Ok(Self { bound, config })
    }

    /// The address taken.
    pub fn addr(&self) -> SocketAddr {
        self.bound.addr()
    }

    /// Opens the store and begins to serve.
    pub async fn spawn(self, herd: HerdAddresses) -> Result<Running, StartError> {
        if herd.build_indexes.is_empty() {
            return Err(StartError::Herd { role: Role::Agent, needed: Role::BuildIndex });
        }
        let Self { bound, config } = self;
        let env = bound.host.env.clone();
        let identity = bound.member.credentials.identity().clone();
        let data_dir = &bound.member.data_dir;
        let catalogue = bound.host.open_catalogue(&data_dir.join("catalogue"), &identity.herd).await?;
        let store =
            ContentStore::open(env.clone(), data_dir.join("content"), identity.herd, catalogue).await?;
        let leases = Leases::new(env.clone());
        let pool = bound.pool.clone();
        let port = bound.addr().port();
        let seeder = Seeder::new(env.clone(), pool.clone(), store.clone(), herd.trackers.clone(), port);
        let build_indexes = herd.build_indexes.clone();
        let collector =
            Collector::new(env.clone(), pool.clone(), store.clone(), leases.clone(), build_indexes);
        let stop = CancellationToken::new();
        seeder.run(&stop);
        let loans = Loans::open(&env, &store, &stop);
        let sweeper = (collector.clone(), seeder.clone());
        repeat(&env, &stop, config.sweep, move || {
            let (collector, seeder) = sweeper.clone();
            async move { seeder.leave(collector.sweep().await).await }
        });
        let downloads = Downloads::new(env.clone(), pool.clone(), store.clone(), &herd, identity.node, port);
        let uploads = Uploads::new(env.clone());
        let agent = Agent { env, pool, store, uploads, leases, loans, collector, seeder, downloads, herd };
        let agent = Arc::new(agent);
        let moving = Arc::downgrade(&agent);
        let running = bound.serve(Arc::clone(&agent), stop.clone());
        // Not before this node can be asked on them, too.
        warm::keep(&agent.env, &agent.pool, &agent.herd, &stop);
        let transfers = move || moving.upgrade().map(|agent| agent.downloads.transfers()).unwrap_or_default();
        running.insight().show_transfers(Box::new(transfers));
        Ok(running)
    }
}
