//! The paced socket over one that only takes notes, on a link of a million bytes a second.

use std::time::Duration;

use super::*;
use crate::socket::fake::{Fake, peer};

const MS: Duration = Duration::from_millis(1);
const LINK: usize = 1_000_000;
const HEADERS: usize = 42;
/// Bytes of one long datagram.
const LONG: usize = 1452;

/// A host whose way out has been measured.
struct Paced {
    inner: Arc<Fake>,
    socket: Arc<PacedSocket>,
    uplink: Arc<Uplink>,
}

/// One that sends as quinn's connections do.
struct Connection {
    socket: Arc<PacedSocket>,
    poller: Pin<Box<dyn UdpPoller>>,
}

impl Paced {
    /// Has a link be full for two seconds.
    async fn new() -> Self {
        let uplink = Arc::<Uplink>::default();
        for _ in 0..200 {
            let now = Instant::now().into_std();
            uplink.handle_sent(now, LINK / 100);
            uplink.handle_full(now);
            tokio::time::advance(10 * MS).await;
            uplink.handle_room(Instant::now().into_std());
        }
        assert!(uplink.rate().unwrap().abs_diff(LINK as u64) < LINK as u64 / 30);
        let paced = Self::over(uplink);
        // Nothing is in arrears.
        tokio::time::advance(100 * MS).await;
        paced
    }

    fn over(uplink: Arc<Uplink>) -> Self {
        let inner = Fake::new();
        let socket = PacedSocket::wrap(Arc::clone(&inner) as _, Arc::clone(&uplink));
        Self { inner, socket, uplink }
    }

    fn connection(&self) -> Connection {
        let socket = Arc::clone(&self.socket);
        let poller = Arc::clone(&socket).create_io_poller();
        Connection { socket, poller }
    }

    fn send_to(&self, destination: SocketAddr, len: usize) -> io::Result<()> {
        let transmit =
            Transmit { destination, ecn: None, contents: &vec![0; len], segment_size: None, src_ip: None };
        self.socket.try_send(&transmit)
    }

    fn send(&self, len: usize) -> io::Result<()> {
        self.send_to(peer(1), len)
    }

    /// Sends until one is refused.
    fn use_up(&self) {
        for _ in 0..64 {
            if self.send(LONG).is_err() {
                // Whoever was refused goes away; its turn is nobody's.
                self.socket.0.turns().refused = None;
                return;
            }
        }
        panic!("nothing was refused");
    }

    /// The first byte of each call.
    fn order(&self) -> Vec<u8> {
        self.inner.notes().calls.iter().map(|call| call.bytes[0]).collect()
    }
}

impl Connection {
    async fn send(&mut self, fill: u8) {
        self.send_bytes(&[fill; LONG], None).await;
    }

    async fn send_bytes(&mut self, contents: &[u8], segment_size: Option<usize>) {
        let transmit = Transmit { destination: peer(1), ecn: None, contents, segment_size, src_ip: None };
        loop {
            std::future::poll_fn(|cx| self.poller.as_mut().poll_writable(cx)).await.unwrap();
            match self.socket.try_send(&transmit) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => return sent.unwrap(),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_everything_passes() {
    let paced = Paced::over(Arc::default());
    for _ in 0..1000 {
        paced.send(LONG).unwrap();
    }
    assert_eq!(paced.socket.max_transmit_segments(), 64);
}

#[tokio::test(start_paused = true)]
async fn connections_together_keep_to_the_rate_and_each_has_its_share() {
    const EACH: usize = 200;
    let paced = Paced::new().await;
    let ideal = (4 * EACH * (LONG + HEADERS)) as f64 / paced.uplink.rate().unwrap() as f64;
    let begin = Instant::now();
    let senders = Vec::from_iter((0..4).map(|fill| {
        let mut connection = paced.connection();
        tokio::spawn(async move {
            for _ in 0..EACH {
                connection.send(fill).await;
            }
        })
    }));
    for sender in senders {
        sender.await.unwrap();
    }
    let took = begin.elapsed().as_secs_f64();
    // What the kernel never refuses is sent a little faster with time.
    assert!((0.8..1.02).contains(&(took / ideal)), "{took} s, ideally {ideal}");
    let order = paced.order();
    for (index, round) in order.chunks(40).enumerate() {
        let most = (0..4).map(|fill| round.iter().filter(|sent| **sent == fill).count()).max().unwrap();
        assert!(most <= 16, "{most} of 40 are from one of four, in round {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_short_or_stays_here_or_looks_for_a_wider_path_does_not_wait() {
    let paced = Paced::new().await;
    paced.use_up();
    let local = SocketAddr::from(([127, 0, 0, 1], 1));
    for _ in 0..100 {
        paced.send(SHORT).unwrap();
        paced.send_to(local, LONG).unwrap();
        paced.send(LONGEST + 1).unwrap();
    }
    assert_eq!(paced.send(SHORT + 1).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(paced.send(LONGEST).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test(start_paused = true)]
async fn only_what_leaves_as_it_is_counts() {
    for (len, to, waits) in [
        (SHORT, peer(1), 100 * (SHORT + HEADERS)),
        (LONG, SocketAddr::from(([127, 0, 0, 1], 1)), 0),
        (LONGEST + 1, peer(1), 0),
    ] {
        let paced = Paced::new().await;
        paced.use_up();
        for _ in 0..100 {
            paced.send_to(to, len).unwrap();
        }
        let begin = Instant::now();
        paced.connection().send(9).await;
        // Up to two long ones had gone before.
        let least = Duration::from_secs_f64(waits as f64 / LINK as f64 * 0.95);
        let (took, most) = (begin.elapsed(), least.mul_f64(1.1) + 8 * MS);
        assert!((least..most).contains(&took), "{took:?} after 100 of {len} bytes to {to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_counts_all_its_datagrams_and_lasts_two_milliseconds() {
    let paced = Paced::new().await;
    assert_eq!(paced.socket.max_transmit_segments(), 1);
    let mut connection = paced.connection();
    paced.use_up();
    connection.send_bytes(&[0; 20 * LONG], Some(LONG)).await;
    let begin = Instant::now();
    connection.send(1).await;
    let ideal = Duration::from_secs_f64((20 * (LONG + HEADERS)) as f64 / LINK as f64);
    assert!(begin.elapsed() > ideal.mul_f64(0.9), "{:?} of {ideal:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_meets_a_full_kernel_in_its_turn_keeps_the_turn() {
    let paced = Paced::new().await;
    paced.use_up();
    let mut connection = paced.connection();
    let waits = tokio::spawn(async move { connection.send(7).await });
    tokio::task::yield_now().await;
    paced.inner.block();
    tokio::time::advance(20 * MS).await;
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    // Others have all turns for the next second.
    paced.uplink.charge(Instant::now().into_std(), LINK);
    let begin = Instant::now();
    paced.inner.unblock();
    waits.await.unwrap();
    assert!(begin.elapsed() < 10 * MS, "{:?}", begin.elapsed());
    assert_eq!(paced.order().last(), Some(&7));
}

#[tokio::test(start_paused = true)]
async fn turns_that_nobody_takes_are_not_saved_up() {
    let paced = Paced::new().await;
    paced.use_up();
    for _ in 0..1000 {
        paced.send(LONG).ok();
        let mut poller = Arc::clone(&paced.socket).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    }
    paced.uplink.charge(Instant::now().into_std(), LINK);
    let sent = (0..1000).filter(|_| paced.send(LONG).is_ok()).count();
    assert!(sent <= MOST_DUE, "{sent}");
}
