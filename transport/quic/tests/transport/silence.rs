//! Peers that die in the middle of a call, and peers that only look like it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdcq_transport::{CallError, DataPorts, Endpoint, IncomingCall, Limits, Lost, Pool, Security, Udp};
use rdcq_wire::message::Stored;
use rdcq_wire::{Class, Kind};
use tokio::time::Instant;

use crate::pair::{
    CALLER, Ca, HERD, Handler, Pair, SERVING, get_pieces, open, pattern, put_pieces, reply_pieces, soon,
    watch,
};
use crate::raw::{relay, relay_at};

/// No earlier than three looks, and not long after four; a machine under load is late.
const GIVEN_UP: std::ops::Range<Duration> = Duration::from_millis(2050)..Duration::from_secs(6);

/// What is far from silence, on a machine under load.
const AT_ONCE: Duration = Duration::from_millis(1500);

fn without_data() -> Limits {
    Limits { data_ports: DataPorts::None, ..Limits::default() }
}

async fn never(_: IncomingCall) -> Result<(), rdcq_transport::Refusal> {
    std::future::pending().await
}

#[tokio::test]
async fn a_peer_that_dies_while_a_call_is_open_is_noticed_within_three_seconds() {
    let pair = Pair::with(without_data(), never);
    let (addr, relay) = relay(pair.server.local_addr()).await;
    let connection = pair.client.connect(addr, SERVING, pair.deadline()).await.unwrap();
    let (scope, request) = (pair.scope(), get_pieces(0));
    let call = connection.call(scope, &request, Vec::new());
    let death = async {
        while pair.calls() == 0 {
            tokio::task::yield_now().await;
        }
        relay.abort();
        pair.env.now()
    };
    let (result, died) = tokio::join!(call, death);
    let took = pair.env.now() - died;
    assert_eq!(result.unwrap_err(), CallError::Lost(Lost::Silent));
    assert!(GIVEN_UP.contains(&took), "{took:?}");
    assert!(!connection.is_usable());
}

/// Limits under which a test sees idle peers given up.
fn of_idle_peers() -> Limits {
    Limits { keep_alive: Duration::from_secs(4), idle_timeout: Duration::from_secs(9), ..without_data() }
}

#[tokio::test]
async fn an_idle_peer_that_dies_is_given_up_by_both_sides_after_the_same_silence() {
    let pair = Pair::with(of_idle_peers(), reply_pieces);
    let client = open(&pair.env, pair.ca.security("client", CALLER), of_idle_peers());
    let (addr, relay) = relay(pair.server.local_addr()).await;
    let connection = client.connect(addr, SERVING, pair.deadline()).await.unwrap();
    // Just after its second sign of life.
    tokio::time::sleep(of_idle_peers().keep_alive * 2 + Duration::from_millis(500)).await;
    assert_eq!((connection.is_usable(), pair.server.accepted()), (true, 1));
    relay.abort();
    let died = pair.env.now();
    let took_until = async |gone: &dyn Fn() -> bool| {
        while !gone() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pair.env.now() - died
    };
    let dialler_s = || !connection.is_usable();
    let server_s = || pair.server.accepted() == 0;
    let both = async { tokio::join!(took_until(&dialler_s), took_until(&server_s)) };
    let (dialler, server) = tokio::time::timeout(of_idle_peers().idle_timeout * 2, both).await.unwrap();
    // QUIC's timeout alone would begin anew with the dialler's next sign of life, 4 s later.
    for (who, took) in [("dialler", dialler), ("server", server)] {
        let after = Duration::from_millis(7300)..Duration::from_secs(12);
        assert!(after.contains(&took), "the {who} gave up after {took:?}");
    }
}

#[tokio::test]
async fn a_stream_of_frames_from_a_peer_that_dies_ends_within_three_seconds() {
    let pair = Pair::with(without_data(), never);
    let (addr, relay) = relay(pair.server.local_addr()).await;
    let connection = pair.client.connect(addr, SERVING, pair.deadline()).await.unwrap();
    let mut exchange = connection.exchange(pair.scope(), &watch()).await.unwrap();
    while pair.calls() == 0 {
        tokio::task::yield_now().await;
    }
    relay.abort();
    let died = pair.env.now();
    assert_eq!(exchange.next().await.unwrap_err(), CallError::Lost(Lost::Silent));
    let took = pair.env.now() - died;
    assert!(GIVEN_UP.contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_peer_that_dies_in_the_middle_of_a_long_body_is_noticed_within_three_seconds() {
    let pair = Pair::with(without_data(), never);
    let (addr, relay) = relay(pair.server.local_addr()).await;
    let connection = pair.client.connect(addr, SERVING, pair.deadline()).await.unwrap();
    let (scope, request) = (pair.scope(), put_pieces());
    // Far more than the peer has room for, so that nothing more can be said to it.
    let call = connection.call(scope, &request, vec![pattern(PUT)]);
    let death = async {
        while pair.calls() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        relay.abort();
        pair.env.now()
    };
    let (result, died) = tokio::join!(call, death);
    let took = pair.env.now() - died;
    assert_eq!(result.unwrap_err(), CallError::Lost(Lost::Silent));
    assert!(GIVEN_UP.contains(&took), "{took:?}");
}

/// The longest body of pieces.
const PUT: usize = 8 * 1024 * 1024;

#[tokio::test]
async fn a_handler_that_is_slow_is_not_taken_for_dead() {
    let pair = Pair::new(async |mut call: IncomingCall| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if call.kind() == Kind::GetPieces {
            return reply_pieces(call).await;
        }
        // Only now is there room for the rest of the body.
        call.take_body().collect().await?;
        call.reply(&Stored {}, Vec::new()).await
    });
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let addr = pair.server.local_addr();
    let control = pair.connect().await;
    let (get, put) = (get_pieces(0), put_pieces());
    let (one, two, three, four) = tokio::join!(
        control.call(pair.scope(), &get, Vec::new()),
        pool.call(addr, SERVING, pair.scope(), &get, Vec::new()),
        pool.call(addr, SERVING, pair.scope(), &put, vec![pattern(PUT)]),
        async {
            // On a connection whose windows are full, a word to see whether anybody is there finds no room.
            let crowded = pair.connect().await;
            crowded.call(pair.scope(), &put, vec![pattern(PUT)]).await
        },
    );
    assert_eq!((one.map(drop), two.map(drop)), (Ok(()), Ok(())));
    assert_eq!((three.map(drop), four.map(drop)), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_pool_s_call_that_finds_its_peer_dead_goes_on_over_a_new_connection() {
    let pair = Pair::with(without_data(), reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let first = relay(pair.server.local_addr()).await;
    let addr = first.0;
    pool.call(addr, SERVING, pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    first.1.abort();
    // The network is mended as soon as the old connection is of no use any more.
    let again = async {
        let _ = first.1.await;
        relay_at(addr, pair.server.local_addr()).await
    };
    let kept = pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    let (scope, request, began) = (pair.scope(), get_pieces(1), pair.env.now());
    let call = pool.call(addr, SERVING, scope, &request, Vec::new());
    let mending = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        while kept.is_usable() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        again.await
    };
    let (result, _second) = tokio::join!(call, mending);
    result.unwrap();
    let took = pair.env.now() - began;
    assert!(GIVEN_UP.contains(&took), "{took:?}");
}

/// A node that dies without a word when it is dropped.
struct Mortal {
    runtime: Option<tokio::runtime::Runtime>,
    endpoint: Endpoint,
}

impl Mortal {
    fn live(security: Security, listen: SocketAddr, limits: Limits) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = {
            let _in = runtime.enter();
            let env = rdcq_env::Env::system();
            let bandwidth = rdcq_transport::Bandwidth::unlimited(&env);
            let opened = (0..100).find_map(|_| {
                // The socket of the one before may live on for a moment.
                let opened = Endpoint::open(
                    &env,
                    &Udp::default(),
                    listen,
                    security.clone(),
                    limits.clone(),
                    &bandwidth,
                );
                opened.map_err(|_| std::thread::sleep(Duration::from_millis(10))).ok()
            });
            let endpoint = opened.expect("the address is free");
            let handler = Handler { handle: reply_pieces, calls: 0.into() };
            endpoint.serve(SERVING, Arc::new(handler));
            endpoint
        };
        Self { runtime: Some(runtime), endpoint }
    }

    fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        // Its tasks end where they stand; what they hold closes no connection, because nothing drives it any more.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// How long a call takes that begins on a connection to a node that was killed and started again meanwhile, and how it ends.
async fn call_a_successor(secret: [u8; 32]) -> (Result<(), CallError>, Duration) {
    let (env, ca) = (rdcq_env::Env::system(), Ca::new(HERD));
    let server = ca.security("server", &[SERVING]);
    let client = open(&env, ca.security("client", CALLER), without_data());
    let first = Mortal::live(server.clone(), "127.0.0.1:0".parse().unwrap(), without_data());
    let addr = first.addr();
    let deadline = env.now() + Duration::from_secs(20);
    let connection = client.connect(addr, SERVING, deadline).await.unwrap();
    let scope = rdcq_transport::Scope { trace: 0, deadline, class: Class::Normal };
    connection.call(scope, &get_pieces(0), Vec::new()).await.unwrap();
    drop(first);
    let _second = Mortal::live(Security { reset_secret: secret, ..server }, addr, without_data());
    let began: Instant = env.now();
    let result = soon(connection.call(scope, &get_pieces(0), Vec::new())).await;
    (result.map(drop), env.now() - began)
}

#[tokio::test]
async fn a_node_that_is_killed_and_started_again_disowns_its_connections_at_once() {
    let (result, took) = call_a_successor([7; 32]).await;
    assert!(matches!(result, Err(CallError::Lost(Lost::Quic(_)))), "{result:?}");
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn one_that_has_forgotten_its_secret_is_noticed_by_its_silence() {
    let (result, took) = call_a_successor([8; 32]).await;
    assert_eq!(result, Err(CallError::Lost(Lost::Silent)));
    assert!(GIVEN_UP.contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_node_that_goes_away_still_waits_for_those_whom_it_asks() {
    let far = Pair::new(async |call| {
        tokio::time::sleep(Duration::from_secs(4)).await;
        reply_pieces(call).await
    });
    let middle = far.node("middle", &[SERVING, rdcq_wire::Role::Agent]);
    let upstream = middle.connect(far.server.local_addr(), SERVING, far.deadline()).await.unwrap();
    let asks = move |call: IncomingCall| {
        let upstream = upstream.clone();
        async move {
            upstream.call(call.scope(), &get_pieces(0), Vec::new()).await?;
            reply_pieces(call).await
        }
    };
    middle.serve(SERVING, Arc::new(Handler { handle: asks, calls: 0.into() }));
    let connection = far.client.connect(middle.local_addr(), SERVING, far.deadline()).await.unwrap();
    let (scope, request) = (far.scope(), get_pieces(0));
    let leaving = async {
        while far.calls() == 0 {
            tokio::task::yield_now().await;
        }
        middle.drain(Duration::from_secs(15)).await;
    };
    let (result, ()) = tokio::join!(connection.call(scope, &request, Vec::new()), leaving);
    result.unwrap();
}
