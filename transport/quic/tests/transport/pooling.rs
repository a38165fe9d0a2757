//! The pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdcq_transport::{CallError, ConnectError, DataPorts, Limits, Pool, Scope};
use rdcq_wire::{Class, CloseCode, ErrorCode};

use crate::pair::{CALLER, Pair, SERVING, get_pieces, open, reply_pieces};
use crate::raw::{RawServer, bytes_of, hello, relay, tell};

#[tokio::test]
async fn however_many_ask_there_is_one_dial() {
    let pair = Pair::new(reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let addr = pair.server.local_addr();
    let gets = (0..50).map(|_| pool.get(addr, SERVING, pair.deadline()));
    let connections = futures_util::future::join_all(gets).await;
    assert!(connections.iter().all(Result::is_ok));
    for connection in connections {
        connection.unwrap().call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    }
    assert_eq!((pair.server.accepted(), pair.calls()), (1, 50));
}

#[tokio::test]
async fn a_connection_that_was_closed_is_replaced() {
    let pair = Pair::new(reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let security = pair.ca.security("closing", &[SERVING]);
    let closing = RawServer::open(&security);
    let serving = async {
        for _ in 0..2 {
            let connection = closing.accept().await;
            tell(&connection, &bytes_of(&hello(&security, SERVING))).await;
            connection.accept_bi().await.unwrap();
            connection.close(CloseCode::Done.number().into(), b"enough");
        }
        let answer = rdcq_wire::frame::encode(crate::raw::CONTEXT, &crate::pair::pieces(0), 0).unwrap();
        closing.answer_one(&security, SERVING, &answer).await
    };
    let calling = async {
        let request = get_pieces(0);
        let call = || pool.call(closing.addr(), SERVING, pair.scope(), &request, Vec::new());
        // The first connection is new, so its loss is not made up for.
        assert!(matches!(call().await, Err(CallError::Lost(_))));
        let held = pool.get(closing.addr(), SERVING, pair.deadline()).await.unwrap();
        // The second was kept when the call came upon its loss.
        call().await.unwrap();
        assert!(!held.is_usable());
    };
    tokio::join!(serving, calling);
}

#[tokio::test]
async fn a_draining_server_s_connection_is_replaced() {
    let pair = Pair::new(reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let addr = pair.server.local_addr();
    pool.call(addr, SERVING, pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    pair.server.drain(Duration::from_secs(5)).await;
    let deadline = pair.env.now() + Duration::from_millis(200);
    let error = pool.get(addr, SERVING, deadline).await.unwrap_err();
    assert!(matches!(error.code(), ErrorCode::TimedOut | ErrorCode::Unavailable), "{error}");
}

#[tokio::test]
async fn a_failed_dial_is_told_to_all_and_then_forgotten() {
    let pair = Pair::new(reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let addr = pair.server.local_addr();
    let wrong = rdcq_wire::Role::Proxy;
    let gets = (0..5).map(|_| pool.get(addr, wrong, pair.deadline()));
    for result in futures_util::future::join_all(gets).await {
        let error = result.unwrap_err();
        assert!(matches!(error, CallError::Connect(ConnectError::WrongPeer { .. })), "{error}");
    }
    pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    assert!(pool.get(addr, wrong, pair.deadline()).await.is_err());
}

#[tokio::test]
async fn whoever_gives_up_does_not_take_the_dial_with_it() {
    let pair = Pair::new(reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let addr = pair.server.local_addr();
    {
        let mut get = std::pin::pin!(pool.get(addr, SERVING, pair.deadline()));
        assert!(futures_util::poll!(&mut get).is_pending());
    }
    pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    assert_eq!(pair.server.accepted(), 1);
}

#[tokio::test]
async fn the_connection_used_longest_ago_makes_room() {
    let one = Pair::new(reply_pieces);
    let client =
        open(&one.env, one.ca.security("frugal", CALLER), Limits { max_pooled: 1, ..Limits::default() });
    let pool = Pool::new(one.env.clone(), client);
    let two = one.node("other", &[SERVING]);
    two.serve(SERVING, Arc::new(Refusing));
    pool.get(one.server.local_addr(), SERVING, one.deadline()).await.unwrap();
    assert_eq!(one.server.accepted(), 1);
    pool.get(two.local_addr(), SERVING, one.deadline()).await.unwrap();
    while one.server.accepted() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(two.accepted(), 1);
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_not_used_again() {
    let limits = Limits { data_ports: DataPorts::None, ..Limits::default() };
    let pair = Pair::with(limits, reply_pieces);
    let pool = Pool::new(pair.env.clone(), pair.client.clone());
    let (addr, relay) = relay(pair.server.local_addr()).await;
    pool.call(addr, SERVING, pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    let kept = pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    relay.abort();
    let scope =
        Scope { trace: 0, deadline: pair.env.now() + Duration::from_millis(1900), class: Class::Normal };
    let error = pool.call(addr, SERVING, scope, &get_pieces(0), Vec::new()).await.unwrap_err();
    assert_eq!(error, CallError::TimedOut);
    assert!(!kept.is_usable());
}

#[tokio::test]
async fn a_handler_that_is_slow_does_not_make_its_connection_look_dead() {
    let pair = Pair::new(async |_| std::future::pending().await);
    let connection = pair.connect().await;
    // One ends before the first look that hears nothing, one after it: by then the peer has given the sign it was asked for.
    for patience in [1200, 1750] {
        let scope = Scope {
            trace: 0,
            deadline: pair.env.now() + Duration::from_millis(patience),
            class: Class::Normal,
        };
        let error = connection.call(scope, &get_pieces(0), Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::TimedOut);
        assert!(connection.is_usable(), "after {patience} ms");
        // The next call has a watch of its own.
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
}

/// A socket without a node, and how often it was dialled.
async fn nobody() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    let counted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&counted);
    tokio::spawn(async move {
        let (mut datagram, mut last) = (vec![0; 65536], Vec::new());
        loop {
            let (len, _) = socket.recv_from(&mut datagram).await.unwrap();
            // A dial is known by the ID that its datagrams go to: one byte of length behind five.
            let id = datagram[6..len.min(22)].to_vec();
            if id != last {
                count.fetch_add(1, Ordering::SeqCst);
                last = id;
            }
        }
    });
    (addr, counted)
}

/// A pool that gives a dial up soon.
fn hasty(pair: &Pair<impl Sized>) -> Pool {
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let client = open(&pair.env, pair.ca.security("hasty", CALLER), limits);
    Pool::new(pair.env.clone(), client)
}

#[tokio::test]
async fn whoever_cannot_be_reached_is_not_dialled_again_at_once() {
    let pair = Pair::new(reply_pieces);
    let pool = hasty(&pair);
    let (addr, dials) = nobody().await;
    let get = async |patience: Duration| {
        let began = pair.env.now();
        let error = pool.get(addr, SERVING, began + patience).await.unwrap_err();
        (error, pair.env.now() - began)
    };
    let unreachable = CallError::Connect(ConnectError::TimedOut { addr });
    let patient = Duration::from_secs(5);
    // The wait doubles from 50 to 100 ms on, so five failures leave one of 0.8 to 1.6 s.
    for dialled in 1..=5 {
        assert_eq!(get(patient).await.0, unreachable);
        assert_eq!(dials.load(Ordering::SeqCst), dialled);
    }
    for _ in 0..10 {
        let (error, took) = get(Duration::from_millis(300)).await;
        assert_eq!(error, unreachable);
        assert!(took < Duration::from_millis(250), "{took:?}");
    }
    assert_eq!(dials.load(Ordering::SeqCst), 5);
    // Whoever has time waits until it is due.
    let (error, took) = get(patient).await;
    assert_eq!((error, dials.load(Ordering::SeqCst)), (unreachable, 6));
    assert!(took > Duration::from_millis(500), "{took:?}");
}

#[tokio::test]
async fn a_server_that_comes_up_is_found_after_dials_that_failed() {
    let pair = Pair::new(reply_pieces);
    let pool = hasty(&pair);
    let late = pair.node("late", &[SERVING]);
    for _ in 0..3 {
        let error = pool.get(late.local_addr(), SERVING, pair.deadline()).await.unwrap_err();
        assert_eq!(error, CallError::Connect(ConnectError::TimedOut { addr: late.local_addr() }));
    }
    late.serve(SERVING, Arc::new(Refusing));
    pool.get(late.local_addr(), SERVING, pair.deadline()).await.unwrap();
}

#[tokio::test]
async fn a_crowd_that_connects_does_not_push_out_what_a_node_has_dialled() {
    let pair = Pair::new(reply_pieces);
    let limits = Limits { max_pooled: 2, ..Limits::default() };
    let node = open(&pair.env, pair.ca.security("node", CALLER), limits);
    node.serve(rdcq_wire::Role::Agent, Arc::new(Refusing));
    let pool = Pool::new(pair.env.clone(), node.clone());
    let addr = pair.server.local_addr();
    pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    let mut crowd = Vec::new();
    for number in 0..4 {
        let peer = pair.node(&format!("peer-{number}"), &[rdcq_wire::Role::Agent]);
        peer.serve(rdcq_wire::Role::Agent, Arc::new(Refusing));
        crowd.push(peer.connect(node.local_addr(), rdcq_wire::Role::Agent, pair.deadline()).await.unwrap());
    }
    // Their words have to be heard, and the connection closed if it is.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!((node.accepted(), pair.server.accepted()), (4, 1));
    assert!(crowd.iter().all(rdcq_transport::Connection::is_usable));
}

/// Has no answer to anything.
struct Refusing;

impl rdcq_transport::Service for Refusing {
    async fn call(self: Arc<Self>, _: rdcq_transport::IncomingCall) -> Result<(), rdcq_transport::Refusal> {
        Err(rdcq_transport::Refusal::Gone)
    }
}
