//! A node's sockets, from which it dials and on which it serves: one for control, some for data.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use quinn::VarInt;
use rdcq_env::Env;
use rdcq_wire::message::Hello;
use rdcq_wire::{CloseCode, Identity, List, Role};
use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept;
use crate::activity::Activity;
use crate::admission::{BytesInFlight, PeerSlots};
use crate::attend::{Listed, attend};
use crate::audit::{Audit, Closed, Counters, Why};
use crate::bandwidth::Bandwidth;
use crate::connection::Connection;
use crate::greeting;
use crate::idle;
use crate::limits::DataPorts;
use crate::link::{Common, Link, Side, pick};
use crate::profile;
use crate::server::Server;
use crate::shield::Shield;
use crate::socket::SendFigures;
use crate::stats::{ConnectionStats, EndpointStats};
use crate::stream::{Receiver, Sender, close};
use crate::{ConnectError, Limits, Network, OpenError, PROTOCOL_VERSION, Plane, Service};

/// The name that a client's TLS needs and nobody reads: who a node is stands in its certificate's URI.
const SERVER_NAME: &str = "rdcq";

/// How long a farewell may take to reach a peer. One that is gone without a word must not hold up a drain for its whole
/// grace.
pub(crate) const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections whose peers are judged anew in one turn: a few milliseconds of a core.
const JUDGED_AT_ONCE: usize = 64;

/// How long a close may take to reach the peers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Says whom a peer's certificates name, or why they are not to be believed.
pub type Judge = Arc<dyn Fn(&[CertificateDer<'_>]) -> Result<Identity, String> + Send + Sync>;

/// Who a node is and whom it believes, as data: certificates are no business of the transport.
#[derive(Clone)]
pub struct Security {
    /// Who the node is.
    pub identity: Identity,
    /// How TLS accepts connections; must ask for a certificate of the herd's CA.
    pub server: Arc<rustls::ServerConfig>,
    /// How TLS opens connections; must ask for a certificate of the herd's CA.
    pub client: Arc<rustls::ClientConfig>,
    /// Judges a peer after the handshake, and anew whenever whom the node believes has changed.
    pub judge: Judge,
    /// Puts what TLS says of a failed handshake into words for the audit log.
    pub explain: fn(&str) -> String,
    /// Known to this node alone and the same each time it starts: lets a node that was killed and started again tell
    /// its peers at once that their connections are gone.
    pub reset_secret: [u8; 32],
}

impl Security {
    /// Who is at the other end of a connection whose handshake is done.
    pub(crate) fn peer(&self, connection: &quinn::Connection) -> Result<Identity, String> {
        let shown = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'_>>>().ok());
        let certs = shown.ok_or_else(|| "the peer showed no certificate".to_owned())?;
        (self.judge)(&certs)
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Open connections, by side and in the order in which they were opened.
type Links = BTreeMap<(Side, u64), Arc<Link>>;

/// When a peer was judged: after how many judgements of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged(u64);

/// A node's sockets: one for control, at the address that the herd knows, and some for data, which a peer learns of
/// when it has said Hello. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Endpoint(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) limits: Limits,
    pub(crate) audit: Audit,
    /// What moves over the data connections.
    pub(crate) activity: Arc<Activity>,
    /// What the node may move.
    bandwidth: Bandwidth,
    /// What of replies is being sent.
    pub(crate) replies: BytesInFlight,
    /// Cancelled when the node goes away.
    pub(crate) draining: CancellationToken,
    /// The calls that are being served, and the farewells that are being said.
    pub(crate) calls: TaskTracker,
    /// The first is for control.
    ports: Vec<Port>,
    security: RwLock<Arc<Security>>,
    pub(crate) serving: OnceLock<Serving>,
    links: Mutex<Links>,
    pub(crate) next_link: AtomicU64,
    /// How often all peers were judged.
    judgements: AtomicU64,
    /// Who wants to know of peers that serve.
    pub(crate) host: OnceLock<Weak<dyn Adopt>>,
}

/// One socket.
pub(crate) struct Port {
    pub(crate) plane: Plane,
    /// Runs what belongs to the socket's connections, on the thread that drives it.
    pub(crate) env: Env,
    pub(crate) quic: quinn::Endpoint,
    pub(crate) local: SocketAddr,
    /// Who has how many of the accepted connections.
    peers: Mutex<PeerSlots>,
    pub(crate) counters: Arc<Counters>,
    shield: Arc<Shield>,
    /// What the socket has sent, if it counts that itself.
    figures: Option<Arc<SendFigures>>,
    client: RwLock<quinn::ClientConfig>,
}

/// What is served, and by whom.
pub(crate) struct Serving {
    pub(crate) role: Role,
    /// Kept by those who accept: a service may well have a pool that dials from this endpoint.
    pub(crate) service: Weak<dyn Dispatch>,
}

/// Serves requests one by one.
pub(crate) trait Dispatch: Send + Sync {
    fn handle(
        self: Arc<Self>,
        shared: Arc<Shared>,
        link: Arc<Link>,
        sender: Sender,
        receiver: Receiver,
    ) -> BoxFuture<'static, ()>;
}

/// Makes use of a connection that a serving peer has opened.
pub(crate) trait Adopt: Send + Sync {
    fn adopt(&self, link: &Arc<Link>, serving: Role);
}

impl Endpoint {
    /// Takes an address, and ports for data at the same IP address. Port 0 asks for any free one.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, where the machine's own network has nothing to run on.
    pub fn open(
        env: &Env,
        network: &dyn Network,
        listen: SocketAddr,
        security: Security,
        limits: Limits,
        bandwidth: &Bandwidth,
    ) -> Result<Self, OpenError> {
        limits.check()?;
        let data = match &limits.data_ports {
            DataPorts::None => Vec::new(),
            DataPorts::Any => vec![0; network.data_threads().clamp(1, Hello::MAX_DATA_PORTS)],
            DataPorts::These(ports) => ports.clone(),
        };
        let activity = Arc::new(Activity::new(env.now()));
        let open = |plane, listen| Port::open(env, network, plane, listen, &security, &limits, &activity);
        let mut ports = vec![open(Plane::Control, listen)?];
        let ip = ports[0].local.ip();
        for (number, port) in (0..).zip(data) {
            ports.push(open(Plane::Data(number), SocketAddr::new(ip, port))?);
        }
        let patience = limits.idle_timeout;
        let shared = Arc::new(Shared {
            env: env.clone(),
            audit: Audit::new(env),
            activity,
            bandwidth: bandwidth.clone(),
            replies: BytesInFlight::new(limits.max_reply_bytes),
            limits,
            draining: CancellationToken::new(),
            calls: TaskTracker::new(),
            ports,
            security: RwLock::new(Arc::new(security)),
            serving: OnceLock::new(),
            links: Mutex::default(),
            next_link: AtomicU64::new(0),
            judgements: AtomicU64::new(0),
            host: OnceLock::new(),
        });
        env.spawn(idle::give_up_silent(Arc::downgrade(&shared), patience));
        Ok(Self(shared))
    }

    /// The address that was bound for control.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.control().local
    }

    /// What this endpoint lets its peers use.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.0.security().identity.clone()
    }

    /// How many accepted connections there are.
    pub fn accepted(&self) -> usize {
        self.0.links().range((Side::Accepted, 0)..).count()
    }

    /// What each socket has done, and what it holds now. Looks at every connection, so ask seldom.
    pub fn stats(&self) -> Vec<EndpointStats> {
        // Under one lock, so that a connection is either open or closed.
        let links = self.0.links();
        let closed: Vec<_> = self.0.ports.iter().map(|port| port.counters.of_closed()).collect();
        let open: Vec<_> = links.values().cloned().collect();
        drop(links);
        self.0.ports.iter().zip(closed).map(|(port, closed)| port.stats(&open, closed)).collect()
    }

    /// Opens a control connection to a node of this herd that serves as `expect`, and waits until it is accepted.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        expect: Role,
        deadline: Instant,
    ) -> Result<Connection, ConnectError> {
        self.connect_on(Plane::Control, addr, expect, deadline).await
    }

    pub(crate) async fn connect_on(
        &self,
        plane: Plane,
        addr: SocketAddr,
        expect: Role,
        deadline: Instant,
    ) -> Result<Connection, ConnectError> {
        let connecting = self.0.dial(self.0.port(plane), addr, expect);
        timeout_at(deadline, connecting).await.unwrap_or(Err(ConnectError::TimedOut { addr }))
    }

    /// Serves one role to whoever connects, and to whoever is connected to, until the endpoint closes.
    ///
    /// # Panics
    ///
    /// If called twice: an endpoint serves one role.
    pub fn serve<S: Service>(&self, role: Role, service: Arc<S>) {
        let service: Arc<dyn Dispatch> = Arc::new(Server { serving: role, service });
        let first = self.0.serving.set(Serving { role, service: Arc::downgrade(&service) }).is_ok();
        assert!(first, "the endpoint at {} serves a role already", self.local_addr());
        let security = self.0.security();
        for number in 0..self.0.ports.len() {
            let port = &self.0.ports[number];
            let configured = port.configure(&self.0.env, &security, &self.0.limits, true);
            configured.expect("the same configurations were made when the endpoint was opened");
            port.env.spawn(accept::run(Arc::clone(&self.0), number, Arc::clone(&service)));
        }
    }

    /// Believes and shows other certificates from now on. Connections stay, but for those of peers that are no longer
    /// to be believed, which are closed soon. If it fails, nothing has changed.
    pub fn replace_security(&self, security: Security) -> Result<(), OpenError> {
        let (shared, serves) = (&self.0, self.0.serving.get().is_some());
        // What cannot be made for one socket cannot be made for any.
        shared
            .ports
            .iter()
            .try_for_each(|port| port.configure(&shared.env, &security, &shared.limits, serves))?;
        let security = Arc::new(security);
        *shared.security.write().unwrap_or_else(PoisonError::into_inner) = security;
        let endpoint = self.clone();
        shared.env.spawn(async move { endpoint.judge_again().await });
        Ok(())
    }

    /// Judges every peer anew, and closes the connections of those that are no longer to be believed. Lets others have their
    /// turn in between.
    pub async fn judge_again(&self) {
        // Who is listed after this sees it, and judges for itself.
        self.0.judgements.fetch_add(1, Ordering::SeqCst);
        let security = self.0.security();
        let links: Vec<_> = self.0.links().values().cloned().collect();
        for batch in links.chunks(JUDGED_AT_ONCE) {
            for link in batch {
                self.0.disown_if_refused(&security, link);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Goes away: refuses new connections and requests, tells every peer, waits up to `grace` for the calls that run, and
    /// closes.
    pub async fn drain(&self, grace: Duration) {
        let deadline = self.0.env.now() + grace;
        self.0.draining.cancel();
        let links: Vec<_> = self.0.links().values().cloned().collect();
        for link in links {
            self.0.bid_farewell(link, grace);
        }
        self.0.calls.close();
        if timeout_at(deadline, self.0.calls.wait()).await.is_err() {
            tracing::warn!(
                calls = self.0.calls.len(),
                ?grace,
                "calls still running at the end of the grace are cut off"
            );
        }
        // Short replies are on their way.
        let linger = self.linger().min(deadline.saturating_duration_since(self.0.env.now()));
        tokio::time::sleep(linger).await;
        self.close(CloseCode::ShuttingDown);
        // Peers that do not hear the close notice by their idle timeout.
        let idle = join_all(self.0.ports.iter().map(|port| port.quic.wait_idle()));
        let _ = timeout(CLOSE_TIMEOUT, idle).await;
    }

    /// How long short replies may take to arrive, also if they have to be sent twice.
    fn linger(&self) -> Duration {
        let links = self.0.links();
        links.values().map(|link| link.linger()).max().unwrap_or_default()
    }

    /// Closes every connection and takes no more.
    pub fn close(&self, code: CloseCode) {
        for port in &self.0.ports {
            port.quic.close(VarInt::from_u32(code.number()), code.to_string().as_bytes());
        }
    }

    /// Tells `host` of every peer that has opened a connection and serves at the other end of it.
    pub(crate) fn offer_to(&self, host: Weak<dyn Adopt>) {
        // The first pool of an endpoint is its only one.
        let _ = self.0.host.set(host);
    }

    /// Which of its data sockets this node uses for a peer; none if it has none.
    pub(crate) fn data_plane(&self, peer: &Identity) -> Option<Plane> {
        let own = &self.0.security().identity.node;
        let number = pick(own, &peer.node, self.0.ports.len() - 1)?;
        Some(self.0.ports[number + 1].plane)
    }

    /// The port that this node speaks from.
    pub(crate) fn port_of(&self, plane: Plane) -> u16 {
        self.0.port(plane).local.port()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.local_addr())
            .field("security", &self.0.security())
            .finish_non_exhaustive()
    }
}

impl Port {
    fn open(
        env: &Env,
        network: &dyn Network,
        plane: Plane,
        listen: SocketAddr,
        security: &Security,
        limits: &Limits,
        activity: &Arc<Activity>,
    ) -> Result<Self, OpenError> {
        let client = profile::client(env, plane, security, limits, false)?;
        // Only to see now whether it can be made.
        let counters = Arc::<Counters>::default();
        let shield = Shield::new(env, Arc::clone(activity), Arc::clone(&counters));
        profile::server(env, plane, security, limits, &shield)?;
        let config = profile::endpoint(env, plane, &security.reset_secret, limits)?;
        let bound = network.bind(listen, plane).map_err(|source| OpenError::Bind { addr: listen, source })?;
        let unusable = |source| OpenError::Socket { addr: listen, source };
        let local = bound.socket.local_addr().map_err(unusable)?;
        let socket = shield.behind(bound.socket);
        let quic = quinn::Endpoint::new_with_abstract_socket(config, None, socket, bound.runtime)
            .map_err(unusable)?;
        Ok(Self {
            plane,
            env: bound.tasks.map_or_else(|| env.clone(), |tasks| env.with_tasks_on(tasks)),
            quic,
            local,
            peers: Mutex::new(PeerSlots::new(limits.max_connections, limits.connections_per_node(plane))),
            counters,
            shield,
            figures: bound.figures,
            client: RwLock::new(client),
        })
    }

    pub(crate) fn peers(&self) -> MutexGuard<'_, PeerSlots> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self, links: &[Arc<Link>], closed: Closed) -> EndpointStats {
        let own = links.iter().filter(|link| link.plane == self.plane);
        let connections: Vec<_> = own.map(|link| link.stats()).collect();
        let sum = |of: fn(&ConnectionStats) -> u64| connections.iter().map(of).sum::<u64>();
        let Closed { sent, received, moved, datagrams, batches } = closed;
        let (datagrams_sent, batches_sent) = match &self.figures {
            Some(figures) => (figures.datagrams(), figures.batches()),
            None => (datagrams + sum(|live| live.datagrams_sent), batches + sum(|live| live.batches_sent)),
        };
        EndpointStats {
            plane: self.plane,
            listen: Some(self.local),
            handshakes: self.counters.handshakes.load(Ordering::Relaxed),
            handshakes_failed: self.counters.failed.load(Ordering::Relaxed),
            refused: self.counters.refusals(),
            datagrams_sent,
            batches_sent,
            bytes_sent: sent + sum(|live| live.bytes_sent),
            bytes_received: received + sum(|live| live.bytes_received),
            link_bytes_sent: moved.egress + sum(|live| live.link_bytes_sent),
            link_bytes_received: moved.ingress + sum(|live| live.link_bytes_received),
            connections,
        }
    }

    /// Takes other certificates for connections that are opened from now on.
    fn configure(
        &self,
        env: &Env,
        security: &Security,
        limits: &Limits,
        serves: bool,
    ) -> Result<(), OpenError> {
        let client = profile::client(env, self.plane, security, limits, serves)?;
        let server = profile::server(env, self.plane, security, limits, &self.shield)?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        if serves {
            self.quic.set_server_config(Some(server));
        }
        Ok(())
    }
}

impl Shared {
    fn control(&self) -> &Port {
        &self.ports[0]
    }

    pub(crate) fn port(&self, plane: Plane) -> &Port {
        match plane {
            Plane::Control => self.control(),
            Plane::Data(number) => self.ports.get(usize::from(number) + 1).unwrap_or_else(|| self.control()),
        }
    }

    pub(crate) fn port_at(&self, number: usize) -> &Port {
        &self.ports[number]
    }

    pub(crate) fn security(&self) -> Arc<Security> {
        Arc::clone(&self.security.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node says of itself.
    pub(crate) fn hello(&self) -> Hello {
        let own = self.security().identity.clone();
        let data = self.ports[1..].iter().map(|port| port.local.port());
        Hello {
            herd: own.herd,
            node: own.node,
            roles: own.roles,
            serving: self.serving.get().map(|serving| serving.role),
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
            data_ports: List::first_of(data),
        }
    }

    /// A connection whose handshake is done.
    pub(crate) fn link(&self, port: &Port, quic: quinn::Connection, peer: Identity, side: Side) -> Arc<Link> {
        let serves = self.serving.get().is_some();
        // The same text once, not once a connection.
        let Identity { herd, node: own, .. } = self.security().identity.clone();
        let peer = if peer.herd == herd { Identity { herd, ..peer } } else { peer };
        let common = Common { own, activity: Arc::clone(&self.activity), bandwidth: self.bandwidth.clone() };
        Link::new(&port.env, quic, peer, port.plane, side, serves, common)
    }

    async fn dial(
        self: &Arc<Self>,
        port: &Port,
        addr: SocketAddr,
        expect: Role,
    ) -> Result<Connection, ConnectError> {
        let client = port.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connecting = port
            .quic
            .connect_with(client, addr, SERVER_NAME)
            .map_err(|error| ConnectError::Invalid { addr, why: error.to_string().into() })?;
        let quic = match timeout(self.limits.handshake_timeout, connecting).await {
            Ok(Ok(quic)) => quic,
            Ok(Err(error)) => {
                self.note_failed(port, addr, &error);
                return Err(ConnectError::from_quic(addr, &error));
            }
            Err(_) => return Err(ConnectError::TimedOut { addr }),
        };
        let judged = self.judged();
        let security = self.security();
        let peer = security.peer(&quic).map_err(|why| {
            self.audit.refused(&port.counters, addr, Why::Peer, &why);
            close(&quic, CloseCode::Denied, &why);
            ConnectError::Nameless { addr, why: why.into() }
        })?;
        port.counters.handshakes.fetch_add(1, Ordering::Relaxed);
        let link = self.link(port, quic, peer, Side::Dialled);
        let greeting = async {
            // If it cannot be said, the connection is gone, which is noticed while listening.
            let _ = greeting::introduce(&link, &self.hello()).await;
            greeting::meet(&link, &security.identity, addr, expect).await
        };
        match timeout(self.limits.hello_timeout, greeting).await {
            Ok(Ok(words)) => {
                let listed = Listed::new(Arc::clone(self), &link, judged);
                port.env.spawn(attend(listed, Some(Box::new(words))));
                Ok(Connection::new(link))
            }
            Ok(Err((code, error))) => {
                close(&link.quic, code, &error.to_string());
                Err(error)
            }
            Err(_) => {
                close(&link.quic, CloseCode::NoHello, "no hello in time");
                Err(ConnectError::TimedOut { addr })
            }
        }
    }

    /// Writes down why a handshake failed, if it was about certificates: an address where nobody is, is no refusal.
    fn note_failed(&self, port: &Port, addr: SocketAddr, error: &quinn::ConnectionError) {
        if let quinn::ConnectionError::TransportError(error) = error {
            let reason = (self.security().explain)(&error.reason);
            self.audit.refused(&port.counters, addr, Why::Handshake, &reason);
        }
    }

    /// The connections that this node opened.
    pub(crate) fn dialled(&self) -> BTreeMap<u64, Arc<Link>> {
        let links = self.links();
        let dialled = links.range((Side::Dialled, 0)..=(Side::Dialled, u64::MAX));
        dialled.map(|((_, number), link)| (*number, Arc::clone(link))).collect()
    }

    /// How often all peers were judged so far.
    pub(crate) fn judged(&self) -> Judged {
        Judged(self.judgements.load(Ordering::SeqCst))
    }

    /// Closes the connection of a peer that is not to be believed any more.
    pub(crate) fn disown_if_refused(&self, security: &Security, link: &Link) {
        // One that is closed already is not judged, and written down, once more.
        if link.quic.close_reason().is_some() {
            return;
        }
        if let Err(why) = security.peer(&link.quic) {
            link.retire();
            close(&link.quic, CloseCode::Denied, &why);
            self.audit.closed(&link.peer, link.remote(), &why);
        }
    }

    /// Tells a peer that this node goes away.
    pub(crate) fn bid_farewell(&self, link: Arc<Link>, grace: Duration) {
        let env = link.env.clone();
        let farewell = async move {
            // Who does not hear it in time sees the close.
            let _ = timeout(FAREWELL_TIMEOUT.min(grace), greeting::say_farewell(&link, grace)).await;
        };
        env.spawn(self.calls.track_future(farewell));
    }
}
