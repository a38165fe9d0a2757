//! Connections that nobody uses, or that are old, under a paused clock; and nodes that come back on other sockets.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rdcq_certs::{Authority, Credentials, KeyKind, identify, system_time};
use rdcq_env::{Env, SimDisk};
use rdcq_netem_tests::world::live;
use rdcq_netem_tests::{Conditions, SimNet};
use rdcq_transport::{
    CallError, Endpoint, IncomingCall, Limits, Network, Plane, Pool, Refusal, Scope, Security, Service,
};
use rdcq_wire::message::{Encoding, GetManifest, GetPieces, ManifestBody, Pieces};
use rdcq_wire::{Class, Digest, Identity, Kind, Role, Span};
use tokio::time::{Instant, sleep};

const DIGEST: Digest = Digest::from_bytes([7; 32]);
/// How often a pool looks for connections to let go, and a little more.
const SWEEP: Duration = Duration::from_secs(32);

/// Answers both kinds of requests, each after a while.
struct Slow(Duration);

impl Service for Slow {
    async fn call(self: Arc<Self>, mut call: IncomingCall) -> Result<(), Refusal> {
        sleep(self.0).await;
        if call.kind() == Kind::GetManifest {
            return call.reply(&ManifestBody {}, Vec::new()).await;
        }
        let reply = Pieces { span: Span::new(0, 1), encoding: Encoding::Raw };
        call.reply(&reply, vec![Bytes::from_static(b"piece")]).await
    }
}

/// A node that serves as an agent, and asks others.
struct Node {
    endpoint: Endpoint,
    pool: Pool,
}

impl Node {
    fn start(net: &SimNet, number: u8, limits: Limits, slow: Duration) -> Self {
        Self::start_at(net, number, number, limits, slow)
    }

    fn start_at(net: &SimNet, number: u8, seed: u8, limits: Limits, slow: Duration) -> Self {
        let env = Env::simulated(seed.into(), SimDisk::new());
        let ip: IpAddr = Ipv4Addr::new(10, 0, 0, number).into();
        let listen = SocketAddr::new(ip, 7400);
        let security = security(&format!("node-{number}"));
        let endpoint = Endpoint::open(
            &env,
            &net.host(ip),
            listen,
            security,
            limits,
            &rdcq_transport::Bandwidth::unlimited(&env),
        )
        .unwrap();
        endpoint.serve(Role::Agent, Arc::new(Slow(slow)));
        let pool = Pool::new(env, endpoint.clone());
        Self { endpoint, pool }
    }

    async fn ask(&self, other: &Self, kind: Kind) -> Result<(), CallError> {
        let scope =
            Scope { trace: 0, deadline: Instant::now() + Duration::from_secs(100), class: Class::Normal };
        let (addr, role) = (other.endpoint.local_addr(), Role::Agent);
        if kind == Kind::GetManifest {
            let request = GetManifest { digest: DIGEST, manifest: DIGEST };
            return self.pool.call(addr, role, scope, &request, Vec::new()).await.map(drop);
        }
        let request = GetPieces { digest: DIGEST, span: Span::new(0, 1) };
        let answer = self.pool.call(addr, role, scope, &request, Vec::new()).await?;
        answer.body.collect().await.map(drop)
    }
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Authority::generate("sim".parse().unwrap(), KeyKind::Ed25519, now.try_into().unwrap()).unwrap()
});

fn security(node: &str) -> Security {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let identity =
        Identity { herd: "sim".parse().unwrap(), node: node.parse().unwrap(), roles: Role::Agent.into() };
    let issued = AUTHORITY.issue(&identity, now.try_into().unwrap()).unwrap();
    let ca = AUTHORITY.cert_pem();
    let credentials = Credentials::from_pem(ca, &issued.cert_pem, &issued.key_pem, system_time()).unwrap();
    Security {
        identity: credentials.identity().clone(),
        server: credentials.server_config(),
        client: credentials.client_config(),
        judge: Arc::new(|certs| identify(certs).map_err(|error| error.to_string())),
        explain: str::to_owned,
        reset_secret: [7; 32],
    }
}

fn accepted(one: &Node, two: &Node) -> (usize, usize) {
    (one.endpoint.accepted(), two.endpoint.accepted())
}

#[test]
fn a_connection_that_neither_side_uses_is_let_go_and_one_that_either_uses_is_not() {
    live(1, async {
        let net = SimNet::new(1, Conditions::LAN);
        let limits = Limits { close_idle: Duration::from_secs(60), ..Limits::default() };
        let (one, two) = (
            Node::start(&net, 1, limits.clone(), Duration::ZERO),
            Node::start(&net, 2, limits, Duration::ZERO),
        );
        one.ask(&two, Kind::GetPieces).await.unwrap();
        assert_eq!(accepted(&one, &two), (0, 2));
        // Used by the side that did not open it, and control alone.
        for _ in 0..6 {
            sleep(Duration::from_secs(20)).await;
            two.ask(&one, Kind::GetManifest).await.unwrap();
        }
        assert_eq!(accepted(&one, &two), (0, 1), "data was not used for 120 s, control was");
        sleep(Duration::from_secs(60) + SWEEP).await;
        assert_eq!(accepted(&one, &two), (0, 0));
        two.ask(&one, Kind::GetPieces).await.unwrap();
        assert_eq!(accepted(&one, &two), (2, 0));
    });
}

#[test]
fn a_call_that_takes_long_keeps_its_connection() {
    live(2, async {
        let net = SimNet::new(2, Conditions::LAN);
        let limits = Limits { close_idle: Duration::from_secs(10), ..Limits::default() };
        let slow = Duration::from_secs(90);
        let (one, two) = (Node::start(&net, 1, limits.clone(), slow), Node::start(&net, 2, limits, slow));
        one.ask(&two, Kind::GetManifest).await.unwrap();
        assert_eq!(accepted(&one, &two), (0, 1));
        sleep(Duration::from_secs(10) + SWEEP).await;
        assert_eq!(accepted(&one, &two), (0, 0));
    });
}

#[test]
fn an_old_connection_gives_way_to_a_new_one_and_costs_no_call() {
    live(3, async {
        let net = SimNet::new(3, Conditions::LAN);
        let limits = Limits { max_age: Duration::from_secs(60), ..Limits::default() };
        let (one, two) = (
            Node::start(&net, 1, limits.clone(), Duration::from_secs(1)),
            Node::start(&net, 2, limits, Duration::from_secs(1)),
        );
        one.ask(&two, Kind::GetManifest).await.unwrap();
        let first =
            one.pool.get(two.endpoint.local_addr(), Role::Agent, Instant::now() + SWEEP).await.unwrap();
        let (mut most, until) = (0, Instant::now() + Duration::from_secs(120));
        while Instant::now() < until {
            one.ask(&two, Kind::GetManifest).await.unwrap();
            most = most.max(two.endpoint.accepted());
        }
        let last =
            one.pool.get(two.endpoint.local_addr(), Role::Agent, Instant::now() + SWEEP).await.unwrap();
        // The handle that is held here keeps the first one open beside its successors.
        assert_eq!((first.is_usable(), most), (true, 2));
        drop((first, last));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(accepted(&one, &two), (0, 1));
    });
}

#[test]
fn a_node_that_comes_back_is_asked_for_pieces_soon() {
    live(4, async {
        let net = SimNet::new(4, Conditions::LAN);
        let start = |number, seed| Node::start_at(&net, number, seed, Limits::default(), Duration::ZERO);
        let (one, two) = (start(1, 1), start(2, 2));
        one.ask(&two, Kind::GetPieces).await.unwrap();
        // Nothing is on the way any more that a successor could answer with a reset.
        sleep(Duration::from_secs(5)).await;
        net.crash("10.0.0.2".parse().unwrap());
        // Somebody else has its data port now.
        let taken = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), 49_152);
        let _other = net.bind(taken, Plane::Data(0)).unwrap();
        let two = start(2, 3);
        let began = Instant::now();
        one.ask(&two, Kind::GetPieces).await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}");
    });
}
