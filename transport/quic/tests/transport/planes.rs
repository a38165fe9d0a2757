//! What goes over control connections, and what over data connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdcq_transport::{CallError, DataPorts, IncomingCall, Limits, Pool, Refusal};
use rdcq_wire::ErrorCode;
use rdcq_wire::Kind;
use rdcq_wire::message::{GetManifest, GetPieces, ManifestBody, Stored};
use tokio::sync::mpsc;

use crate::pair::{CALLER, DIGEST, Pair, SERVING, get_pieces, open, pattern, pieces, put_pieces, soon};

/// Answers everything.
async fn answer(mut call: IncomingCall) -> Result<(), Refusal> {
    match call.kind() {
        Kind::GetPieces => call.reply(&pieces(0), vec![Bytes::from_static(b"piece")]).await,
        Kind::PutPieces => {
            call.take_body().collect().await?;
            call.reply(&Stored {}, Vec::new()).await
        }
        _ => call.reply(&ManifestBody {}, Vec::new()).await,
    }
}

const MANIFEST: GetManifest = GetManifest { digest: DIGEST, manifest: DIGEST };

/// Asks for a manifest, takes a piece and puts one, and returns from which ports these requests came, and at which
/// addresses control and data are.
async fn ports(server: DataPorts, client: DataPorts) -> ([u16; 3], [u16; 2], [u16; 2]) {
    let (seen, mut came) = mpsc::unbounded_channel();
    let pair = Pair::with(Limits { data_ports: server, ..Limits::default() }, move |call: IncomingCall| {
        seen.send(call.remote().port()).unwrap();
        answer(call)
    });
    let limits = Limits { data_ports: client, ..Limits::default() };
    let client = open(&pair.env, pair.ca.security("client", CALLER), limits);
    let pool = Pool::new(pair.env.clone(), client.clone());
    let addr = pair.server.local_addr();
    pool.call(addr, SERVING, pair.scope(), &MANIFEST, Vec::new()).await.unwrap();
    pool.call(addr, SERVING, pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    pool.call(addr, SERVING, pair.scope(), &put_pieces(), vec![pattern(1000)]).await.unwrap();
    let control = pool.get(addr, SERVING, pair.deadline()).await.unwrap();
    let data = pool.get_data(addr, SERVING, pair.deadline()).await.unwrap();
    assert_eq!((control.peer(), data.peer()), (&pair.server.identity(), &pair.server.identity()));
    let mut next = async || came.recv().await.unwrap();
    let seen = [next().await, next().await, next().await];
    (seen, [client.local_addr().port(), addr.port()], [control.remote().port(), data.remote().port()])
}

#[tokio::test]
async fn pieces_go_to_a_data_port_and_all_else_to_control() {
    let ([manifest, get, put], [client, server], [control, data]) =
        ports(DataPorts::Any, DataPorts::Any).await;
    assert_eq!((manifest, control), (client, server));
    assert_ne!(data, server);
    assert_eq!(get, put);
    assert_ne!(get, client, "pieces came from the control port");
}

#[tokio::test]
async fn where_either_side_has_no_data_ports_pieces_go_to_control() {
    for (one, two) in [
        (DataPorts::None, DataPorts::Any),
        (DataPorts::Any, DataPorts::None),
        (DataPorts::None, DataPorts::None),
    ] {
        let (seen, [client, server], remotes) = ports(one.clone(), two.clone()).await;
        assert_eq!((seen, remotes), ([client; 3], [server; 2]), "{one:?}, {two:?}");
    }
}

#[tokio::test]
async fn a_request_s_body_beyond_its_sender_s_part_of_the_memory_is_told_to_come_back() {
    // A quarter of it is one node's.
    let limits = Limits { max_reply_bytes: 40_000, ..Limits::default() };
    let (begun, mut began) = mpsc::unbounded_channel();
    let finish = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&finish);
    let pair = Pair::with(limits, move |call: IncomingCall| {
        let (begun, gate) = (begun.clone(), Arc::clone(&gate));
        async move {
            begun.send(()).unwrap();
            gate.notified().await;
            answer(call).await
        }
    });
    let connection = pair.connect().await;
    let put = put_pieces();
    let first = connection.call(pair.scope(), &put, vec![pattern(6000)]);
    let second = async {
        began.recv().await.unwrap();
        let refused = connection.call(pair.scope(), &put, vec![pattern(6000)]).await.unwrap_err();
        let CallError::Failed(failure) = refused else { panic!("{refused}") };
        assert_eq!(failure.code, ErrorCode::Busy);
        assert!(failure.retry_after_ms > 0);
        // What fits beside it is taken, and the connection is as good as ever.
        let smaller = connection.call(pair.scope(), &put, vec![pattern(4000)]);
        let opening = async {
            began.recv().await.unwrap();
            finish.notify_one();
            finish.notify_one();
            while pair.calls() < 2 {
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            finish.notify_one();
        };
        tokio::join!(smaller, opening).0.unwrap();
    };
    let (first, ()) = soon(async { tokio::join!(first, second) }).await;
    first.unwrap();
    assert_eq!(pair.calls(), 2);
    // What was set aside is given back.
    finish.notify_one();
    connection.call(pair.scope(), &put, vec![pattern(10_000)]).await.unwrap();
}

/// Three bytes, which its caller's part of the memory has no room for.
async fn answer_unreserved(mut call: IncomingCall) -> Result<(), Refusal> {
    call.reply(&pieces(1), vec![Bytes::from_static(b"abc")]).await
}

#[tokio::test]
async fn a_reply_beyond_its_caller_s_part_of_the_memory_is_told_to_come_back_and_others_are_served() {
    // A quarter of it is one node's.
    let limits = Limits { max_reply_bytes: 40_000, ..Limits::default() };
    let (begun, mut began) = mpsc::unbounded_channel();
    let finish = Arc::new(tokio::sync::Notify::new());
    let gate = Arc::clone(&finish);
    let pair = Pair::with(limits, move |call: IncomingCall| {
        let (begun, gate) = (begun.clone(), Arc::clone(&gate));
        async move {
            if call.request::<GetPieces>()?.span.first.0 > 0 {
                return answer_unreserved(call).await;
            }
            let _reserved = call.reserve(9_998)?;
            begun.send(()).unwrap();
            gate.notified().await;
            answer(call).await
        }
    });
    let connection = pair.connect().await;
    let get = get_pieces(0);
    let first = connection.call(pair.scope(), &get, Vec::new());
    let second = async {
        began.recv().await.unwrap();
        let refused = connection.call(pair.scope(), &get, Vec::new()).await.unwrap_err();
        let CallError::Failed(failure) = refused else { panic!("{refused}") };
        assert_eq!(failure.code, ErrorCode::Busy);
        assert!(failure.retry_after_ms > 0);
        // What a handler did not set aside counts, too.
        let small = get_pieces(1);
        let refused = connection.call(pair.scope(), &small, Vec::new()).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::Busy);
        let other = pair.connect_from(&pair.node("other", CALLER)).await.unwrap();
        other.call(pair.scope(), &small, Vec::new()).await.unwrap();
        finish.notify_one();
    };
    let (first, ()) = soon(async { tokio::join!(first, second) }).await;
    first.unwrap();
    finish.notify_one();
    connection.call(pair.scope(), &get, Vec::new()).await.unwrap();
}

#[tokio::test]
async fn request_slots_grow_as_they_are_used_up_to_their_limit() {
    for (max_streams, most) in [(256, 256), (20, 20)] {
        let limits = Limits { max_streams, ..Limits::default() };
        let pair = Pair::with(limits, async |_| std::future::pending().await);
        let connection = pair.connect().await;
        let (scope, request) = (pair.scope(), get_pieces(0));
        let calls = (0..most + 10).map(|_| connection.call(scope, &request, Vec::new()));
        let all = futures_util::future::join_all(calls);
        let served = async {
            while pair.calls() < most {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        tokio::select! {
            biased;
            _ = all => panic!("nothing is ever answered"),
            () = soon(served) => {}
        }
        assert_eq!(pair.calls(), most);
    }
}
