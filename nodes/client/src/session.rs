//! One identity's connections to one herd.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rdcq_certs::Credentials;
use rdcq_config::HerdAddresses;
use rdcq_env::Env;
use rdcq_runtime::{Host, security};
use rdcq_transport::{Answer, Endpoint, Limits, Pool, Scope};
use rdcq_wire::{Class, CloseCode, ErrorCode, Identity, Request, Role};

use crate::OperationError;

/// One identity's connections to one herd. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(crate) env: Env,
    pub(crate) pool: Pool,
    endpoint: Endpoint,
    identity: Identity,
    herd: HerdAddresses,
    agent: Option<SocketAddr>,
    pub(crate) trace: u64,
    class: Class,
}

impl Session {
    /// How long a server may take to answer a small question.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

    /// Opens a session; nobody is called yet.
    pub fn open(
        host: &Host,
        credentials: &Credentials,
        herd: HerdAddresses,
        agent: Option<SocketAddr>,
    ) -> Result<Self, OperationError> {
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let security = security(credentials);
        let limits = Limits::default();
        let endpoint =
            Endpoint::open(&host.env, host.network.as_ref(), any, security, limits, &host.bandwidth)
                .map_err(|error| OperationError::new(ErrorCode::Internal, error.to_string()))?;
        Ok(Self {
            env: host.env.clone(),
            pool: Pool::new(host.env.clone(), endpoint.clone()),
            endpoint,
            identity: credentials.identity().clone(),
            herd,
            agent,
            trace: host.env.random_u64(),
            class: Class::default(),
        })
    }

    /// The same session, pulling through another agent.
    pub fn with_agent(&self, agent: SocketAddr) -> Self {
        Self { agent: Some(agent), ..self.clone() }
    }

    /// The same session, whose pushes and pulls are of another class.
    pub fn with_class(&self, class: Class) -> Self {
        Self { class, ..self.clone() }
    }

    /// Who this session speaks as.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The servers that the settings name, and this host's agent.
    pub fn servers(&self) -> Vec<(Role, SocketAddr)> {
        let HerdAddresses { proxies, origins, build_indexes, trackers } = &self.herd;
        let lists = [
            (Role::Proxy, proxies.as_slice()),
            (Role::Origin, origins),
            (Role::BuildIndex, build_indexes),
            (Role::Tracker, trackers),
            (Role::Agent, self.agent.as_slice()),
        ];
        lists.into_iter().flat_map(|(role, list)| list.iter().map(move |addr| (role, *addr))).collect()
    }

    /// Ends all connections.
    pub fn close(&self) {
        self.endpoint.close(CloseCode::Done);
    }

    /// What every call of this session carries, with a deadline `patience` from now.
    pub(crate) fn scope(&self, patience: Duration) -> Scope {
        Scope { trace: self.trace, deadline: self.env.now() + patience, class: self.class }
    }

    /// Where a role serves; the first of them.
    pub(crate) fn addr(&self, role: Role) -> Result<SocketAddr, OperationError> {
        let known = match role {
            Role::Proxy => self.herd.proxies.first(),
            Role::Origin => self.herd.origins.first(),
            Role::BuildIndex => self.herd.build_indexes.first(),
            Role::Tracker => self.herd.trackers.first(),
            Role::Agent => self.agent.as_ref(),
            Role::Controller | Role::Client | Role::Operator => None,
        };
        known.copied().ok_or_else(|| {
            let text = format!("the settings name no {role}; add its address under [herd] or [client]");
            OperationError::new(ErrorCode::Unavailable, text)
        })
    }

    /// Asks a role of the herd.
    pub(crate) async fn ask<R: Request>(
        &self,
        role: Role,
        patience: Duration,
        request: &R,
        body: Vec<Bytes>,
    ) -> Result<Answer<R::Reply>, OperationError> {
        let addr = self.addr(role)?;
        let call = self.pool.call(addr, role, self.scope(patience), request, body);
        call.await.map_err(|error| OperationError::of_call(role.name(), error))
    }
}
