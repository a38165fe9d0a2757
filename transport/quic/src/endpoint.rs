//! One socket, from which a node dials and on which it serves.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::VarInt;
use rdcq_env::Env;
use rdcq_wire::message::{Drain, Hello, Reason};
use rdcq_wire::{CloseCode, Context, Identity, Message, ResetCode, Role, frame};
use rustls_pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::Server;
use crate::stream::{Head, Receiver, Sender, close};
use crate::{
    CallError, ConnectError, Connection, Limits, Lost, Network, OpenError, PROTOCOL_VERSION, Service, profile,
};

/// The name that a client's TLS needs and nobody reads: who a node is stands in its certificate's URI.
const SERVER_NAME: &str = "rdcq";

/// How long a farewell may take to reach a peer. One that is gone without a word must not hold up a drain for its whole
/// grace.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a close may take to reach the peers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Who a node is and whom it believes, as data: certificates are no business of the transport.
#[derive(Clone)]
pub struct Security {
    /// Who the node is.
    pub identity: Identity,
    /// How TLS accepts connections; must ask for a certificate of the herd's CA.
    pub server: Arc<rustls::ServerConfig>,
    /// How TLS opens connections; must ask for a certificate of the herd's CA.
    pub client: Arc<rustls::ClientConfig>,
    /// Reads who a checked certificate names, or says why it names nobody.
    pub identify: fn(&[CertificateDer<'_>]) -> Result<Identity, String>,
}

impl Security {
    /// Who is at the other end of a connection whose handshake is done.
    pub(crate) fn peer(&self, connection: &quinn::Connection) -> Result<Identity, String> {
        let shown = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'_>>>().ok());
        let certs = shown.ok_or_else(|| "the peer showed no certificate".to_owned())?;
        (self.identify)(&certs)
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// One socket, from which a node dials and on which it serves. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Endpoint(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) quic: quinn::Endpoint,
    pub(crate) security: Security,
    pub(crate) limits: Limits,
    /// Room for handshakes.
    pub(crate) handshakes: Arc<Semaphore>,
    /// Room for accepted connections.
    pub(crate) connections: Arc<Semaphore>,
    /// Cancelled when the node goes away.
    pub(crate) draining: CancellationToken,
    /// The calls that are being served, and the farewells that are being said.
    pub(crate) calls: TaskTracker,
    client: quinn::ClientConfig,
    server: quinn::ServerConfig,
    local: SocketAddr,
    serving: AtomicBool,
    accepted: Mutex<BTreeMap<u64, quinn::Connection>>,
    next_accepted: AtomicU64,
}

impl Endpoint {
    /// Takes an address. Port 0 asks for any free one.
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
    ) -> Result<Self, OpenError> {
        limits.check()?;
        let client = profile::client(env, &security, &limits)?;
        let server = profile::server(env, &security, &limits)?;
        let config = profile::endpoint(env, &limits)?;
        let bound = network.bind(listen).map_err(|source| OpenError::Bind { addr: listen, source })?;
        let unusable = |source| OpenError::Socket { addr: listen, source };
        let local = bound.socket.local_addr().map_err(unusable)?;
        let quic = quinn::Endpoint::new_with_abstract_socket(config, None, bound.socket, bound.runtime)
            .map_err(unusable)?;
        Ok(Self(Arc::new(Shared {
            env: env.clone(),
            quic,
            security,
            handshakes: Arc::new(Semaphore::new(limits.max_handshakes)),
            connections: Arc::new(Semaphore::new(limits.max_connections)),
            limits,
            draining: CancellationToken::new(),
            calls: TaskTracker::new(),
            client,
            server,
            local,
            serving: AtomicBool::new(false),
            accepted: Mutex::default(),
            next_accepted: AtomicU64::new(0),
        })))
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// What this endpoint lets its peers use.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.0.security.identity
    }

    /// How many accepted connections there are.
    pub fn accepted(&self) -> usize {
        self.0.accepted_list().len()
    }

    /// Opens a connection to a node of this herd that serves as `expect`, and waits until it is accepted.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        expect: Role,
        deadline: Instant,
    ) -> Result<Connection, ConnectError> {
        let connecting = self.dial(addr, expect);
        timeout_at(deadline, connecting).await.unwrap_or(Err(ConnectError::TimedOut { addr }))
    }

    async fn dial(&self, addr: SocketAddr, expect: Role) -> Result<Connection, ConnectError> {
        let Shared { quic, client, security, limits, env, .. } = &*self.0;
        let connecting = quic
            .connect_with(client.clone(), addr, SERVER_NAME)
            .map_err(|error| ConnectError::Invalid { addr, why: error.to_string().into() })?;
        let connection = match timeout(limits.handshake_timeout, connecting).await {
            Ok(handshake) => handshake.map_err(|error| ConnectError::from_quic(addr, &error))?,
            Err(_) => return Err(ConnectError::TimedOut { addr }),
        };
        let greeted = greet(security, &connection, addr, expect);
        match timeout(limits.hello_timeout, greeted).await {
            Ok(Ok(peer)) => Ok(Connection::new(env, connection, peer)),
            Ok(Err((code, error))) => {
                close(&connection, code, &error.to_string());
                Err(error)
            }
            Err(_) => {
                close(&connection, CloseCode::NoHello, "no hello in time");
                Err(ConnectError::TimedOut { addr })
            }
        }
    }

    /// Serves one role to whoever connects, until the endpoint closes.
    ///
    /// # Panics
    ///
    /// If called twice: an endpoint serves one role.
    pub fn serve<S: Service>(&self, serving: Role, service: Arc<S>) {
        let first = !self.0.serving.swap(true, Ordering::Relaxed);
        assert!(first, "the endpoint at {} serves a role already", self.0.local);
        self.0.quic.set_server_config(Some(self.0.server.clone()));
        let server = Server { shared: Arc::clone(&self.0), serving, service };
        self.0.env.spawn(Arc::new(server).run());
    }

    /// Goes away: refuses new connections and requests, tells every client, waits up to `grace` for the calls that run, and
    /// closes.
    pub async fn drain(&self, grace: Duration) {
        let deadline = self.0.env.now() + grace;
        self.0.draining.cancel();
        let accepted: Vec<_> = self.0.accepted_list().values().cloned().collect();
        for connection in accepted {
            let farewell = async move {
                // Who does not hear it in time sees the close.
                let _ = timeout(FAREWELL_TIMEOUT.min(grace), say_farewell(connection, grace)).await;
            };
            self.0.env.spawn(self.0.calls.track_future(farewell));
        }
        self.0.calls.close();
        if timeout_at(deadline, self.0.calls.wait()).await.is_err() {
            tracing::warn!(
                calls = self.0.calls.len(),
                ?grace,
                "calls still running at the end of the grace are cut off"
            );
        }
        self.close(CloseCode::ShuttingDown);
        // Peers that do not hear the close notice by their idle timeout.
        let _ = timeout(CLOSE_TIMEOUT, self.0.quic.wait_idle()).await;
    }

    /// Closes every connection and takes no more.
    pub fn close(&self, code: CloseCode) {
        self.0.quic.close(VarInt::from_u32(code.number()), code.to_string().as_bytes());
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("local", &self.0.local)
            .field("security", &self.0.security)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn accepted_list(&self) -> MutexGuard<'_, BTreeMap<u64, quinn::Connection>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists an accepted connection for as long as what is returned lives.
    pub(crate) fn list(self: &Arc<Self>, connection: quinn::Connection) -> Listed {
        let number = self.next_accepted.fetch_add(1, Ordering::Relaxed);
        self.accepted_list().insert(number, connection);
        Listed { shared: Arc::clone(self), number }
    }
}

/// An accepted connection's entry in the list.
pub(crate) struct Listed {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.shared.accepted_list().remove(&self.number);
    }
}

/// Finds out who answered, and whether it is who and what was wanted.
async fn greet(
    security: &Security,
    connection: &quinn::Connection,
    addr: SocketAddr,
    expect: Role,
) -> Result<Identity, (CloseCode, ConnectError)> {
    let peer = security
        .peer(connection)
        .map_err(|why| (CloseCode::Denied, ConnectError::Nameless { addr, why: why.into() }))?;
    if peer.herd != security.identity.herd || !peer.roles.contains(expect) {
        let error = ConnectError::WrongPeer { addr, expect, peer: Box::new(peer) };
        return Err((CloseCode::WrongPeer, error));
    }
    let hello = hear_hello(connection, addr).await.map_err(|error| (CloseCode::Protocol, error))?;
    if (hello.oldest..=hello.newest).contains(&PROTOCOL_VERSION) {
        check_hello(&hello, &peer, addr, expect).map_err(|error| (CloseCode::WrongPeer, error))?;
        return Ok(peer);
    }
    let error = ConnectError::Version { addr, oldest: hello.oldest, newest: hello.newest };
    Err((CloseCode::Protocol, error))
}

async fn hear_hello(connection: &quinn::Connection, addr: SocketAddr) -> Result<Hello, ConnectError> {
    let stream = connection.accept_uni().await.map_err(|error| ConnectError::from_quic(addr, &error))?;
    let mut receiver = Receiver::new(stream, connection.clone(), ResetCode::Refused);
    let hello = match receiver.frame().await {
        Ok(head) => decode_hello(head),
        Err(error) => Err(error),
    };
    receiver.settle();
    hello.map_err(|error| match (error, connection.close_reason()) {
        (CallError::Protocol(why), _) => ConnectError::NoHello { addr, why },
        (_, Some(error)) => ConnectError::from_quic(addr, &error),
        (error, None) => ConnectError::Lost { addr, why: Lost::Quic(Reason::from(error.to_string())) },
    })
}

fn decode_hello(head: Option<Head>) -> Result<Hello, CallError> {
    let head = head.ok_or(CallError::Protocol(rdcq_wire::DecodeError::Truncated))?;
    head.decode().map_err(CallError::Protocol)
}

fn check_hello(hello: &Hello, peer: &Identity, addr: SocketAddr, expect: Role) -> Result<(), ConnectError> {
    let called = Identity { herd: hello.herd.clone(), node: hello.node.clone(), roles: hello.roles };
    if called != *peer {
        let why = Reason::from(format!("its word is {called}, its certificate is {peer}"));
        return Err(ConnectError::Contradiction { addr, why });
    }
    if hello.serving != expect {
        return Err(ConnectError::WrongRole { addr, expect, serving: hello.serving });
    }
    Ok(())
}

async fn say_farewell(connection: quinn::Connection, grace: Duration) {
    let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = tell(&connection, &Drain { grace_ms }).await {
        tracing::debug!(remote = %connection.remote_address(), %error, "the peer was not told of the drain");
    }
}

/// Sends a message on a stream of its own, and waits until the peer has it.
pub(crate) async fn tell<M: Message>(connection: &quinn::Connection, message: &M) -> Result<(), CallError> {
    let context = Context { request: 0, trace: 0, time_left_ms: 0 };
    let head = frame::encode(context, message, 0)?;
    let mut sender = Sender::new(connection.open_uni().await?, ResetCode::Cancelled);
    sender.frame(head, Vec::new()).await?;
    sender.end();
    sender.settle();
    sender.delivered().await;
    Ok(())
}
