//! The five roles behind one face.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use rdcq_config::{
    AgentConfig, BuildIndexConfig, Config, HerdAddresses, OriginConfig, ProxyConfig, TrackerConfig,
};
use rdcq_runtime::{Host, Member, Running, StartError};
use rdcq_wire::Role;
use tokio::time::Instant;

/// The settings of one role.
pub(crate) enum Section {
    Proxy(ProxyConfig),
    Origin(OriginConfig),
    BuildIndex(BuildIndexConfig),
    Tracker(TrackerConfig),
    Agent(AgentConfig),
}

impl Section {
    /// The roles that the settings name, in the order of [`Role::ALL`].
    pub(crate) fn all_of(config: &Config) -> Vec<Self> {
        let sections = [
            config.proxy.clone().map(Self::Proxy),
            config.origin.clone().map(Self::Origin),
            config.build_index.clone().map(Self::BuildIndex),
            config.tracker.clone().map(Self::Tracker),
            config.agent.clone().map(Self::Agent),
        ];
        sections.into_iter().flatten().collect()
    }

    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::Proxy(_) => Role::Proxy,
            Self::Origin(_) => Role::Origin,
            Self::BuildIndex(_) => Role::BuildIndex,
            Self::Tracker(_) => Role::Tracker,
            Self::Agent(_) => Role::Agent,
        }
    }
}

/// A role whose address is taken and of which nothing runs yet.
pub(crate) enum BoundRole {
    Proxy(rdcq_proxy::App),
    Origin(rdcq_origin::App),
    BuildIndex(rdcq_build_index::App),
    Tracker(rdcq_tracker::App),
    Agent(rdcq_agent::App),
}

impl BoundRole {
    pub(crate) fn bind(host: &Host, member: Member, section: Section) -> Result<Self, StartError> {
        Ok(match section {
            Section::Proxy(config) => Self::Proxy(rdcq_proxy::App::bind(host, member, config)?),
            Section::Origin(config) => Self::Origin(rdcq_origin::App::bind(host, member, config)?),
            Section::BuildIndex(config) => {
                Self::BuildIndex(rdcq_build_index::App::bind(host, member, config)?)
            }
            Section::Tracker(config) => Self::Tracker(rdcq_tracker::App::bind(host, member, config)?),
            Section::Agent(config) => Self::Agent(rdcq_agent::App::bind(host, member, config)?),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::Proxy(app) => app.addr(),
            Self::Origin(app) => app.addr(),
            Self::BuildIndex(app) => app.addr(),
            Self::Tracker(app) => app.addr(),
            Self::Agent(app) => app.addr(),
        }
    }

    pub(crate) async fn spawn(self, herd: HerdAddresses) -> Result<Running, StartError> {
        match self {
            Self::Proxy(app) => app.spawn(herd).await,
            Self::Origin(app) => app.spawn(herd).await,
            Self::BuildIndex(app) => app.spawn(herd).await,
            Self::Tracker(app) => app.spawn(herd).await,
            Self::Agent(app) => app.spawn(herd).await,
        }
    }
}

/// Stops roles within `grace`: those that callers speak to first, so that what they have under way still finds the
/// others.
pub(crate) async fn drain(roles: Vec<Running>, grace: Duration) {
    let end = Instant::now() + grace;
    let is_front = |running: &Running| matches!(running.role(), Role::Proxy | Role::Agent);
    let (fronts, backs): (Vec<_>, Vec<_>) = roles.into_iter().partition(is_front);
    join_all(fronts.into_iter().map(|running| running.drain(grace))).await;
    let rest = end.saturating_duration_since(Instant::now());
    join_all(backs.into_iter().map(|running| running.drain(rest))).await;
}
