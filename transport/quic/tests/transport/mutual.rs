//! Two nodes that serve, and one connection for the requests of both.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rdcq_env::Env;
use rdcq_transport::{CallError, DataPorts, Endpoint, IncomingCall, Limits, Pool, Refusal, Scope};
use rdcq_wire::message::{GetManifest, ManifestBody};
use rdcq_wire::{Class, Kind, Role};

use crate::pair::{Ca, DIGEST, HERD, Handler, get_pieces, open, reply_pieces, soon};
use crate::raw::{bytes_of, config, hello, tell};

/// A node that serves and asks.
struct Node {
    env: Env,
    endpoint: Endpoint,
    pool: Pool,
}

async fn serve(mut call: IncomingCall) -> Result<(), Refusal> {
    if call.kind() == Kind::GetManifest {
        return call.reply(&ManifestBody {}, Vec::new()).await;
    }
    reply_pieces(call).await
}

impl Node {
    fn start(ca: &Ca, name: &str, data_ports: DataPorts) -> Self {
        let env = Env::system();
        let limits = Limits { data_ports, ..Limits::default() };
        let endpoint = open(&env, ca.security(name, &[Role::Agent]), limits);
        endpoint.serve(Role::Agent, Arc::new(Handler { handle: serve, calls: 0.into() }));
        let pool = Pool::new(env.clone(), endpoint.clone());
        Self { env, endpoint, pool }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    /// Asks for something that goes over control, or over data.
    async fn ask(&self, other: &Self, kind: Kind) -> Result<(), CallError> {
        self.ask_at(other.addr(), kind).await
    }

    async fn ask_at(&self, addr: SocketAddr, kind: Kind) -> Result<(), CallError> {
        let scope =
            Scope { trace: 0, deadline: self.env.now() + Duration::from_secs(10), class: Class::Normal };
        let (digest, manifest) = (DIGEST, DIGEST);
        match kind {
            Kind::GetManifest => {
                let request = GetManifest { digest, manifest };
                self.pool.call(addr, Role::Agent, scope, &request, Vec::new()).await.map(drop)
            }
            _ => self.pool.call(addr, Role::Agent, scope, &get_pieces(0), Vec::new()).await.map(drop),
        }
    }
}

#[tokio::test]
async fn the_last_reply_arrives_on_a_connection_that_its_opener_has_left() {
    let ca = Ca::new(HERD);
    let env = Env::system();
    let (begun, mut began) = tokio::sync::mpsc::unbounded_channel();
    let finish = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&finish);
    let slow = move |call: IncomingCall| {
        let (begun, gate) = (begun.clone(), Arc::clone(&gate));
        async move {
            begun.send(()).unwrap();
            gate.notified().await;
            serve(call).await
        }
    };
    let limits = Limits { data_ports: DataPorts::None, ..Limits::default() };
    let opener = open(&env, ca.security("b", &[Role::Agent]), limits);
    opener.serve(Role::Agent, Arc::new(Handler { handle: slow, calls: 0.into() }));
    let asking = Node::start(&ca, "a", DataPorts::None);
    let deadline = env.now() + Duration::from_secs(10);
    for round in 0..5 {
        let connection = opener.connect(asking.addr(), Role::Agent, deadline).await.unwrap();
        // The word has to be heard, too.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let call = asking.ask_at(opener.local_addr(), Kind::GetManifest);
        let leaving = async {
            began.recv().await.unwrap();
            drop(connection);
            // Heard while the request is served.
            tokio::time::sleep(Duration::from_millis(50)).await;
            finish.notify_one();
        };
        let (result, ()) = tokio::join!(call, leaving);
        assert_eq!(result, Ok(()), "round {round}");
        assert_eq!(opener.accepted(), 0, "round {round}: the peer had no need to dial");
        soon(async {
            while asking.endpoint.accepted() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// How many connections there are between two nodes.
fn between(one: &Node, two: &Node) -> usize {
    one.endpoint.accepted() + two.endpoint.accepted()
}

#[tokio::test]
async fn whoever_was_dialled_asks_back_on_the_same_connections() {
    let ca = Ca::new(HERD);
    // Either order of names.
    for (one, two) in [("a", "b"), ("b", "a")] {
        let (one, two) = (Node::start(&ca, one, DataPorts::Any), Node::start(&ca, two, DataPorts::Any));
        one.ask(&two, Kind::GetManifest).await.unwrap();
        two.ask(&one, Kind::GetManifest).await.unwrap();
        assert_eq!((one.endpoint.accepted(), two.endpoint.accepted()), (0, 1));
        one.ask(&two, Kind::GetPieces).await.unwrap();
        two.ask(&one, Kind::GetPieces).await.unwrap();
        assert_eq!((one.endpoint.accepted(), two.endpoint.accepted()), (0, 2));
    }
}

/// Lets two nodes ask each other at the same moment, and waits until so many connections are left.
async fn meet(ca: &Ca, round: u64, kind: Kind, left: usize) {
    let mut rng = StdRng::seed_from_u64(round);
    let mut name = || format!("node-{:03}", rng.random_range(0..1000));
    let data_ports = if left > 1 { DataPorts::Any } else { DataPorts::None };
    let one = Node::start(ca, &name(), data_ports.clone());
    let two = Node::start(ca, &name(), data_ports);
    let both = tokio::join!(one.ask(&two, kind), two.ask(&one, kind));
    assert_eq!(both, (Ok(()), Ok(())), "round {round}");
    soon(async {
        while between(&one, &two) != left {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    for _ in 0..2 {
        let both = tokio::join!(one.ask(&two, kind), two.ask(&one, kind));
        assert_eq!(both, (Ok(()), Ok(())), "round {round}");
    }
    assert_eq!(between(&one, &two), left, "round {round}");
}

#[tokio::test]
async fn two_nodes_that_dial_each_other_at_once_end_with_one_connection() {
    let ca = Ca::new(HERD);
    for round in 0..50 {
        meet(&ca, round, Kind::GetManifest, 1).await;
    }
}

#[tokio::test]
async fn the_same_with_data_connections_ends_with_one_of_either_kind() {
    let ca = Ca::new(HERD);
    for round in 100..120 {
        meet(&ca, round, Kind::GetPieces, 2).await;
    }
}

#[tokio::test]
async fn a_peer_that_dials_anew_is_asked_on_its_newest_connection() {
    let ca = Ca::new(HERD);
    // Whoever's name is smaller.
    for name in ["a", "z"] {
        let node = Node::start(&ca, "m", DataPorts::None);
        let security = ca.security(name, &[Role::Agent]);
        let word = bytes_of(&hello(&security, Role::Agent));
        let peer = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut connections = Vec::new();
        for count in 1..=2 {
            let connecting = peer.connect_with(config(&security), node.addr(), "rdcq").unwrap();
            let connection = connecting.await.unwrap();
            tell(&connection, &word).await;
            connections.push(connection);
            soon(async {
                while node.endpoint.accepted() < count {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            // The word has to be heard, too.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let addr = peer.local_addr().unwrap();
        let answer = async {
            let (mut send, mut receive) = connections[1].accept_bi().await.unwrap();
            receive.read_to_end(4096).await.unwrap();
            send.write_all(&bytes_of(&ManifestBody {})).await.unwrap();
            send.finish().unwrap();
        };
        let both = async { tokio::join!(node.ask_at(addr, Kind::GetManifest), answer) };
        // Less than it takes to give a silent peer up.
        let (result, ()) = tokio::time::timeout(Duration::from_millis(1500), both).await.expect(name);
        result.unwrap();
    }
}
