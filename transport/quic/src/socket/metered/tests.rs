//! The buffer of a real socket under a fake one.

use super::*;
use crate::socket::fake::Fake;

const MS: Duration = Duration::from_millis(1);

/// A metered socket, what is under it, and a look at the kernel's buffer.
struct Metered {
    inner: Arc<Fake>,
    socket: Arc<MeteredSocket>,
    uplink: Arc<Uplink>,
    _real: std::net::UdpSocket,
}

impl Metered {
    fn new() -> Self {
        Self::on(Arc::default())
    }

    /// Another one of the same host.
    fn beside(other: &Self) -> Self {
        Self::on(Arc::clone(&other.uplink))
    }

    fn on(uplink: Arc<Uplink>) -> Self {
        let bound = rdcq_env::bind_udp("127.0.0.1:0".parse().unwrap(), 64 * 1024).unwrap();
        let inner = Fake::new();
        let socket = MeteredSocket::wrap(Arc::clone(&inner) as _, bound.send_buffer, Arc::clone(&uplink));
        Self { inner, socket, uplink, _real: bound.socket }
    }

    fn send(&self, to: &str) -> io::Result<()> {
        self.socket.try_send(&Transmit {
            destination: to.parse().unwrap(),
            ecn: None,
            contents: &[0; 1200],
            segment_size: None,
            src_ip: None,
        })
    }

    fn buffer(&self) -> usize {
        self.socket.queue().buffer.bytes().unwrap()
    }

    /// Fills the buffer, and has half of it leave in so long.
    async fn fill(&self, drains: Duration) {
        self.inner.block();
        assert_eq!(self.send("10.0.0.1:1").unwrap_err().kind(), ErrorKind::WouldBlock);
        tokio::time::advance(drains).await;
        self.inner.unblock();
        self.send("10.0.0.1:1").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_buffer_is_short_once_something_leaves_the_host() {
    let metered = Metered::new();
    for local in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        metered.send(local).unwrap();
    }
    assert_eq!(metered.buffer(), 64 * 1024);
    metered.send("10.0.0.1:1").unwrap();
    assert_eq!(metered.buffer(), SHORTEST);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_drains_too_soon_grows_to_what_the_kernel_granted() {
    let metered = Metered::new();
    for kib in [16, 32, 64, 64] {
        metered.fill(SOONEST - MS).await;
        assert_eq!(metered.buffer(), kib * 1024);
    }
    metered.fill(SOONEST).await;
    assert_eq!(metered.buffer(), 64 * 1024);
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_is_a_queue_shrinks_if_that_was_no_accident() {
    let metered = Metered::new();
    metered.fill(SOONEST - MS).await;
    metered.fill(SOONEST - MS).await;
    for late in [1, SLOW - 1] {
        for _ in 0..late {
            metered.fill(LATEST + MS).await;
        }
        metered.fill(LATEST).await;
        assert_eq!(metered.buffer(), 32 * 1024);
    }
    for (times, kib) in [(SLOW, 16), (SLOW, 8), (SLOW, 8)] {
        for _ in 0..times {
            metered.fill(LATEST + MS).await;
        }
        assert_eq!(metered.buffer(), kib * 1024);
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_between_two_refusals_is_the_rate() {
    let metered = Metered::new();
    for _ in 0..100 {
        metered.fill(10 * MS).await;
    }
    // A datagram of 1200 bytes, with headers, in each 10 ms.
    let rate = metered.uplink.rate().unwrap() as f64 / 124_200.0;
    assert!((0.97..1.08).contains(&rate), "{rate}");
}

#[tokio::test(start_paused = true)]
async fn a_full_socket_that_is_dropped_no_longer_keeps_the_host_busy() {
    let metered = Metered::new();
    // Little leaves, and in between nothing waits: that tells no rate.
    for _ in 0..100 {
        let gone = Metered::beside(&metered);
        gone.inner.block();
        gone.send("10.0.0.1:1").unwrap_err();
        drop(gone);
        tokio::time::advance(100 * MS).await;
        metered.fill(MS).await;
    }
    assert_eq!(metered.uplink.rate(), None);
}
