//! A whole herd in one process.

mod seat;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdcq_certs::{Authority, AuthorityError, Credentials, CredentialsError, system_time};
use rdcq_client::{OperationError, Session};
use rdcq_config::HerdAddresses;
use rdcq_runtime::{Host, Insight, Member, Running, StartError};
use rdcq_wire::{Identity, NodeId, Role};

use crate::role::{self, BoundRole};

pub use seat::{HerdPlan, Seat};

/// What the node in a seat is given.
#[derive(Clone)]
pub struct Place {
    /// Clock, disk and network.
    pub host: Host,
    /// Where it accepts connections.
    pub listen: SocketAddr,
    /// The folder that is its alone.
    pub data_dir: PathBuf,
    /// Who it is; the certificate must carry the seat's role.
    pub credentials: Arc<Credentials>,
}

/// A running herd; dropping the handle does not stop it.
pub struct Herd {
    plan: HerdPlan,
    addresses: HerdAddresses,
    agents: Vec<SocketAddr>,
    members: Vec<(Seat, Running)>,
}

impl Herd {
    /// Starts a node in every seat of the plan. All addresses are taken before anything runs, since each node is told
    /// those of the servers.
    pub async fn start<E: From<HerdError>>(
        plan: HerdPlan,
        mut place: impl FnMut(Seat) -> Result<Place, E>,
    ) -> Result<Self, E> {
        let mut bound = Vec::new();
        for seat in plan.seats() {
            bound.push((seat, bind(&plan, seat, place(seat)?)?));
        }
        let at = |role| bound.iter().filter(move |(seat, _)| seat.role == role).map(|(_, app)| app.addr());
        let addresses = HerdAddresses {
            proxies: at(Role::Proxy).collect(),
            origins: at(Role::Origin).collect(),
            build_indexes: at(Role::BuildIndex).collect(),
            trackers: at(Role::Tracker).collect(),
        };
        let agents = at(Role::Agent).collect();
        let mut herd = Self { plan, addresses, agents, members: Vec::new() };
        for (seat, app) in bound {
            match app.spawn(herd.addresses.clone()).await {
                Ok(running) => herd.members.push((seat, running)),
                Err(source) => {
                    herd.drain(Duration::ZERO).await;
                    return Err(HerdError::Start { seat, source }.into());
                }
            }
        }
        Ok(herd)
    }

    /// Starts a herd on loopback, each node on a free port and in a folder of its own under `folder`, with certificates
    /// made on the spot.
    pub async fn start_here(
        host: &Host,
        folder: &Path,
        authority: &Authority,
        plan: HerdPlan,
    ) -> Result<Self, HerdError> {
        Self::start(plan, |seat| {
            let identity =
                Identity { herd: authority.herd().clone(), node: seat.node(), roles: seat.role.into() };
            Ok(Place {
                host: host.clone(),
                listen: LOOPBACK,
                data_dir: folder.join(seat.to_string()),
                credentials: Arc::new(issue(authority, &identity, host.env.unix_ms())?),
            })
        })
        .await
    }

    /// Where the servers are.
    pub const fn addresses(&self) -> &HerdAddresses {
        &self.addresses
    }

    /// Where the agents are, the first one's address first.
    pub fn agents(&self) -> &[SocketAddr] {
        &self.agents
    }

    /// What the nodes tell of themselves.
    pub fn insights(&self) -> Vec<Insight> {
        self.members.iter().map(|(_, running)| running.insight().clone()).collect()
    }

    /// Opens a session for a caller with these credentials, whose agent is the `agent`th, from 1.
    pub fn session(
        &self,
        host: &Host,
        credentials: &Credentials,
        agent: usize,
    ) -> Result<Session, OperationError> {
        let agent = agent.checked_sub(1).and_then(|index| self.agents.get(index)).copied();
        Session::open(host, credentials, self.addresses.clone(), agent)
    }

    /// Takes a node out of the herd, to be stopped alone.
    pub fn take(&mut self, seat: Seat) -> Option<Running> {
        let index = self.members.iter().position(|(other, _)| *other == seat)?;
        Some(self.members.remove(index).1)
    }

    /// Starts a node again that was taken out. The others know it by its old address, which the place must name.
    pub async fn restart(&mut self, seat: Seat, place: Place) -> Result<(), HerdError> {
        let app = self.bind_again(seat, place).await?;
        let failed = |source| HerdError::Start { seat, source };
        let running = app.spawn(self.addresses.clone()).await.map_err(failed)?;
        self.members.push((seat, running));
        Ok(())
    }

    /// Takes an address that a node has just left: its socket is closed by a task of its own, soon after the node.
    async fn bind_again(&self, seat: Seat, place: Place) -> Result<BoundRole, HerdError> {
        for _ in 0..ADDRESS_TRIES {
            match bind(&self.plan, seat, place.clone()) {
                Err(HerdError::Start { source: StartError::Open { .. }, .. }) => {
                    tokio::time::sleep(ADDRESS_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        bind(&self.plan, seat, place)
    }

    /// Says good-bye, lets running requests end within `grace`, then stops.
    pub async fn drain(self, grace: Duration) {
        role::drain(self.members.into_iter().map(|(_, running)| running).collect(), grace).await;
    }
}

/// How often an address is tried that may still be taken, and how long after the last time.
const ADDRESS_TRIES: u32 = 200;
const ADDRESS_PAUSE: Duration = Duration::from_millis(10);

/// Any free port of this machine that no other machine can reach.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Credentials made on the spot, for who does not outlive this process.
pub fn issue(authority: &Authority, identity: &Identity, now_unix_ms: u64) -> Result<Credentials, HerdError> {
    let issued = authority.issue(identity, now_unix_ms)?;
    let credentials =
        Credentials::from_pem(authority.cert_pem(), &issued.cert_pem, &issued.key_pem, system_time());
    credentials.map_err(|source| HerdError::Credentials { node: identity.node.clone(), source })
}

fn bind(plan: &HerdPlan, seat: Seat, place: Place) -> Result<BoundRole, HerdError> {
    let Place { host, listen, data_dir, credentials } = place;
    let (limits, transport) = (plan.limits.clone(), plan.transport.clone());
    let member = Member { credentials, data_dir, limits, transport };
    let section = plan.section(seat.role, listen).ok_or(HerdError::NoSuchSeat(seat))?;
    BoundRole::bind(&host, member, section).map_err(|source| HerdError::Start { seat, source })
}

/// Why a herd does not start.
#[derive(Debug, thiserror::Error)]
pub enum HerdError {
    /// A role that no node runs.
    #[error("nobody can sit in seat {0}: its role is a caller's")]
    NoSuchSeat(Seat),
    /// A certificate could not be made.
    #[error(transparent)]
    Issue(#[from] AuthorityError),
    /// A certificate cannot be used.
    #[error("the certificate of {node} cannot be used: {source}")]
    Credentials {
        /// Whose.
        node: NodeId,
        /// Why.
        source: CredentialsError,
    },
    /// A node does not start.
    #[error("{seat} does not start: {source}")]
    Start {
        /// Which one.
        seat: Seat,
        /// Why.
        source: StartError,
    },
}

#[cfg(test)]
mod tests {
    use rdcq_certs::KeyKind;
    use rdcq_client::pull::{self, Pull};
    use rdcq_client::push::{self, Push};
    use rdcq_wire::{Name, TagQuery};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn credentials(authority: &Authority, host: &Host, node: &str, role: Role) -> Credentials {
        let identity =
            Identity { herd: authority.herd().clone(), node: node.parse().unwrap(), roles: role.into() };
        issue(authority, &identity, host.env.unix_ms()).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_taken_out_of_a_herd_and_put_back_serves_again_what_it_had() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::system();
        let authority =
            Authority::generate("test".parse().unwrap(), KeyKind::P256, host.env.unix_ms()).unwrap();
        let nodes = folder.path().join("nodes");
        let plan = HerdPlan::with_agents(1);
        let mut herd = Herd::start_here(&host, &nodes, &authority, plan).await.unwrap();
        let session = herd.session(&host, &credentials(&authority, &host, "h", Role::Client), 1).unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "content").unwrap();
        let name = Name::conventional("h".parse().unwrap(), "/", "file").unwrap();
        let order = Push::new(path, name.clone(), None, PATIENCE);
        push::push(&session, &order, &|_| ()).await.unwrap();

        let origin = Seat::new(Role::Origin, 1);
        let listen = herd.addresses().origins[0];
        herd.take(origin).unwrap().drain(Duration::ZERO).await;
        assert!(herd.take(origin).is_none());
        let credentials = Arc::new(credentials(&authority, &host, "origin-1", Role::Origin));
        let place = Place { host: host.clone(), listen, data_dir: nodes.join("origin-1"), credentials };
        herd.restart(origin, place).await.unwrap();

        let query = TagQuery { key: name.key, version: None };
        let order = Pull::new(query, folder.path().join("pulled"), PATIENCE);
        let pulled = pull::pull(&session, &order, &|_| ()).await.unwrap();
        assert_eq!(std::fs::read(pulled.target).unwrap(), b"content");
        session.close();
        herd.drain(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn a_seat_without_its_role_in_the_certificate_starts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::system();
        let authority =
            Authority::generate("test".parse().unwrap(), KeyKind::P256, host.env.unix_ms()).unwrap();
        let started = Herd::start(HerdPlan::with_agents(1), |seat| {
            let credentials = Arc::new(credentials(&authority, &host, "n", Role::Agent));
            let data_dir = folder.path().join(seat.to_string());
            Ok::<_, HerdError>(Place { host: host.clone(), listen: LOOPBACK, data_dir, credentials })
        });
        let error = started.await.err().unwrap();
        assert!(matches!(error, HerdError::Start { seat, .. } if seat.role == Role::Origin), "{error}");
    }
}
