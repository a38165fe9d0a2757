//! A node: the roles of one settings file under one certificate.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdcq_config::{Config, ConfigError};
use rdcq_runtime::{
    BandwidthError, BandwidthPlan, CredentialsError, Host, LiveBandwidth, LiveCredentials, Member, Running,
    StartError, watch_credentials,
};
use rdcq_wire::{Identity, Role};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, AdminError, BoundAdmin};
use crate::private_key::{self, ExposedKey};
use crate::reloaded::Reloaded;
use crate::role::{self, BoundRole, Section};

/// A running node; dropping the handle does not stop it.
pub struct Node {
    identity: Identity,
    roles: Vec<Running>,
    admin: Option<Admin>,
    credentials: LiveCredentials,
    bandwidth: LiveBandwidth,
    /// The settings that hold, as far as they can change while it runs.
    config: Mutex<Config>,
    /// Ends what is not a role's.
    stop: CancellationToken,
    grace: Duration,
}

impl Node {
    /// Starts every role that the settings name. All addresses are taken before anything runs, so that a port in use
    /// leaves nothing half started.
    pub async fn start(host: &Host, config: Config) -> Result<Self, NodeError> {
        config.validate()?;
        if !host.env.is_simulated() {
            private_key::check(&config.identity.key)?;
        }
        let plan = BandwidthPlan::of(config.bandwidth.as_ref())?;
        let (live, watch) = watch_credentials(&host.env, &config.identity).await?;
        let credentials = live.current();
        let identity = credentials.identity().clone();
        let mut bound = Vec::new();
        for section in Section::all_of(&config) {
            let role = section.role();
            let data_dir = config.data_dir.join(role.name());
            let member = Member {
                credentials: Arc::clone(&credentials),
                data_dir,
                limits: config.limits.clone(),
                transport: config.transport.clone(),
            };
            let failed = |source| NodeError::Start { role, source };
            bound.push((role, BoundRole::bind(host, member, section).map_err(failed)?));
        }
        if bound.is_empty() {
            return Err(NodeError::NothingToRun);
        }
        let admin = match &config.admin {
            Some(admin) => Some(BoundAdmin::bind(admin.listen).await?),
            None => None,
        };
        let bandwidth = LiveBandwidth::new(&host.env, host.bandwidth.clone(), plan);
        // Starting can take minutes, in which the first roles serve already.
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        host.env.spawn(async move { stopped.run_until_cancelled(watch.run()).await });
        let (stopped, following) = (stop.clone(), bandwidth.clone());
        host.env.spawn(async move { stopped.run_until_cancelled(following.follow()).await });
        let mut roles: Vec<Running> = Vec::new();
        for (role, app) in bound {
            match app.spawn(config.herd.clone()).await {
                Ok(running) => {
                    running.follow(&host.env, &live);
                    roles.push(running);
                }
                Err(source) => {
                    role::drain(roles, Duration::ZERO).await;
                    stop.cancel();
                    return Err(NodeError::Start { role, source });
                }
            }
        }
        let insights = roles.iter().map(|running| running.insight().clone()).collect();
        let admin = admin.map(|bound| bound.serve(identity.herd.clone(), insights, host.bandwidth.clone()));
        let grace = config.limits.drain;
        let config = Mutex::new(config);
        Ok(Self { identity, roles, admin, credentials: live, bandwidth, config, stop, grace })
    }

    /// Who the node is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its roles and where each of them serves.
    pub fn addresses(&self) -> impl Iterator<Item = (Role, SocketAddr)> + '_ {
        self.roles.iter().map(|running| (running.role(), running.addr()))
    }

    /// Where the admin listener answers, if the settings name one.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::addr)
    }

    /// Takes other settings, as far as that is possible while it runs. If it fails, nothing has changed.
    pub fn reload(&self, new: Config) -> Result<Reloaded, NodeError> {
        new.validate()?;
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let (merged, reloaded) = Reloaded::between(&config, new);
        let plan = BandwidthPlan::of(merged.bandwidth.as_ref())?;
        self.bandwidth.set_plan(plan);
        config.bandwidth = merged.bandwidth;
        Ok(reloaded)
    }

    /// Reads certificates, key and revocation lists anew, now rather than within a second.
    pub fn reload_credentials(&self) {
        self.credentials.reload();
    }

    /// Says good-bye, lets running requests end within the settings' `limits.drain`, then stops.
    pub async fn drain(self) {
        self.admin.iter().for_each(Admin::drain);
        role::drain(self.roles, self.grace).await;
        // Who is revoked while requests end is cut off, too.
        self.stop.cancel();
        self.admin.into_iter().for_each(Admin::stop);
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The settings do not make sense together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The settings are a command line's.
    #[error("the settings name no role to run; add [proxy], [origin], [build_index], [tracker] or [agent]")]
    NothingToRun,
    /// What the settings say of bandwidth cannot be kept.
    #[error(transparent)]
    Bandwidth(#[from] BandwidthError),
    /// Others can read the key.
    #[error(transparent)]
    Key(#[from] ExposedKey),
    /// The certificate cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The admin listener does not start.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A role does not start.
    #[error("the {role} does not start: {source}")]
    Start {
        /// Which one.
        role: Role,
        /// Why.
        source: StartError,
    },
}
