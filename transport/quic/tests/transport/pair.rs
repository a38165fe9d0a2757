//! A herd's CA, a server with a handler of the test's own, and clients of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rdcq_certs::{Authority, Credentials, KeyKind, identify, system_time};
use rdcq_env::Env;
use rdcq_transport::{
    Bandwidth, ConnectError, Connection, Endpoint, IncomingCall, Limits, Refusal, Scope, Security, Service,
    Udp,
};
use rdcq_wire::message::{Encoding, GetPieces, Pieces, PutPieces, Watch};
use rdcq_wire::{Class, Digest, Identity, Role, Span};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) const HERD: &str = "herd-1";

/// The role that every server of these tests serves.
pub(crate) const SERVING: Role = Role::Origin;

/// Who may ask such a server for everything that these tests ask for.
pub(crate) const CALLER: &[Role] = &[Role::Proxy, Role::Agent];

/// A CA and its certificates.
pub(crate) struct Ca {
    authority: Authority,
    now_ms: u64,
}

impl Ca {
    pub(crate) fn new(herd: &str) -> Self {
        let now_ms = Env::system().unix_ms();
        let authority = Authority::generate(herd.parse().unwrap(), KeyKind::P256, now_ms).unwrap();
        Self { authority, now_ms }
    }

    pub(crate) fn credentials(&self, node: &str, roles: &[Role]) -> Credentials {
        let identity = Identity {
            herd: self.authority.herd().clone(),
            node: node.parse().unwrap(),
            roles: roles.iter().copied().collect(),
        };
        let issued = self.authority.issue(&identity, self.now_ms).unwrap();
        let ca_pem = self.authority.cert_pem();
        Credentials::from_pem(ca_pem, &issued.cert_pem, &issued.key_pem, system_time()).unwrap()
    }

    pub(crate) fn security(&self, node: &str, roles: &[Role]) -> Security {
        let credentials = self.credentials(node, roles);
        Security {
            identity: credentials.identity().clone(),
            server: credentials.server_config(),
            client: credentials.client_config(),
            judge: Arc::new(|certs| identify(certs).map_err(|error| error.to_string())),
            explain: str::to_owned,
            reset_secret: [7; 32],
        }
    }
}

pub(crate) fn open(env: &Env, security: Security, limits: Limits) -> Endpoint {
    Endpoint::open(
        env,
        &Udp::default(),
        "127.0.0.1:0".parse().unwrap(),
        security,
        limits,
        &Bandwidth::unlimited(env),
    )
    .unwrap()
}

/// A service made of a function; counts how often it was called.
pub(crate) struct Handler<F> {
    pub(crate) handle: F,
    pub(crate) calls: AtomicUsize,
}

impl<F, Fut> Service for Handler<F>
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        (self.handle)(call).await
    }
}

/// A server and a client of one herd.
pub(crate) struct Pair<F> {
    pub(crate) env: Env,
    pub(crate) ca: Ca,
    pub(crate) server: Endpoint,
    pub(crate) client: Endpoint,
    handler: Arc<Handler<F>>,
}

impl<F, Fut> Pair<F>
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    pub(crate) fn new(handle: F) -> Self {
        Self::with(Limits::default(), handle)
    }

    pub(crate) fn with(limits: Limits, handle: F) -> Self {
        let env = Env::system();
        let ca = Ca::new(HERD);
        let server = open(&env, ca.security("server", &[SERVING, Role::Tracker]), limits);
        let client = open(&env, ca.security("client", CALLER), Limits::default());
        let handler = Arc::new(Handler { handle, calls: AtomicUsize::new(0) });
        server.serve(SERVING, Arc::clone(&handler));
        Self { env, ca, server, client, handler }
    }

    pub(crate) fn calls(&self) -> usize {
        self.handler.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.env.now() + Duration::from_secs(20)
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope { trace: 77, deadline: self.deadline(), class: Class::Normal }
    }

    pub(crate) async fn connect(&self) -> Connection {
        self.connect_from(&self.client).await.unwrap()
    }

    pub(crate) async fn connect_from(&self, client: &Endpoint) -> Result<Connection, ConnectError> {
        client.connect(self.server.local_addr(), SERVING, self.deadline()).await
    }

    /// Another node of the herd.
    pub(crate) fn node(&self, name: &str, roles: &[Role]) -> Endpoint {
        open(&self.env, self.ca.security(name, roles), Limits::default())
    }
}

pub(crate) const DIGEST: Digest = Digest::from_bytes([7; 32]);

pub(crate) fn get_pieces(first: u32) -> GetPieces {
    GetPieces { digest: DIGEST, span: Span::new(first, 1) }
}

pub(crate) fn put_pieces() -> PutPieces {
    PutPieces { push: 1, digest: DIGEST, span: Span::new(0, 1) }
}

pub(crate) fn watch() -> Watch {
    Watch { digest: DIGEST }
}

pub(crate) fn pieces(first: u32) -> Pieces {
    Pieces { span: Span::new(first, 1), encoding: Encoding::Raw }
}

/// Replies to `GetPieces` with a small body.
pub(crate) async fn reply_pieces(mut call: IncomingCall) -> Result<(), Refusal> {
    let request: GetPieces = call.request()?;
    call.reply(&pieces(request.span.first.0), vec![Bytes::from_static(b"piece")]).await
}

/// Bytes that no two offsets near each other share.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8)) as u8).collect::<Vec<_>>().into()
}

/// Tells when it is dropped.
pub(crate) struct DropBell(Option<oneshot::Sender<()>>);

impl DropBell {
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (bell, rung) = oneshot::channel();
        (Self(Some(bell)), rung)
    }
}

impl Drop for DropBell {
    fn drop(&mut self) {
        if let Some(bell) = self.0.take() {
            let _ = bell.send(());
        }
    }
}

/// What `event` brings, well before the deadline of any call.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), event).await.expect("it comes soon")
}

/// A slot that a handler takes a thing from once.
pub(crate) struct Once<T>(std::sync::Mutex<Option<T>>);

impl<T> Once<T> {
    pub(crate) fn new(thing: T) -> Arc<Self> {
        Arc::new(Self(std::sync::Mutex::new(Some(thing))))
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }
}
