//! Requests and their answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdcq_transport::{Answer, CallError, Connection, IncomingCall, Refusal, ReplyEnd, Scope};
use rdcq_wire::message::{Complete, Failure, Have, Pieces, PutPieces, Stored};
use rdcq_wire::{Class, DecodeError, ErrorCode, Kind, List, ResetCode, Role, Span};
use tokio::sync::{Notify, mpsc};

use crate::pair::{DropBell, Once, Pair, get_pieces, pattern, pieces, put_pieces, reply_pieces, soon, watch};

const MIB: usize = 1024 * 1024;

fn have(first: u32) -> Have {
    Have { spans: List::first_of([Span::new(first, 1)]), complete: Complete::Partial }
}

#[tokio::test]
async fn a_call_is_answered_and_carries_its_trace_and_its_caller() {
    let (seen, mut calls) = mpsc::unbounded_channel();
    let pair = Pair::new(move |call: IncomingCall| {
        seen.send((call.kind(), call.peer().clone(), call.scope().trace)).unwrap();
        reply_pieces(call)
    });
    let connection = pair.connect().await;
    let answer = connection.call(pair.scope(), &get_pieces(5), Vec::new()).await.unwrap();
    assert_eq!(answer.message, pieces(5));
    assert_eq!(answer.body.remaining(), 5);
    assert_eq!(answer.body.collect().await.unwrap().concat(), b"piece");
    let (kind, peer, trace) = calls.recv().await.unwrap();
    assert_eq!((kind, &peer, trace), (Kind::GetPieces, &pair.client.identity(), 77));
    assert_eq!(*connection.peer(), pair.server.identity());
}

#[tokio::test]
async fn eight_mebibytes_arrive_as_sent_in_both_directions() {
    let body = pattern(8 * MIB);
    let reply = body.clone();
    let pair = Pair::new(move |mut call: IncomingCall| {
        let reply = reply.clone();
        async move {
            let got = call.take_body().collect().await?.concat();
            if call.kind() == Kind::GetPieces {
                return call.reply(&pieces(0), vec![reply]).await;
            }
            assert_eq!(got, reply);
            call.reply(&Stored {}, Vec::new()).await
        }
    });
    let connection = pair.connect().await;
    connection.call(pair.scope(), &put_pieces(), vec![body.clone()]).await.unwrap();
    let answer = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    assert_eq!(answer.body.collect().await.unwrap().concat(), body);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_sent() {
    let pair = Pair::new(async |mut call: IncomingCall| {
        call.take_body().collect().await?;
        call.reply(&Stored {}, Vec::new()).await
    });
    let connection = pair.connect().await;
    let limit = Kind::PutPieces.max_body() as usize;
    let over = connection.call(pair.scope(), &put_pieces(), vec![pattern(limit + 1)]).await;
    assert!(matches!(over, Err(CallError::Encode(_))), "{over:?}");
    assert_eq!(pair.calls(), 0);
    connection.call(pair.scope(), &put_pieces(), vec![pattern(10)]).await.unwrap();
}

#[tokio::test]
async fn an_exchange_brings_many_frames_and_then_ends() {
    let pair = Pair::new(async |mut call: IncomingCall| {
        for first in 0..100 {
            call.reply(&have(first), Vec::new()).await?;
        }
        Ok(())
    });
    let connection = pair.connect().await;
    let mut exchange = connection.exchange(pair.scope(), &watch()).await.unwrap();
    for first in 0..100 {
        let frame = exchange.next().await.unwrap().unwrap();
        assert_eq!((frame.kind(), frame.decode().unwrap()), (Kind::Have, have(first)));
    }
    assert!(exchange.next().await.unwrap().is_none());
    assert!(exchange.next().await.unwrap().is_none());
}

#[tokio::test]
async fn bodies_within_an_exchange_may_be_read_or_left() {
    let pair = Pair::new(async |mut call: IncomingCall| {
        for first in 0..6 {
            call.reply(&pieces(first), vec![pattern(100_000), pattern(7)]).await?;
        }
        Ok(())
    });
    let connection = pair.connect().await;
    let mut exchange = connection.exchange(pair.scope(), &get_pieces(0)).await.unwrap();
    for first in 0..6 {
        let mut frame = exchange.next().await.unwrap().unwrap();
        assert_eq!(frame.decode::<Pieces>().unwrap(), pieces(first));
        match first % 3 {
            0 => assert_eq!(frame.body.collect().await.unwrap().concat().len(), 100_007),
            1 => assert!(frame.body.next().await.unwrap().is_some()),
            _ => {}
        }
    }
    assert!(exchange.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_body_read_in_batches_has_all_its_bytes_and_none_of_the_next_frame() {
    let pair = Pair::new(async |mut call: IncomingCall| {
        for first in 0..6 {
            call.reply(&pieces(first), vec![pattern(100_000), pattern(7)]).await?;
        }
        Ok(())
    });
    let connection = pair.connect().await;
    let mut exchange = connection.exchange(pair.scope(), &get_pieces(0)).await.unwrap();
    let wanted = [pattern(100_000), pattern(7)].concat();
    for first in 0..6 {
        let mut frame = exchange.next().await.unwrap().unwrap();
        assert_eq!(frame.decode::<Pieces>().unwrap(), pieces(first));
        let mut got = Vec::new();
        while frame.body.next_batch(|chunk| got.extend_from_slice(chunk)).await.unwrap() {}
        assert!(got == wanted, "{} bytes came, {} were sent, or others", got.len(), wanted.len());
    }
    assert!(exchange.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_failure_after_some_frames_ends_the_exchange() {
    let pair = Pair::new(async |mut call: IncomingCall| {
        call.reply(&have(0), Vec::new()).await?;
        Err(Failure::new(ErrorCode::NoSpace, "full").into())
    });
    let connection = pair.connect().await;
    let mut exchange = connection.exchange(pair.scope(), &watch()).await.unwrap();
    assert!(exchange.next().await.unwrap().is_some());
    let failed = CallError::Failed(Failure::new(ErrorCode::NoSpace, "full"));
    assert_eq!(exchange.next().await.unwrap_err(), failed);
    assert!(exchange.next().await.unwrap().is_none());
}

#[tokio::test]
async fn waiting_for_a_frame_may_be_given_up_and_begun_anew() {
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let gone = Once::new(gone);
    let pair = Pair::new(move |mut call: IncomingCall| {
        let gone = gone.take();
        async move {
            gone.unwrap().await.unwrap();
            call.reply(&have(3), Vec::new()).await
        }
    });
    let connection = pair.connect().await;
    let mut exchange = connection.exchange(pair.scope(), &watch()).await.unwrap();
    {
        let mut next = std::pin::pin!(exchange.next());
        assert!(futures_util::poll!(&mut next).is_pending());
    }
    go.send(()).unwrap();
    assert_eq!(exchange.next().await.unwrap().unwrap().decode::<Have>().unwrap(), have(3));
}

#[tokio::test]
async fn a_failure_arrives_whole() {
    let failure = Failure { retry_after_ms: 250, ..Failure::new(ErrorCode::Busy, "too much to do") };
    let told = failure.clone();
    let pair = Pair::new(move |_| {
        let told = told.clone();
        async move { Err(told.into()) }
    });
    let connection = pair.connect().await;
    let error = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap_err();
    assert_eq!(error, CallError::Failed(failure));
    assert_eq!(error.code(), ErrorCode::Busy);
}

#[tokio::test]
async fn a_caller_of_the_wrong_role_is_denied_before_its_body_is_read() {
    let pair = Pair::new(reply_pieces);
    let agent = pair.node("agent", &[Role::Agent]);
    let connection = pair.connect_from(&agent).await.unwrap();
    // More than the server's window for a stream: nobody would ever take all of it.
    let body = vec![pattern(64 * 1024); 8 * MIB / (64 * 1024)];
    let error = connection.call(pair.scope(), &put_pieces(), body).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Denied);
    assert_eq!(pair.calls(), 0);
    connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_the_role_does_not_serve_is_unsupported() {
    let pair = Pair::new(reply_pieces);
    let connection = pair.connect().await;
    let query = rdcq_wire::message::Resolve { query: "key:latest".parse().unwrap() };
    let error = connection.call(pair.scope(), &query, Vec::new()).await.unwrap_err();
    assert_eq!((error.code(), pair.calls()), (ErrorCode::Unsupported, 0));
    assert!(connection.is_usable());
}

#[tokio::test]
async fn a_service_that_refuses_early_is_heard_while_the_body_is_being_sent() {
    let pair = Pair::new(async |call: IncomingCall| {
        let _: PutPieces = call.request()?;
        Err(Failure::new(ErrorCode::NoSpace, "full").into())
    });
    let connection = pair.connect().await;
    let body = vec![pattern(8 * MIB)];
    let error = connection.call(pair.scope(), &put_pieces(), body).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NoSpace);
}

#[tokio::test]
async fn a_service_that_needs_no_body_may_say_yes_without_it() {
    let pair = Pair::new(async |mut call: IncomingCall| call.reply(&Stored {}, Vec::new()).await);
    let connection = pair.connect().await;
    connection.call(pair.scope(), &put_pieces(), vec![pattern(8 * MIB)]).await.unwrap();
}

#[tokio::test]
async fn a_dropped_call_stops_its_handler() {
    let (bell, rung) = DropBell::new();
    let bell = Once::new(bell);
    let (begun, mut began) = mpsc::unbounded_channel();
    let pair = Pair::new(move |_| {
        let (bell, begun) = (bell.take(), begun.clone());
        async move {
            let _bell = bell;
            begun.send(()).unwrap();
            std::future::pending().await
        }
    });
    let connection = pair.connect().await;
    let (request, scope) = (get_pieces(0), pair.scope());
    let call = connection.call(scope, &request, Vec::new());
    tokio::select! {
        biased;
        _ = call => panic!("nothing answers"),
        _ = began.recv() => {}
    }
    soon(rung).await.unwrap();
    assert!(connection.is_usable());
}

#[tokio::test]
async fn a_body_that_is_left_stops_its_sender() {
    let (result, mut results) = mpsc::unbounded_channel();
    let pair = Pair::new(move |mut call: IncomingCall| {
        let result = result.clone();
        async move {
            let (bell, rung) = DropBell::new();
            tokio::spawn(async move { result.send(rung.await).unwrap() });
            let _bell = bell;
            call.reply(&pieces(0), vec![pattern(8 * MIB)]).await?;
            std::future::pending().await
        }
    });
    let connection = pair.connect().await;
    let mut answer = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    assert!(answer.body.next().await.unwrap().is_some());
    drop(answer);
    soon(results.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_off_reaches_the_handler_as_an_error() {
    let (begun, mut began) = mpsc::unbounded_channel();
    let (result, mut results) = mpsc::unbounded_channel();
    let broken_off = Arc::new(Notify::new());
    let go_on = Arc::clone(&broken_off);
    let pair = Pair::new(move |mut call: IncomingCall| {
        begun.send(()).unwrap();
        let (body, result, go_on) = (call.take_body(), result.clone(), Arc::clone(&go_on));
        tokio::spawn(async move {
            go_on.notified().await;
            result.send(body.collect().await.map(|_| ())).unwrap();
        });
        async move { call.reply(&Stored {}, Vec::new()).await }
    });
    let connection = pair.connect().await;
    let (caller, scope) = (connection.clone(), pair.scope());
    // More than the server's window for a stream, so that it is never sent whole.
    let call = tokio::spawn(async move {
        let _ = caller.call(scope, &put_pieces(), vec![pattern(8 * MIB)]).await;
    });
    began.recv().await.unwrap();
    call.abort();
    broken_off.notify_one();
    let error = soon(results.recv()).await.unwrap().unwrap_err();
    assert_eq!(error, CallError::Aborted(Some(ResetCode::Cancelled)));
    assert!(connection.is_usable());
}

#[tokio::test]
async fn a_deadline_ends_the_handler_and_the_call() {
    let (bell, rung) = DropBell::new();
    let bell = Once::new(bell);
    let pair = Pair::new(move |_| {
        let bell = bell.take();
        async move {
            let _bell = bell;
            std::future::pending().await
        }
    });
    let connection = pair.connect().await;
    let scope =
        Scope { trace: 1, deadline: pair.env.now() + Duration::from_millis(200), class: Class::Normal };
    let error = connection.call(scope, &get_pieces(0), Vec::new()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::TimedOut);
    soon(rung).await.unwrap();
    let over = Scope { trace: 1, deadline: pair.env.now(), class: Class::Normal };
    let error = connection.call(over, &get_pieces(0), Vec::new()).await.unwrap_err();
    assert_eq!((error, pair.calls()), (CallError::TimedOut, 1));
}

#[tokio::test]
async fn a_panic_in_a_handler_costs_one_call() {
    let pair = Pair::new(async |call: IncomingCall| {
        let request: rdcq_wire::message::GetPieces = call.request()?;
        assert_ne!(request.span.first.0, 13, "this panic is part of the test");
        reply_pieces(call).await
    });
    let connection = pair.connect().await;
    let error = connection.call(pair.scope(), &get_pieces(13), Vec::new()).await.unwrap_err();
    assert_eq!(error, CallError::Aborted(Some(ResetCode::Failed)));
    assert_eq!(error.code(), ErrorCode::Internal);
    connection.call(pair.scope(), &get_pieces(1), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn a_handler_that_replies_nothing_is_a_failure_of_its_own() {
    let pair = Pair::new(async |_| Ok(()));
    let connection = pair.connect().await;
    let error = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap_err();
    assert!(matches!(error, CallError::Failed(_)));
    assert_eq!(error.code(), ErrorCode::Internal);
}

#[tokio::test]
async fn a_call_may_be_replied_to_from_a_task_of_its_own() {
    let pair = Pair::new(async |call: IncomingCall| {
        tokio::spawn(reply_pieces(call));
        Ok(())
    });
    let connection = pair.connect().await;
    connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
}

#[tokio::test]
async fn reading_a_request_as_another_is_the_caller_s_fault() {
    let pair = Pair::new(async |call: IncomingCall| call.request::<PutPieces>().map(|_| ()));
    let connection = pair.connect().await;
    let error = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap_err();
    assert!(matches!(error, CallError::Lost(_)), "{error}");
    let refusal = Refusal::from(DecodeError::Truncated);
    assert_eq!(refusal, Refusal::Protocol(DecodeError::Truncated));
}

#[tokio::test]
async fn what_another_node_did_wrong_does_not_cost_the_caller_its_connection() {
    let refusal = Refusal::from(CallError::Protocol(DecodeError::Truncated));
    assert!(matches!(refusal, Refusal::Failure(failure) if failure.code == ErrorCode::Internal));
}

#[tokio::test]
async fn more_calls_than_streams_wait_their_turn() {
    let pair = Pair::new(reply_pieces);
    let connection = pair.connect().await;
    let calls = (0..300).map(|first| {
        let (connection, scope) = (connection.clone(), pair.scope());
        tokio::spawn(async move { connection.call(scope, &get_pieces(first), Vec::new()).await })
    });
    for (first, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.message, pieces(first as u32));
    }
    assert_eq!(pair.calls(), 300);
}

#[tokio::test]
async fn an_answer_outlives_its_connection_s_handle() {
    let body = pattern(2 * MIB);
    let reply = Arc::new(body.clone());
    let pair = Pair::new(move |mut call: IncomingCall| {
        let reply = Bytes::clone(&reply);
        async move { call.reply(&pieces(0), vec![reply]).await }
    });
    let connection = pair.connect().await;
    let answer = connection.call(pair.scope(), &get_pieces(0), Vec::new()).await.unwrap();
    drop(connection);
    assert_eq!(answer.body.collect().await.unwrap().concat(), body);
}

/// How replies of so many bytes end, by what the handler is told, if the caller does that with each answer.
async fn ends<Fut: Future<Output = ()>>(
    bytes: usize,
    fails: bool,
    with: impl Fn(Connection, Scope) -> Fut,
) -> Vec<ReplyEnd> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let pair = Pair::new(move |mut call: IncomingCall| {
        let tell = tell.clone();
        async move {
            call.on_end(move |end| tell.send(end).unwrap());
            if fails {
                return Err(Failure::new(ErrorCode::NotFound, "it is not here").into());
            }
            call.reply(&pieces(0), vec![pattern(bytes)]).await
        }
    });
    with(pair.connect().await, pair.scope()).await;
    let mut ends = vec![soon(told.recv()).await.unwrap()];
    pair.server.drain(Duration::from_millis(100)).await;
    ends.extend(std::iter::from_fn(|| told.try_recv().ok()));
    ends
}

#[tokio::test]
async fn a_handler_is_told_once_how_its_reply_ended() {
    let read = |connection: Connection, scope| async move {
        let answer: Answer<Pieces> = connection.call(scope, &get_pieces(0), Vec::new()).await.unwrap();
        answer.body.collect().await.unwrap();
    };
    let give_up = |connection: Connection, scope| async move {
        drop(connection.call(scope, &get_pieces(0), Vec::new()).await.unwrap());
    };
    let fail = |connection: Connection, scope| async move {
        connection.call(scope, &get_pieces(0), Vec::new()).await.unwrap_err();
    };
    assert_eq!(ends(MIB, false, read).await, [ReplyEnd::Arrived]);
    assert_eq!(ends(100, false, read).await, [ReplyEnd::Arrived]);
    assert_eq!(ends(8 * MIB, false, give_up).await, [ReplyEnd::Lost]);
    assert_eq!(ends(MIB, true, fail).await, [ReplyEnd::Lost]);
}
