//! Peers that do not read, do not acknowledge, or are gone: what is sent to them is bounded, and ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdcq_transport::IncomingCall;
use rdcq_wire::message::GetPieces;
use rdcq_wire::{Context, Kind, Message, frame};

use super::{
    ENDLESS, Generous, Live, limits, limits_of_silence, nothing_is_left, until, windows, works, works_until,
};
use crate::pair::{CALLER, Pair, get_pieces, put_pieces, reply_pieces, soon};
use crate::raw::{CONTEXT, Port, RawClient, bytes_of, prefix, relay};

#[tokio::test]
async fn a_peer_that_never_reads_is_sent_what_it_has_room_for_and_loses_its_calls_in_time() {
    for port in Port::BOTH {
        let generous = Generous::default();
        let serving = generous.clone();
        let pair = Pair::with(limits(), move |call| serving.clone().serve(call));
        let bystander = pair.connect().await;
        let idler =
            RawClient::connect_to(port, &pair.ca.security("idler", CALLER), pair.server.local_addr()).await;
        let context = Context { time_left_ms: 1500, ..CONTEXT };
        let opened = ask_without_reading(&idler, context, 4).await;
        let taken = settled(&generous).await;
        // Such a client has room for 1.25 MB a stream; a frame that has no room is not taken, but under way.
        assert!((1..=4 * 1_250_000).contains(&taken), "{taken} bytes at {port:?}");
        works(&pair, &bystander).await;
        // The caller's own time is over at last, read or not.
        works_until(&pair, &bystander, || generous.calls.count() == 0).await;
        assert_eq!(idler.connection.close_reason(), None);
        drop(opened);
        assert!(!idler.request(&bytes_of(&get_pieces(1))).await.unwrap().is_empty());
        works(&pair, &bystander).await;
        nothing_is_left(&pair).await;
    }
}

#[tokio::test]
async fn a_peer_that_acknowledges_nothing_costs_one_send_window_on_all_its_streams_and_is_given_up() {
    for port in Port::BOTH {
        let generous = Generous::default();
        let serving = generous.clone();
        let pair = Pair::with(limits_of_silence(), move |call| serving.clone().serve(call));
        let bystander = pair.connect().await;
        let deaf = Arc::new(AtomicBool::new(false));
        let security = pair.ca.security("deaf", CALLER);
        let addr = port.addr(&security, pair.server.local_addr()).await;
        let addr = one_way_relay(addr, Arc::clone(&deaf)).await;
        // It says that it has room for everything.
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(quinn::VarInt::MAX).receive_window(quinn::VarInt::MAX);
        let client = RawClient::connect_with(&security, addr, transport).await;
        works_until(&pair, &bystander, || pair.server.accepted() == 2).await;
        deaf.store(true, Ordering::SeqCst);
        // As many as may be open at first: it will not hear of more.
        let _opened = ask_without_reading(&client, CONTEXT, 4).await;
        until(|| generous.calls.count() == 4).await;
        works(&pair, &bystander).await;
        let (taken, send) = (settled(&generous).await, windows(port).send);
        assert!((send / 2..=send).contains(&taken), "{taken} bytes at {port:?}");
        works_until(&pair, &bystander, || pair.server.accepted() == 1 && generous.calls.count() == 0).await;
        nothing_is_left(&pair).await;
    }
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

/// Asks for an answer without end on so many streams, and reads none of it.
pub(super) async fn ask_without_reading(
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
