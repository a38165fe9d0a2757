//! Bodies that are announced, pushed or torn to pieces cost what they bring, up to a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdcq_transport::{IncomingCall, Limits};
use rdcq_wire::frame::{MAX_HEADER, PREFIX_LEN};
use rdcq_wire::message::{Failure, PutPieces, Stored};
use rdcq_wire::{ErrorCode, Kind, Message, Prefix, frame};

use super::{
    CHUNK, Generous, Live, MIB, SHORT, STREAMS, brief, limits, nothing_is_left, until, windows, works,
    works_until,
};
use crate::gaps;
use crate::pair::{CALLER, Pair, pattern, put_pieces, reply_pieces, soon};
use crate::raw::{CONTEXT, Port, RawClient, data_addr, prefix};

/// Less than what any of these peers claims or sends, more than what other tests take meanwhile.
const MAX_GROWTH: u64 = 128 * MIB;

/// The same, with room for as many bodies of one node as it has streams.
fn limits_of_claims() -> Limits {
    // A quarter of it is one node's.
    let max_reply_bytes = 4 * u64::from(STREAMS) * u64::from(PutPieces::KIND.max_body());
    Limits { max_reply_bytes, ..limits() }
}

#[tokio::test]
async fn the_largest_header_and_body_that_may_be_claimed_cost_nothing_until_they_come() {
    let live = Live::default();
    let calls = live.clone();
    let pair = Pair::with(limits_of_claims(), move |mut call: IncomingCall| {
        let alive = calls.enter();
        async move {
            let _alive = alive;
            if call.kind() == Kind::GetPieces {
                return reply_pieces(call).await;
            }
            let _: PutPieces = call.request()?;
            call.take_body().collect().await?;
            call.reply(&Stored {}, Vec::new()).await
        }
    });
    let bystander = pair.connect().await;
    let before = resident();
    let boaster = RawClient::connect(&pair.ca.security("boaster", CALLER), pair.server.local_addr()).await;
    let put = PutPieces::KIND;
    let mut opened = Vec::new();
    for stream in 0..STREAMS {
        let (mut send, receive) = boaster.connection.open_bi().await.unwrap();
        let claim = match stream % 2 {
            0 => prefix(put.number(), 0, MAX_HEADER, put.max_body()),
            _ => frame::encode(brief(), &put_pieces(), put.max_body()).unwrap().to_vec(),
        };
        send.write_all(&claim).await.unwrap();
        opened.push((stream, send, receive));
    }
    until(|| live.count() == STREAMS as usize / 2).await;
    works(&pair, &bystander).await;
    let grown = resident().saturating_sub(before);
    let claimed = u64::from(STREAMS) * u64::from(put.max_body());
    assert!(claimed > 2 * MAX_GROWTH, "too little is claimed to see anything");
    assert!(grown < MAX_GROWTH, "{claimed} bytes were claimed, and {grown} taken");
    for (stream, _send, mut receive) in opened {
        let answer = soon(receive.read_to_end(4096)).await;
        if stream % 2 == 0 {
            assert!(matches!(answer, Err(quinn::ReadToEndError::Read(_))), "{answer:?}");
            continue;
        }
        let answer = answer.unwrap();
        let start = Prefix::decode(answer[..PREFIX_LEN].try_into().unwrap()).unwrap();
        assert_eq!(start.known_kind(), Ok(Kind::Failure));
        let (_, failure) = frame::decode::<Failure>(&answer[PREFIX_LEN..]).unwrap();
        assert_eq!(failure.code, ErrorCode::TimedOut);
    }
    assert_eq!((live.count(), boaster.connection.close_reason()), (0, None));
    nothing_is_left(&pair).await;
}

#[tokio::test]
async fn a_body_that_nobody_reads_fills_its_windows_and_no_more() {
    for port in Port::BOTH {
        let generous = Generous::default();
        let serving = generous.clone();
        let pair = Pair::with(limits(), move |call| serving.clone().serve(call));
        let bystander = pair.connect().await;
        let pushy =
            RawClient::connect_to(port, &pair.ca.security("pushy", CALLER), pair.server.local_addr()).await;
        let head = frame::encode(CONTEXT, &put_pieces(), PutPieces::KIND.max_body()).unwrap();
        let (mut streams, mut total) = (Vec::new(), 0);
        for _ in 0..4 {
            let (mut send, receive) = pushy.connection.open_bi().await.unwrap();
            let chunk = vec![1; 64 * 1024];
            let mut written = 0;
            let begun = tokio::time::timeout(SHORT, send.write_all(&head)).await;
            while begun.is_ok()
                && let Ok(more) = tokio::time::timeout(SHORT, send.write(&chunk)).await
            {
                written += more.unwrap() as u64;
            }
            assert!(
                written <= windows(port).stream + CHUNK as u64,
                "{written} bytes on one stream at {port:?}"
            );
            total += written;
            streams.push((send, receive));
            works(&pair, &bystander).await;
        }
        let window = windows(port).connection;
        let room = window - 8 * head.len() as u64..=window + CHUNK as u64;
        assert!(room.contains(&total), "{total} bytes on all streams at {port:?}");
        pushy.connection.close(0u32.into(), b"");
        works_until(&pair, &bystander, || pair.server.accepted() == 1 && generous.calls.count() == 0).await;
        nothing_is_left(&pair).await;
    }
}

/// Opens a stream that announces the longest body, and sends `frames` small parts of it with a gap behind each.
async fn send_gaps(client: &RawClient, frames: usize) -> Result<quinn::SendStream, quinn::WriteError> {
    let head = frame::encode(CONTEXT, &put_pieces(), PutPieces::KIND.max_body()).unwrap();
    let (mut send, _receive) = client.connection.open_bi().await.unwrap();
    let whole = [&head[..], &pattern(gaps::WHOLE as usize - head.len())[..]].concat();
    send.write_all(&whole).await?;
    for _ in 0..frames {
        // So small that what is kept to know where it belongs counts more than what it carries.
        send.write_all(&[3; 16]).await?;
        // Each goes into a datagram of its own.
        tokio::task::yield_now().await;
    }
    Ok(send)
}

#[tokio::test]
async fn gaps_that_are_never_filled_cost_the_connection_before_they_cost_memory() {
    /// What quinn keeps of a stream in pieces; how many it has is looked at once there are twice as many.
    const MAX_PIECES: usize = 1024;
    let (live, read) = (Live::default(), Arc::new(AtomicU64::new(0)));
    let (calls, counted) = (live.clone(), Arc::clone(&read));
    let pair = Pair::with(limits_of_claims(), move |mut call: IncomingCall| {
        let (alive, counted) = (calls.enter(), Arc::clone(&counted));
        async move {
            let _alive = alive;
            if call.kind() == Kind::GetPieces {
                return reply_pieces(call).await;
            }
            while let Some(bytes) = call.body().next().await? {
                counted.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }
            call.reply(&Stored {}, Vec::new()).await
        }
    });
    let bystander = pair.connect().await;
    let security = pair.ca.security("gapping", CALLER);
    let addr = data_addr(&security, pair.server.local_addr()).await;
    let client = RawClient::connect_as(gaps::config(&security), &security, addr).await;
    let before = resident();
    let mut streams = Vec::new();
    for _ in 0..16 {
        streams.push(send_gaps(&client, MAX_PIECES - 24).await.unwrap());
        works(&pair, &bystander).await;
    }
    let frames = client.connection.stats().frame_tx.stream;
    assert!(frames > 8 * MAX_PIECES as u64, "only {frames} frames: the gaps are few");
    let grown = resident().saturating_sub(before);
    assert!(grown < MAX_GROWTH / 2, "{grown} bytes for {frames} frames");
    // What follows the first gap is not read: it is a gap, and stays one.
    assert!(read.load(Ordering::SeqCst) <= 16 * (gaps::WHOLE + 16), "the gaps were filled");
    assert_eq!((client.connection.close_reason(), live.count()), (None, 16));

    // One stream with more than that costs all.
    let error = soon(async {
        match send_gaps(&client, 8 * MAX_PIECES).await {
            Ok(_) => client.connection.closed().await,
            Err(_) => client.connection.close_reason().unwrap(),
        }
    });
    let error = error.await.to_string();
    assert!(error.contains("too many gaps"), "{error}");
    works_until(&pair, &bystander, || pair.server.accepted() == 1 && live.count() == 0).await;
    nothing_is_left(&pair).await;
}

/// What the process holds in memory, in bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "a look at the machine from a test, that no simulated node takes"
)]
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
