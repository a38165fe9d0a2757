//! Draining.

use std::sync::Arc;
use std::time::Duration;

use rdcq_transport::{CallError, ConnectError, IncomingCall, Refusal, Scope};
use rdcq_wire::frame::PREFIX_LEN;
use rdcq_wire::{Class, ErrorCode, Kind, Prefix};
use tokio::sync::{Notify, mpsc};

use crate::pair::{DropBell, Once, Pair, SERVING, get_pieces, pattern, pieces, reply_pieces, soon, watch};
use crate::raw::{RawServer, bytes_of, hello, tell};

#[tokio::test]
async fn a_drain_lets_running_calls_end_and_takes_nothing_new() {
    let (begun, mut began) = mpsc::unbounded_channel();
    let finish = Arc::new(Notify::new());
    let gate = Arc::clone(&finish);
    // Longer than what is on the way at once, so that the handler is done long before its reply has arrived.
    let body = pattern(4 * 1024 * 1024);
    let reply = body.clone();
    let pair = Pair::new(move |mut call: IncomingCall| {
        let (gate, begun, reply) = (Arc::clone(&gate), begun.clone(), reply.clone());
        async move {
            begun.send(()).unwrap();
            gate.notified().await;
            call.reply(&pieces(0), vec![reply]).await
        }
    });
    let connection = pair.connect().await;
    let scope = pair.scope();
    let running = {
        let connection = connection.clone();
        tokio::spawn(async move {
            let answer = connection.call(scope, &get_pieces(0), Vec::new()).await?;
            answer.body.collect().await
        })
    };
    began.recv().await.unwrap();

    let server = pair.server.clone();
    let drain = tokio::spawn(async move { server.drain(Duration::from_secs(20)).await });
    while connection.is_usable() {
        tokio::task::yield_now().await;
    }
    let refused = pair.connect_from(&pair.client).await.unwrap_err();
    assert_eq!(refused, ConnectError::Refused { addr: pair.server.local_addr() });
    let late = connection.call(pair.scope(), &get_pieces(1), Vec::new()).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::ShuttingDown, "{late}");
    assert!(!drain.is_finished());

    finish.notify_one();
    assert_eq!(running.await.unwrap().unwrap().concat(), body);
    drain.await.unwrap();
    let gone = connection.call(pair.scope(), &get_pieces(1), Vec::new()).await.unwrap_err();
    assert!(matches!(gone, CallError::Lost(_)), "{gone}");
    assert_eq!(gone.code(), ErrorCode::Unavailable);
    assert_eq!(pair.calls(), 1);
}

#[tokio::test]
async fn a_drain_cuts_off_what_outlasts_its_grace() {
    let (begun, mut began) = mpsc::unbounded_channel();
    let (bell, rung) = DropBell::new();
    let bell = Once::new(bell);
    let pair = Pair::new(move |_| {
        begun.send(()).unwrap();
        let bell = bell.take();
        async move {
            let _bell = bell;
            std::future::pending::<Result<(), Refusal>>().await
        }
    });
    let connection = pair.connect().await;
    let (scope, request) = (pair.scope(), get_pieces(0));
    let call = connection.call(scope, &request, Vec::new());
    let leave = async {
        began.recv().await.unwrap();
        pair.server.drain(Duration::from_millis(100)).await;
    };
    let (result, ()) = tokio::join!(call, leave);
    assert!(matches!(result, Err(CallError::Lost(_))), "{result:?}");
    soon(rung).await.unwrap();
}

#[tokio::test]
async fn a_long_call_hears_of_the_drain_and_may_end_itself() {
    let (begun, mut began) = mpsc::unbounded_channel();
    let pair = Pair::new(move |call: IncomingCall| {
        begun.send(()).unwrap();
        async move {
            call.draining().await;
            Err(rdcq_wire::message::Failure::new(ErrorCode::ShuttingDown, "bye").into())
        }
    });
    let connection = pair.connect().await;
    let mut exchange = connection.exchange(pair.scope(), &watch()).await.unwrap();
    began.recv().await.unwrap();
    let (end, ()) = tokio::join!(exchange.next(), pair.server.drain(Duration::from_secs(20)));
    assert_eq!(end.unwrap_err().code(), ErrorCode::ShuttingDown);
}

#[tokio::test]
async fn a_server_that_is_met_during_a_drain_hears_of_it() {
    let (begun, mut began) = mpsc::unbounded_channel();
    let pair = Pair::new(move |_| {
        begun.send(()).unwrap();
        std::future::pending::<Result<(), Refusal>>()
    });
    let connection = pair.connect().await;
    let (scope, request) = (pair.scope(), get_pieces(0));
    // Keeps the drain waiting.
    let call = connection.call(scope, &request, Vec::new());
    let security = pair.ca.security("slow", &[SERVING]);
    let slow = RawServer::open(&security);
    let connecting = pair.server.connect(slow.addr(), SERVING, pair.deadline());
    let meeting = async {
        began.recv().await.unwrap();
        let peer = slow.accept().await;
        let mut words = peer.accept_uni().await.unwrap();
        let server = pair.server.clone();
        let drain = tokio::spawn(async move { server.drain(Duration::from_secs(3)).await });
        while connection.is_usable() {
            tokio::task::yield_now().await;
        }
        tell(&peer, &bytes_of(&hello(&security, SERVING))).await;
        let words = soon(words.read_to_end(4096)).await.unwrap();
        let first = Prefix::decode(words[..PREFIX_LEN].try_into().unwrap()).unwrap();
        let after = &words[PREFIX_LEN + usize::from(first.header_len)..];
        let second = Prefix::decode(after[..PREFIX_LEN].try_into().unwrap()).unwrap();
        assert_eq!((first.known_kind(), second.known_kind()), (Ok(Kind::Hello), Ok(Kind::Drain)));
        drain.await.unwrap();
    };
    let (result, _met, ()) = tokio::join!(call, connecting, meeting);
    assert!(matches!(result, Err(CallError::Lost(_))), "{result:?}");
}

#[tokio::test]
async fn a_drain_without_connections_is_over_at_once() {
    let pair = Pair::new(reply_pieces);
    pair.server.drain(Duration::from_secs(20)).await;
    let scope =
        Scope { trace: 0, deadline: pair.env.now() + Duration::from_millis(200), class: Class::Normal };
    let addr = pair.server.local_addr();
    let error = pair.client.connect(addr, SERVING, scope.deadline).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
}
