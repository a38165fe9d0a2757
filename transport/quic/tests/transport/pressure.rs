//! Peers that take much and give little: what each can cost is bounded, a bystander does not notice, and nothing is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use rdcq_transport::{CallError, ConnectError, Connection, IncomingCall, Limits, Refusal};
use rdcq_wire::frame::{MAX_HEADER, PREFIX_LEN};
use rdcq_wire::message::{Failure, GetPieces, PutPieces, Stored};
use rdcq_wire::{Context, ErrorCode, Kind, Message, Prefix, ResetCode, frame};

use crate::gaps;
use crate::pair::{CALLER, Pair, SERVING, get_pieces, pattern, pieces, put_pieces, reply_pieces, soon};
use crate::raw::{CONTEXT, RawClient, RawServer, bytes_of, hello, prefix, relay, tell};

const MIB: u64 = 1024 * 1024;
/// What the transport keeps of a connection's replies until they are acknowledged.
const SEND_WINDOW: u64 = 8 * MIB;
/// What the transport buffers of one stream that nobody reads.
const STREAM_WINDOW: u64 = 4 * MIB;
/// What the transport buffers of all streams of a connection that nobody reads.
const CONNECTION_WINDOW: u64 = 16 * MIB;
/// What a body is handed over in.
const CHUNK: usize = 256 * 1024;
/// Less than what any of these peers claims or sends, more than what other tests take meanwhile.
const MAX_GROWTH: u64 = 128 * MIB;
/// How many streams these peers use.
const STREAMS: u32 = 64;
/// How long a peer may keep the server waiting in these tests.
const SHORT: Duration = Duration::from_millis(300);

/// Limits that let a test see their end.
fn limits() -> Limits {
    Limits { max_streams: STREAMS, hello_timeout: SHORT, ..Limits::default() }
}

/// The same with an end to silence, too.
fn limits_of_silence() -> Limits {
    Limits { idle_timeout: Duration::from_secs(2), ..limits() }
}

/// A header's beginning of a call that is over soon.
fn brief() -> Context {
    Context { time_left_ms: SHORT.as_millis() as u32, ..CONTEXT }
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

/// Waits for what another task does.
async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A number that goes up while something lives.
#[derive(Clone, Default)]
struct Live(Arc<AtomicUsize>);

struct Alive(Arc<AtomicUsize>);

impl Live {
    fn enter(&self) -> Alive {
        self.0.fetch_add(1, Ordering::SeqCst);
        Alive(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A service that replies without end to whoever asks for [`ENDLESS`], and counts what was taken from it; bodies it leaves
/// unread. A bystander asks for anything else.
#[derive(Clone, Default)]
struct Generous {
    taken: Arc<AtomicU64>,
    calls: Live,
}

const ENDLESS: u32 = 1_000_000;

impl Generous {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    async fn serve(self, mut call: IncomingCall) -> Result<(), Refusal> {
        let _alive = self.calls.enter();
        if call.kind() == Kind::PutPieces {
            return std::future::pending().await;
        }
        let request: GetPieces = call.request()?;
        if request.span.first.0 < ENDLESS {
            return reply_pieces(call).await;
        }
        let chunk = Bytes::from(vec![7; CHUNK]);
        loop {
            call.reply(&pieces(0), vec![chunk.clone()]).await?;
            self.taken.fetch_add(CHUNK as u64, Ordering::SeqCst);
        }
    }
}

async fn works<F, Fut>(pair: &Pair<F>, bystander: &Connection)
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    let answer = bystander.call(pair.scope(), &get_pieces(1), Vec::new()).await.unwrap();
    assert_eq!(answer.body.collect().await.unwrap().concat(), b"piece");
}

/// Waits for what becomes of another peer, while the bystander goes on.
async fn works_until<F, Fut>(pair: &Pair<F>, bystander: &Connection, mut holds: impl FnMut() -> bool)
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    soon(async {
        loop {
            works(pair, bystander).await;
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The server has no call left: it can go away at once.
async fn nothing_is_left<F, Fut>(pair: &Pair<F>)
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    let begun = pair.env.now();
    pair.server.drain(Duration::from_secs(20)).await;
    let took = pair.env.now() - begun;
    assert!(took < Duration::from_secs(5), "a call held up the drain for {took:?}");
}

/// Asks for an answer without end on so many streams, and reads none of it.
async fn ask_without_reading(
    client: &RawClient,
    context: Context,
    streams: u32,
) -> Vec<(quinn::SendStream, quinn::RecvStream)> {
    let request = frame::encode(context, &get_pieces(ENDLESS), 0).unwrap();
    let mut opened = Vec::new();
    for _ in 0..streams {
        let (mut send, receive) = client.connection.open_bi().await.unwrap();
        send.write_all(&request).await.unwrap();
        send.finish().unwrap();
        opened.push((send, receive));
    }
    opened
}

/// Waits until nothing more is taken from the service.
async fn settled(generous: &Generous) -> u64 {
    let mut before = u64::MAX;
    soon(async {
        while generous.taken() != before {
            before = generous.taken();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    before
}

#[tokio::test]
async fn a_peer_that_never_reads_is_sent_what_it_has_room_for_and_loses_its_calls_in_time() {
    let generous = Generous::default();
    let serving = generous.clone();
    let pair = Pair::with(limits(), move |call| serving.clone().serve(call));
    let bystander = pair.connect().await;
    let idler = RawClient::connect(&pair.ca.security("idler", CALLER), pair.server.local_addr()).await;
    let context = Context { time_left_ms: 1500, ..CONTEXT };
    let opened = ask_without_reading(&idler, context, 4).await;
    let taken = settled(&generous).await;
    // Such a client has room for 1.25 MB a stream; a frame that has no room is not taken, but under way.
    assert!((1..=4 * 1_250_000).contains(&taken), "{taken} bytes");
    works(&pair, &bystander).await;
    // The caller's own time is over at last, read or not.
    works_until(&pair, &bystander, || generous.calls.count() == 0).await;
    assert_eq!(idler.connection.close_reason(), None);
    drop(opened);
    assert!(!idler.request(&bytes_of(&get_pieces(1))).await.unwrap().is_empty());
    works(&pair, &bystander).await;
    nothing_is_left(&pair).await;
}

/// A relay that carries nothing back any more once `deaf` is set.
async fn one_way_relay(server: SocketAddr, deaf: Arc<AtomicBool>) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, mut datagram) = (None, vec![0; 65536]);
        loop {
            let Ok((len, from)) = socket.recv_from(&mut datagram).await else { continue };
            let to = if from == server { client } else { Some(server) };
            if from != server {
                client = Some(from);
            } else if deaf.load(Ordering::SeqCst) {
                continue;
            }
            if let Some(to) = to {
                let _ = socket.send_to(&datagram[..len], to).await;
            }
        }
    });
    addr
}

#[tokio::test]
async fn a_peer_that_acknowledges_nothing_costs_one_send_window_on_all_its_streams_and_is_given_up() {
    let generous = Generous::default();
    let serving = generous.clone();
    let pair = Pair::with(limits_of_silence(), move |call| serving.clone().serve(call));
    let bystander = pair.connect().await;
    let deaf = Arc::new(AtomicBool::new(false));
    let addr = one_way_relay(pair.server.local_addr(), Arc::clone(&deaf)).await;
    // It says that it has room for everything.
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(quinn::VarInt::MAX).receive_window(quinn::VarInt::MAX);
    let security = pair.ca.security("deaf", CALLER);
    let client = RawClient::connect_with(&security, addr, transport).await;
    works_until(&pair, &bystander, || pair.server.accepted() == 2).await;
    deaf.store(true, Ordering::SeqCst);
    let _opened = ask_without_reading(&client, CONTEXT, 16).await;
    until(|| generous.calls.count() == 16).await;
    works(&pair, &bystander).await;
    let taken = settled(&generous).await;
    assert!((SEND_WINDOW / 2..=SEND_WINDOW).contains(&taken), "{taken} bytes");
    works_until(&pair, &bystander, || pair.server.accepted() == 1 && generous.calls.count() == 0).await;
    nothing_is_left(&pair).await;
}

#[tokio::test]
async fn a_peer_that_dies_without_a_word_leaves_nothing_but_its_idle_time() {
    let live = Live::default();
    let calls = live.clone();
    let pair = Pair::with(limits_of_silence(), move |call: IncomingCall| {
        let alive = calls.enter();
        async move {
            let _alive = alive;
            match call.kind() {
                Kind::GetPieces => reply_pieces(call).await,
                _ => std::future::pending().await,
            }
        }
    });
    let bystander = pair.connect().await;
    let (addr, relay) = relay(pair.server.local_addr()).await;
    let mortal = RawClient::connect(&pair.ca.security("mortal", CALLER), addr).await;
    // One call under way, one half asked, one stream without a byte.
    let (mut asking, _a) = mortal.connection.open_bi().await.unwrap();
    asking.write_all(&frame::encode(CONTEXT, &put_pieces(), 1000).unwrap()).await.unwrap();
    let (mut half, _b) = mortal.connection.open_bi().await.unwrap();
    half.write_all(&prefix(GetPieces::KIND.number(), 0, 100, 0)).await.unwrap();
    let _none = mortal.connection.open_bi().await.unwrap();
    until(|| live.count() == 1 && pair.server.accepted() == 2).await;
    relay.abort();
    works_until(&pair, &bystander, || pair.server.accepted() == 1 && live.count() == 0).await;
    nothing_is_left(&pair).await;
}

#[tokio::test]
async fn streams_on_which_nothing_more_is_said_are_reset_in_time_and_may_be_used_again() {
    let pair = Pair::with(limits(), reply_pieces);
    let bystander = pair.connect().await;
    let silent = RawClient::connect(&pair.ca.security("silent", CALLER), pair.server.local_addr()).await;
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

#[tokio::test]
async fn the_largest_header_and_body_that_may_be_claimed_cost_nothing_until_they_come() {
    let live = Live::default();
    let calls = live.clone();
    let pair = Pair::with(limits(), move |mut call: IncomingCall| {
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
async fn a_peer_that_resets_in_the_middle_costs_its_call_alone() {
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
    let fickle = RawClient::connect(&pair.ca.security("fickle", CALLER), pair.server.local_addr()).await;
    let head = frame::encode(CONTEXT, &put_pieces(), 100).unwrap();
    let whole = [&head[..], &pattern(100)[..]].concat();
    for round in 0..3 * STREAMS as usize {
        let sent = [1, PREFIX_LEN, head.len() - 1, head.len(), head.len() + 50, whole.len() - 1][round % 6];
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

#[tokio::test]
async fn a_body_that_nobody_reads_fills_its_windows_and_no_more() {
    let generous = Generous::default();
    let serving = generous.clone();
    let pair = Pair::with(limits(), move |call| serving.clone().serve(call));
    let bystander = pair.connect().await;
    let pushy = RawClient::connect(&pair.ca.security("pushy", CALLER), pair.server.local_addr()).await;
    let head = frame::encode(CONTEXT, &put_pieces(), PutPieces::KIND.max_body()).unwrap();
    let (mut streams, mut total) = (Vec::new(), 0);
    for _ in 0..6 {
        let (mut send, receive) = pushy.connection.open_bi().await.unwrap();
        let chunk = vec![1; 64 * 1024];
        let mut written = 0;
        let begun = tokio::time::timeout(SHORT, send.write_all(&head)).await;
        while begun.is_ok()
            && let Ok(more) = tokio::time::timeout(SHORT, send.write(&chunk)).await
        {
            written += more.unwrap() as u64;
        }
        assert!(written <= STREAM_WINDOW + CHUNK as u64, "{written} bytes on one stream");
        total += written;
        streams.push((send, receive));
        works(&pair, &bystander).await;
    }
    let room = CONNECTION_WINDOW - 8 * head.len() as u64..=CONNECTION_WINDOW + CHUNK as u64;
    assert!(room.contains(&total), "{total} bytes on all streams");
    pushy.connection.close(0u32.into(), b"");
    works_until(&pair, &bystander, || pair.server.accepted() == 1 && generous.calls.count() == 0).await;
    nothing_is_left(&pair).await;
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
    let pair = Pair::with(limits(), move |mut call: IncomingCall| {
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
    let client = RawClient::connect_as(gaps::config(&security), pair.server.local_addr()).await;
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

#[tokio::test]
async fn another_alpn_is_refused_by_either_side_and_leaves_nothing() {
    /// TLS's alert `no_application_protocol`, as QUIC tells it.
    const NO_PROTOCOL: u64 = 0x178;
    let pair = Pair::with(limits(), reply_pieces);
    let bystander = pair.connect().await;
    let mut security = pair.ca.security("web", CALLER);
    for alpn in [vec![b"h3".to_vec()], vec![b"rdcq/0".to_vec(), b"rdcq/2".to_vec()], Vec::new()] {
        let mut client = (*security.client).clone();
        client.alpn_protocols = alpn.clone();
        let crypto = QuicClientConfig::try_from(Arc::new(client)).unwrap();
        let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let config = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(config, pair.server.local_addr(), "rdcq").unwrap();
        let error = match soon(connecting).await {
            // Whoever names no protocol at all is done before the server has said no.
            Ok(connection) => soon(connection.closed()).await,
            Err(error) => error,
        };
        let quinn::ConnectionError::ConnectionClosed(close) = &error else { panic!("{alpn:?}: {error}") };
        assert_eq!(u64::from(close.error_code), NO_PROTOCOL, "{alpn:?}");
        works(&pair, &bystander).await;
    }
    assert_eq!((pair.server.accepted(), pair.calls()), (1, 3));

    let mut server = (*pair.ca.security("web", &[SERVING]).server).clone();
    server.alpn_protocols = vec![b"h3".to_vec()];
    security.server = Arc::new(server);
    let web = RawServer::open(&security);
    let accepting = async { web.endpoint.accept().await.unwrap().await.unwrap_err() };
    let connecting = pair.client.connect(web.addr(), SERVING, pair.deadline());
    let (connected, _) = soon(async { tokio::join!(connecting, accepting) }).await;
    let error = connected.unwrap_err();
    assert!(!matches!(error, ConnectError::TimedOut { .. }), "{error}");
    nothing_is_left(&pair).await;
}
