//! Binding, running and stopping a role.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rdcq_certs::Credentials;
use rdcq_config::{Limits, Transport};
use rdcq_env::Env;
use rdcq_store::{CatalogueError, StoreError};
use rdcq_transport::{Congestion, DataPorts, Endpoint, OpenError, Pool, Service};
use rdcq_wire::{Identity, Role};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::common::Common;
use crate::status::Ends;
use crate::{Host, Insight, InsightSource, LiveCredentials, security};

/// Who a role runs as, and where it keeps its files.
#[derive(Clone)]
pub struct Member {
    /// The node's credentials.
    pub credentials: Arc<Credentials>,
    /// The folder that is the role's alone.
    pub data_dir: PathBuf,
    /// How much it takes on.
    pub limits: Limits,
    /// How its connections are set up.
    pub transport: Transport,
}

/// A role whose address is taken and of which nothing runs yet.
pub struct Bound {
    /// What it stands on.
    pub host: Host,
    /// Who it runs as.
    pub member: Member,
    /// Its endpoint, for serving and for asking.
    pub endpoint: Endpoint,
    /// Its connections to others.
    pub pool: Pool,
    role: Role,
}

impl Bound {
    /// Takes the addresses. The certificate must carry the role.
    pub fn bind(
        host: &Host,
        member: Member,
        role: Role,
        listen: SocketAddr,
        data_ports: DataPorts,
    ) -> Result<Self, StartError> {
        let identity = member.credentials.identity();
        if !identity.roles.contains(role) {
            return Err(StartError::Role { role, identity: identity.clone() });
        }
        let limits = transport_limits(&member, data_ports);
        let security = security(&member.credentials);
        let endpoint =
            Endpoint::open(&host.env, host.network.as_ref(), listen, security, limits, &host.bandwidth)
                .map_err(|source| StartError::Open { listen, source })?;
        let pool = Pool::new(host.env.clone(), endpoint.clone());
        Ok(Self { host: host.clone(), member, endpoint, pool, role })
    }

    /// The address taken.
    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// Begins to serve, and to answer what every role does. `stop` ends the role's background work.
    pub fn serve<S: Service>(self, service: Arc<S>, stop: CancellationToken) -> Running {
        let source = source(&self.endpoint);
        let Host { env, bandwidth, .. } = &self.host;
        let insight = Insight::new(env, &self.endpoint.identity(), self.role, source, bandwidth);
        let service = Common::new(service, insight.clone(), self.host.reloads.clone());
        self.endpoint.serve(self.role, Arc::new(service));
        tracing::info!(role = %self.role, addr = %self.addr(), "serving");
        Running { role: self.role, endpoint: self.endpoint, insight, stop, drained: CancellationToken::new() }
    }
}

/// What the role's endpoints tell of themselves.
fn source(endpoint: &Endpoint) -> InsightSource {
    let endpoint = endpoint.clone();
    Arc::new(move || endpoint.stats())
}

/// What the settings say of a role's endpoint.
fn transport_limits(member: &Member, data_ports: DataPorts) -> rdcq_transport::Limits {
    let Member { limits, transport, .. } = member;
    rdcq_transport::Limits {
        max_connections: limits.max_connections as usize,
        max_connections_per_node: limits.max_connections_per_node as usize,
        max_datagram: transport.max_datagram,
        congestion: match transport.congestion {
            rdcq_config::Congestion::TolerantCubic => Congestion::TolerantCubic,
            rdcq_config::Congestion::Cubic => Congestion::Cubic,
            rdcq_config::Congestion::NewReno => Congestion::NewReno,
            rdcq_config::Congestion::Bbr => Congestion::Bbr,
        },
        data_ports,
        ..rdcq_transport::Limits::default()
    }
}

/// The ports that a role's section names; any that are free if it names none.
pub fn data_ports(named: &[u16]) -> DataPorts {
    if named.is_empty() { DataPorts::Any } else { DataPorts::These(named.to_vec()) }
}

/// How often peers are judged anew, as the certificate of one may have ended: a hundred milliseconds of a core for ten
/// thousand of them.
const JUDGE_AGAIN: Duration = Duration::from_secs(300);

/// How often the clock is looked at, by which lists end.
const LOOK: Duration = Duration::from_secs(10);

/// A role that runs; dropping the handle does not stop it.
pub struct Running {
    role: Role,
    endpoint: Endpoint,
    insight: Insight,
    stop: CancellationToken,
    /// Ends what goes on while requests end.
    drained: CancellationToken,
}

impl Running {
    /// Which role it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Where it serves.
    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// What it tells of itself.
    pub const fn insight(&self) -> &Insight {
        &self.insight
    }

    /// Shows and believes the certificates that are in force, from now on and until the role has drained: what was
    /// revoked since it was bound is found, and so is what is revoked while the last requests end. Peers that are no
    /// longer to be believed lose their connections.
    pub fn follow(&self, env: &Env, credentials: &LiveCredentials) {
        let (endpoint, role, drained) = (self.endpoint.clone(), self.role, self.drained.clone());
        let mut changes = credentials.subscribe();
        let (clock, insight) = (env.clone(), self.insight.clone());
        let following = async move {
            loop {
                changes.see();
                let credentials = changes.get();
                insight.note_ends(Ends {
                    certificate_unix_s: credentials.not_after_unix_s(),
                    lists_unix_s: credentials.lists_end_unix_s(),
                });
                if let Err(error) = endpoint.replace_security(security(&credentials)) {
                    tracing::error!(%role, %error, "the new certificates are not shown; the old ones still are");
                }
                // What ends while nothing changes is found by looking again.
                let mut judged = Judged::now(&clock);
                loop {
                    let ends = credentials.lists_end_unix_s();
                    match tokio::time::timeout(judged.wait(ends, &clock), changes.changed()).await {
                        Ok(Ok(())) => break,
                        Ok(Err(_)) => return,
                        Err(_) if judged.is_outdated(ends, &clock) => {
                            // Who is judged first may still be believed when the lists end.
                            judged = Judged::now(&clock);
                            endpoint.judge_again().await;
                        }
                        Err(_) => {}
                    }
                }
            }
        };
        env.spawn(async move {
            tokio::select! {
                biased;
                () = drained.cancelled() => {}
                () = following => {}
            }
        });
    }

    /// Says good-bye, lets running requests end within `grace`, then stops.
    pub async fn drain(self, grace: Duration) {
        self.stop.cancel();
        self.endpoint.drain(grace).await;
        self.drained.cancel();
        tracing::info!(role = %self.role, "stopped");
    }
}

/// When peers began to be judged.
#[derive(Debug, Clone, Copy)]
struct Judged {
    at: Instant,
    unix_ms: u64,
}

impl Judged {
    fn now(env: &Env) -> Self {
        Self { at: env.now(), unix_ms: env.unix_ms() }
    }

    /// How long until it may be time to judge again. The clock by which lists end may be set meanwhile, so it is looked at.
    fn wait(self, lists_end_unix_s: Option<u64>, env: &Env) -> Duration {
        let left_ms = lists_end_unix_s.and_then(|end| end.saturating_mul(1000).checked_sub(env.unix_ms()));
        // Not a moment before the end.
        left_ms.map_or(LOOK, |left| LOOK.min(Duration::from_millis(left.saturating_add(1))))
    }

    /// Whether the lists have ended since, which say who is revoked, or the certificate of a peer may have.
    fn is_outdated(self, lists_end_unix_s: Option<u64>, env: &Env) -> bool {
        let lasted = |end: u64| self.unix_ms < end.saturating_mul(1000);
        let ended = |end: u64| end.saturating_mul(1000) <= env.unix_ms();
        lists_end_unix_s.is_some_and(|end| lasted(end) && ended(end))
            || env.now().saturating_duration_since(self.at) >= JUDGE_AGAIN
    }
}

/// Repeats a piece of background work until the role stops: at once, then with `pause` between the end of one round
/// and the start of the next.
pub fn repeat<F, W>(env: &Env, stop: &CancellationToken, pause: Duration, mut work: W)
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let stop = stop.clone();
    env.spawn(async move {
        let rounds = async {
            loop {
                work().await;
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = rounds => {}
        }
    });
}

/// Why a role does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate does not carry the role.
    #[error("the certificate is for {identity}, which is no {role}; issue one with the role")]
    Role {
        /// The role to run.
        role: Role,
        /// Whom the certificate names.
        identity: Identity,
    },
    /// The address cannot be taken.
    #[error("{source}")]
    Open {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: OpenError,
    },
    /// The content store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalogue does not open.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The herd has too few servers for the role.
    #[error("{role} needs at least one {needed}; name it under [herd]")]
    Herd {
        /// The role to run.
        role: Role,
        /// What it needs.
        needed: Role,
    },
    /// Something of the role's own.
    #[error("{0}")]
    Other(String),
}

#[cfg(test)]
mod tests;
