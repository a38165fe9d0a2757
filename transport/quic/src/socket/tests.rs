//! The joining socket over one that only takes notes, and over loopback.

use std::net::IpAddr;
use std::time::Duration;

use quinn::Runtime as _;
use quinn::udp::EcnCodepoint;

use super::fake::{Call, Fake, peer};
use super::*;

/// `count` datagrams of `segment` bytes, each filled with `fill`.
fn send(socket: &JoiningSocket, to: u8, fill: u8, count: usize, segment: usize) -> io::Result<()> {
    send_bytes(socket, to, &vec![fill; count * segment], (count > 1).then_some(segment))
}

fn send_bytes(
    socket: &JoiningSocket,
    to: u8,
    contents: &[u8],
    segment_size: Option<usize>,
) -> io::Result<()> {
    socket.try_send(&Transmit { destination: peer(to), ecn: None, contents, segment_size, src_ip: None })
}

/// A socket whose flusher runs; it acts when the test waits.
fn joining(inner: &Arc<Fake>) -> Arc<JoiningSocket> {
    JoiningSocket::wrap(Arc::clone(inner) as _, Arc::default(), |flusher| drop(tokio::spawn(flusher)))
}

/// A socket whose flusher never runs.
fn unflushed(inner: &Arc<Fake>) -> Arc<JoiningSocket> {
    JoiningSocket::wrap(Arc::clone(inner) as _, Arc::default(), drop)
}

async fn let_the_flusher_run() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn batches_to_one_peer_become_one_call_of_at_most_what_the_kernel_takes() {
    let inner = Fake::new();
    let socket = joining(&inner);
    for fill in 0..9 {
        send(&socket, 1, fill, 10, 1452).unwrap();
    }
    assert_eq!(inner.batches(), [40, 40], "ten more datagrams would be more than 65,000 bytes");
    let_the_flusher_run().await;
    assert_eq!(inner.batches(), [40, 40, 10]);
    let sent: Vec<u8> = inner.notes().calls.iter().flat_map(Call::datagrams).map(|bytes| bytes[0]).collect();
    let wanted: Vec<u8> = (0..9).flat_map(|fill| [fill; 10]).collect();
    assert_eq!(sent, wanted);
    assert!(inner.notes().calls.iter().all(|call| call.segment == Some(1452) && call.bytes.len() <= 65_000));
    let figures = socket.figures();
    assert_eq!((figures.datagrams(), figures.batches()), (90, 3));
}

#[tokio::test]
async fn short_datagrams_are_joined_up_to_the_kernel_s_number() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    for _ in 0..7 {
        send(&socket, 1, 0, 10, 100).unwrap();
    }
    assert_eq!(inner.batches(), [60]);
}

#[tokio::test]
async fn what_gains_nothing_by_waiting_goes_out_at_once() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 1, 0, 1, 40).unwrap();
    send(&socket, 1, 0, 10, 6500).unwrap();
    send_bytes(&socket, 1, &[0; 2500], Some(1000)).unwrap();
    assert_eq!(inner.batches(), [1, 10, 3]);
}

#[tokio::test]
async fn a_shorter_last_datagram_ends_a_batch() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 1, 1, 10, 1000).unwrap();
    send_bytes(&socket, 1, &[2; 2500], Some(1000)).unwrap();
    assert_eq!(inner.batches(), [13]);
    send(&socket, 1, 3, 10, 1000).unwrap();
    send(&socket, 1, 4, 1, 30).unwrap();
    assert_eq!(inner.batches(), [13, 11]);
    let notes = inner.notes();
    assert_eq!(notes.calls[1].datagrams().last(), Some(&[4; 30][..]));
}

#[tokio::test]
async fn a_datagram_to_the_same_peer_that_does_not_fit_in_follows_what_is_held() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 1, 1, 10, 1000).unwrap();
    send(&socket, 1, 2, 1, 1200).unwrap();
    send(&socket, 1, 3, 10, 1000).unwrap();
    send(&socket, 1, 4, 10, 1100).unwrap();
    assert_eq!(inner.batches(), [10, 1, 10]);
    let first: Vec<u8> = inner.notes().calls.iter().map(|call| call.bytes[0]).collect();
    assert_eq!(first, [1, 2, 3]);
}

#[tokio::test]
async fn only_what_differs_in_nothing_is_joined() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    let contents = [0; 2000];
    let plain = || Transmit {
        destination: peer(1),
        ecn: None,
        contents: &contents,
        segment_size: Some(1000),
        src_ip: None,
    };
    let transmits = [
        plain(),
        Transmit { ecn: Some(EcnCodepoint::Ect0), ..plain() },
        Transmit { src_ip: Some(IpAddr::from([127, 0, 0, 1])), ..plain() },
        Transmit { destination: peer(2), ..plain() },
        Transmit { segment_size: Some(500), ..plain() },
        plain(),
    ];
    for transmit in &transmits {
        socket.try_send(transmit).unwrap();
    }
    assert_eq!(inner.batches(), [2, 2, 2, 2, 4]);
}

#[tokio::test]
async fn a_single_datagram_to_another_peer_does_not_end_a_batch() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 1, 0, 10, 1452).unwrap();
    send(&socket, 2, 0, 1, 40).unwrap();
    send(&socket, 1, 0, 10, 1452).unwrap();
    assert_eq!(inner.batches(), [1]);
    send(&socket, 2, 0, 10, 1452).unwrap();
    assert_eq!(inner.batches(), [1, 20]);
}

#[tokio::test]
async fn while_the_kernel_takes_nothing_no_more_than_a_batch_is_held_and_none_of_it_lost() {
    let inner = Fake::new();
    let socket = joining(&inner);
    inner.block();
    for fill in 0..4 {
        send(&socket, 1, fill, 10, 1452).unwrap();
    }
    for _ in 0..2 {
        let refused = send(&socket, 1, 4, 10, 1452).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        let_the_flusher_run().await;
    }
    // Whoever was refused waits here, and is woken when what is held can go.
    let mut poller = Arc::clone(&socket).create_io_poller();
    let waiting = tokio::spawn(std::future::poll_fn(move |cx| poller.as_mut().poll_writable(cx)));
    let_the_flusher_run().await;
    assert!(!waiting.is_finished());
    inner.unblock();
    waiting.await.unwrap().unwrap();
    send(&socket, 1, 4, 10, 1452).unwrap();
    let_the_flusher_run().await;
    let sent: Vec<u8> = inner.notes().calls.iter().flat_map(Call::datagrams).map(|bytes| bytes[0]).collect();
    let wanted: Vec<u8> = (0..5).flat_map(|fill| [fill; 10]).collect();
    assert_eq!(sent, wanted);
}

#[tokio::test]
async fn nothing_follows_a_shorter_datagram_in_its_batch_even_while_that_cannot_go() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 1, 1, 10, 1000).unwrap();
    inner.block();
    send(&socket, 1, 2, 1, 30).unwrap();
    assert_eq!(send(&socket, 1, 3, 10, 1000).unwrap_err().kind(), ErrorKind::WouldBlock);
    inner.unblock();
    send(&socket, 1, 3, 10, 1000).unwrap();
    assert_eq!(inner.batches(), [11]);
}

#[tokio::test]
async fn a_kernel_that_refuses_batches_gets_their_datagrams_one_by_one() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 9, 0, 1, 40).unwrap();
    send(&socket, 1, 1, 10, 1000).unwrap();
    send(&socket, 1, 2, 10, 1000).unwrap();
    inner.notes().takes_batches = false;
    send(&socket, 1, 3, 1, 1200).unwrap();
    assert_eq!(inner.batches(), [1; 22]);
    assert_eq!(socket.figures().datagrams(), 22);
}

#[tokio::test]
async fn a_failed_batch_is_gone_and_said_to_be() {
    let inner = Fake::new();
    let socket = unflushed(&inner);
    send(&socket, 1, 1, 10, 1000).unwrap();
    inner.notes().errors.push_back(ErrorKind::PermissionDenied);
    assert_eq!(send(&socket, 1, 2, 1, 1200).unwrap_err().kind(), ErrorKind::PermissionDenied);
    send(&socket, 1, 3, 1, 1200).unwrap();
    assert_eq!(inner.batches(), [1]);
}

#[tokio::test]
async fn a_dropped_socket_sends_what_it_holds_and_ends_its_flusher() {
    let inner = Fake::new();
    let mut task = None;
    let socket = JoiningSocket::wrap(Arc::clone(&inner) as _, Arc::default(), |flusher| {
        task = Some(tokio::spawn(flusher))
    });
    let_the_flusher_run().await;
    send(&socket, 1, 1, 10, 1000).unwrap();
    drop(socket);
    assert_eq!(inner.batches(), [10]);
    tokio::time::timeout(Duration::from_secs(5), task.unwrap()).await.unwrap().unwrap();
}

#[tokio::test]
async fn over_loopback_every_datagram_arrives_once_and_in_order() {
    const DATAGRAMS: usize = 200;
    let bind = || rdcq_env::bind_udp(SocketAddr::from(([127, 0, 0, 1], 0)), 1 << 20).unwrap().socket;
    let (from, to) = (bind(), bind());
    let destination = to.local_addr().unwrap();
    let inner = quinn::TokioRuntime.wrap_udp_socket(from).unwrap();
    let socket = JoiningSocket::wrap(inner, Arc::default(), |flusher| drop(tokio::spawn(flusher)));
    let mut poller = Arc::clone(&socket).create_io_poller();
    let receiver = tokio::net::UdpSocket::from_std(to).unwrap();
    for first in (0..DATAGRAMS).step_by(10) {
        let contents: Vec<u8> =
            (first..first + 10).flat_map(|number| [u8::try_from(number).unwrap(); 1452]).collect();
        let transmit =
            Transmit { destination, ecn: None, contents: &contents, segment_size: Some(1452), src_ip: None };
        // As quinn does: wait, then try.
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        socket.try_send(&transmit).unwrap();
    }
    let mut buffer = [0; 2048];
    for number in 0..DATAGRAMS {
        let received = receiver.recv(&mut buffer);
        let len = tokio::time::timeout(Duration::from_secs(5), received).await.unwrap().unwrap();
        assert_eq!((len, usize::from(buffer[0])), (1452, number));
    }
    let figures = socket.figures();
    assert_eq!((figures.datagrams(), figures.batches()), (200, 5));
}
