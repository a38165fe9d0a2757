//! Streams that end too early, or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdcq_transport::{CallError, IncomingCall, Refusal};
use rdcq_wire::frame::PREFIX_LEN;
use rdcq_wire::{Kind, ResetCode, frame};

use super::{Live, STREAMS, limits, nothing_is_left, works, works_until};
use crate::pair::{CALLER, Pair, SERVING, get_pieces, pattern, pieces, put_pieces, reply_pieces, soon};
use crate::raw::{CONTEXT, Port, RawClient, RawServer, bytes_of, hello, tell};

#[tokio::test]
async fn streams_on_which_nothing_more_is_said_are_reset_in_time_and_may_be_used_again() {
    for port in Port::BOTH {
        let pair = Pair::with(limits(), reply_pieces);
        let bystander = pair.connect().await;
        let silent =
            RawClient::connect_to(port, &pair.ca.security("silent", CALLER), pair.server.local_addr()).await;
        let whole = bytes_of(&get_pieces(0));
        for said in [1, PREFIX_LEN - 1, PREFIX_LEN, whole.len() - 1] {
            let mut opened = Vec::new();
            // quinn keeps up to an eighth of the streams that may be used again to itself, until there are more.
            for _ in 0..STREAMS - STREAMS / 8 {
                let (mut send, receive) = silent.connection.open_bi().await.unwrap();
                send.write_all(&whole[..said]).await.unwrap();
                opened.push((send, receive));
            }
            works(&pair, &bystander).await;
            for (send, mut receive) in opened {
                let ended = soon(receive.read_to_end(100)).await;
                let cancelled = quinn::VarInt::from_u32(ResetCode::Cancelled.number());
                let reset = quinn::ReadError::Reset(cancelled);
                assert_eq!(ended, Err(quinn::ReadToEndError::Read(reset)), "after {said} bytes");
                let refused = quinn::VarInt::from_u32(ResetCode::Refused.number());
                assert_eq!(soon(send.stopped()).await, Ok(Some(refused)), "after {said} bytes");
            }
        }
        assert_eq!(pair.calls(), 4, "only the bystander has asked anything");
        assert!(!silent.request(&whole).await.unwrap().is_empty());
        nothing_is_left(&pair).await;
    }
}

#[tokio::test]
async fn a_peer_that_resets_in_the_middle_costs_its_call_alone() {
    for port in Port::BOTH {
        let (failed, live) = (Arc::new(AtomicUsize::new(0)), Live::default());
        let (failures, calls) = (Arc::clone(&failed), live.clone());
        let pair = Pair::with(limits(), move |mut call: IncomingCall| {
            let (alive, failures) = (calls.enter(), Arc::clone(&failures));
            async move {
                let _alive = alive;
                if call.kind() == Kind::GetPieces {
                    return reply_pieces(call).await;
                }
                let body = call.take_body().collect().await;
                assert!(matches!(body, Err(CallError::Aborted(_))), "{body:?}");
                failures.fetch_add(1, Ordering::SeqCst);
                body.map(|_| ()).map_err(Refusal::from)
            }
        });
        let bystander = pair.connect().await;
        let fickle =
            RawClient::connect_to(port, &pair.ca.security("fickle", CALLER), pair.server.local_addr()).await;
        let head = frame::encode(CONTEXT, &put_pieces(), 100).unwrap();
        let whole = [&head[..], &pattern(100)[..]].concat();
        for round in 0..3 * STREAMS as usize {
            let sent =
                [1, PREFIX_LEN, head.len() - 1, head.len(), head.len() + 50, whole.len() - 1][round % 6];
            let (mut send, mut receive) = fickle.connection.open_bi().await.unwrap();
            send.write_all(&whole[..sent]).await.unwrap();
            // What was sent arrives first: a reset may overtake it.
            tokio::time::sleep(Duration::from_millis(2)).await;
            send.reset(9u32.into()).unwrap();
            // The answer, if there is one, says that it failed.
            let _ = soon(receive.read_to_end(4096)).await;
            assert_eq!(fickle.connection.close_reason(), None, "after {sent} bytes");
        }
        assert!(failed.load(Ordering::SeqCst) > 0, "no body was ever begun");
        works_until(&pair, &bystander, || live.count() == 0).await;
        assert!(!fickle.request(&bytes_of(&get_pieces(0))).await.unwrap().is_empty());
        nothing_is_left(&pair).await;
    }
}

#[tokio::test]
async fn a_server_that_resets_its_answer_in_the_middle_costs_the_call_alone() {
    let pair = Pair::new(reply_pieces);
    let security = pair.ca.security("fickle", &[SERVING]);
    let fickle = RawServer::open(&security);
    let whole = [&frame::encode(CONTEXT, &pieces(4), 100).unwrap()[..], &pattern(100)[..]].concat();
    let cuts = [0, 1, PREFIX_LEN, whole.len() - 101, whole.len() - 50, whole.len() - 1];
    let serving = async {
        let connection = fickle.accept().await;
        tell(&connection, &bytes_of(&hello(&security, SERVING))).await;
        for cut in cuts {
            let (mut send, mut receive) = connection.accept_bi().await.unwrap();
            receive.read_to_end(4096).await.unwrap();
            send.write_all(&whole[..cut]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            send.reset(ResetCode::Failed.number().into()).unwrap();
        }
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        receive.read_to_end(4096).await.unwrap();
        send.write_all(&whole).await.unwrap();
        send.finish().unwrap();
        connection
    };
    let calling = async {
        let connection = pair.client.connect(fickle.addr(), SERVING, pair.deadline()).await.unwrap();
        for cut in cuts {
            let called = connection.call(pair.scope(), &get_pieces(4), Vec::new()).await;
            let error = match called {
                Ok(answer) => answer.body.collect().await.unwrap_err(),
                Err(error) => error,
            };
            assert_eq!(error, CallError::Aborted(Some(ResetCode::Failed)), "after {cut} bytes");
            assert!(connection.is_usable(), "after {cut} bytes");
        }
        let answer = connection.call(pair.scope(), &get_pieces(4), Vec::new()).await.unwrap();
        assert_eq!(answer.body.collect().await.unwrap().concat(), pattern(100));
    };
    let (_connection, ()) = soon(async { tokio::join!(serving, calling) }).await;
}
