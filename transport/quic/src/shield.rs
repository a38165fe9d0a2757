//! Few strangers are taken up while data moves.
//!
//! quinn derives keys for whatever looks like the begin of a connection, before it hands the attempt to anybody who could
//! turn it away. Garbage that looks so costs the node more than its sender, and takes the cores from the data.
//!
//! A [`Shield`] stands where quinn asks for these keys, and nowhere else: what belongs to a connection or an attempt that is
//! known, and what is too short to begin one, passes without a count. Whose keys they are quinn does not say there, so
//! [`ShieldedSocket`] keeps who sent what of the batch that quinn is about to go through.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{self, Keys, Session, UnsupportedVersion};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, UdpPoller};
use quinn_proto::transport_parameters::TransportParameters;
use rdcq_env::Env;

use crate::activity::Activity;
use crate::admission::Initials;
use crate::audit::Counters;

/// Bytes of a datagram that may begin a connection (RFC 9000, section 14.1).
const MIN_INITIAL: usize = 1200;
/// Longest connection ID of QUIC version 1 (RFC 9000, section 17.2).
const MAX_CID: usize = 20;

/// Rations the begins of connections of one socket while the node moves data. See the [module](self).
pub(crate) struct Shield {
    env: Env,
    activity: Arc<Activity>,
    counters: Arc<Counters>,
    seen: Mutex<Seen>,
}

struct Seen {
    initials: Initials,
    /// Where what may begin a connection was sent to and by whom, in the order in which quinn comes to it; of the last batch that
    /// had any.
    batch: VecDeque<(ConnectionId, IpAddr)>,
}

impl Shield {
    pub(crate) fn new(env: &Env, activity: Arc<Activity>, counters: Arc<Counters>) -> Arc<Self> {
        let seen = Seen { initials: Initials::new(env.now()), batch: VecDeque::new() };
        Arc::new(Self { env: env.clone(), activity, counters, seen: Mutex::new(seen) })
    }

    /// Puts itself in front of `crypto`.
    pub(crate) fn before(self: &Arc<Self>, crypto: Arc<QuicServerConfig>) -> Arc<dyn crypto::ServerConfig> {
        Arc::new(ShieldedCrypto { crypto, shield: Arc::clone(self) })
    }

    /// Puts itself behind `socket`.
    pub(crate) fn behind(self: &Arc<Self>, socket: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        Arc::new(ShieldedSocket { inner: socket, shield: Arc::clone(self) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection may begin at this ID.
    fn admit(&self, cid: ConnectionId) -> bool {
        let mut seen = self.seen();
        // What came before it belonged to somebody who is known.
        let from = std::iter::from_fn(|| seen.batch.pop_front()).find(|(to, _)| *to == cid);
        let now = self.env.now();
        // Nobody's if quinn does not go through its batches in order; they are then one source together.
        let from = from.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |(_, ip)| ip);
        let admitted = !self.activity.is_busy(now) || seen.initials.admit(now, from);
        drop(seen);
        if !admitted {
            self.counters.refused("flood");
        }
        admitted
    }
}

/// Gives keys to few strangers.
struct ShieldedCrypto {
    crypto: Arc<QuicServerConfig>,
    shield: Arc<Shield>,
}

impl crypto::ServerConfig for ShieldedCrypto {
    /// quinn drops the datagram without a word if there are none.
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        if !self.shield.admit(*dst_cid) {
            return Err(UnsupportedVersion);
        }
        self.crypto.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.crypto.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        Arc::clone(&self.crypto).start_session(version, params)
    }
}

/// Remembers who sent what may begin a connection.
struct ShieldedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    shield: Arc<Shield>,
}

impl fmt::Debug for ShieldedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShieldedSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for ShieldedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(batches)) = received {
            let batches = meta.iter().zip(bufs).take(batches);
            let datagrams = batches.flat_map(|(meta, bytes)| {
                let datagrams = bytes[..meta.len].chunks(meta.stride.max(1));
                datagrams.filter_map(|datagram| Some((begins_at(datagram)?, meta.addr.ip())))
            });
            let mut begins = datagrams.peekable();
            if begins.peek().is_some() {
                let mut seen = self.shield.seen();
                seen.batch.clear();
                seen.batch.extend(begins);
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

/// The ID at which a datagram may begin a connection: its first packet is an Initial (RFC 9000, section 17.2.2), a long header of
/// type 0. The fixed bit may be anything (RFC 9287).
fn begins_at(datagram: &[u8]) -> Option<ConnectionId> {
    let [first, _, _, _, _, len, rest @ ..] = datagram else { return None };
    let is_initial = first & 0b1011_0000 == 0b1000_0000;
    let len = usize::from(*len);
    let plausible = is_initial && datagram.len() >= MIN_INITIAL && len <= MAX_CID;
    plausible.then(|| rest.get(..len).map(ConnectionId::new)).flatten()
}

#[cfg(test)]
mod tests {
    use rdcq_env::SimDisk;
    use tokio::time::Instant;

    use super::*;
    use crate::admission::{MAX_INITIALS, MAX_OF_SOURCE};

    fn initial(first: u8, cid: &[u8]) -> Vec<u8> {
        let mut datagram = vec![first, 0, 0, 0, 1, u8::try_from(cid.len()).unwrap()];
        datagram.extend_from_slice(cid);
        datagram.resize(MIN_INITIAL, 0);
        datagram
    }

    #[test]
    fn what_may_begin_a_connection_is_long_and_of_type_0_whatever_the_fixed_bit() {
        for first in 0..=u8::MAX {
            let long_of_type_0 = first >> 7 == 1 && first >> 4 & 0b11 == 0;
            let wanted = long_of_type_0.then(|| ConnectionId::new(b"12345678"));
            assert_eq!(begins_at(&initial(first, b"12345678")), wanted, "{first:#b}");
        }
        assert_eq!(begins_at(&initial(0xc0, &[7; MAX_CID])), Some(ConnectionId::new(&[7; MAX_CID])));
        assert_eq!(begins_at(&initial(0xc0, &[7; MAX_CID + 1])), None);
        let whole = initial(0xc0, b"12345678");
        assert!((0..MIN_INITIAL).all(|len| begins_at(&whole[..len]).is_none()));
    }

    /// A socket that has one batch for whoever asks.
    #[derive(Debug)]
    struct OneBatch(Mutex<Vec<(SocketAddr, Vec<Vec<u8>>)>>);

    impl AsyncUdpSocket for OneBatch {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            unimplemented!("nothing is sent")
        }

        fn try_send(&self, _: &Transmit<'_>) -> io::Result<()> {
            unimplemented!("nothing is sent")
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            metas: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            let batches = std::mem::take(&mut *self.0.lock().unwrap());
            for (((addr, datagrams), buf), meta) in batches.iter().zip(bufs).zip(metas) {
                let bytes = datagrams.concat();
                buf[..bytes.len()].copy_from_slice(&bytes);
                let (len, stride) = (bytes.len(), datagrams[0].len());
                *meta = RecvMeta { addr: *addr, len, stride, ecn: None, dst_ip: None };
            }
            Poll::Ready(Ok(batches.len()))
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            unimplemented!("nobody asks")
        }
    }

    /// A shield of a node that moves data, after its socket has brought these batches, each from one host.
    fn shield_after(batches: Vec<(u8, Vec<Vec<u8>>)>) -> Arc<Shield> {
        let activity = Arc::new(Activity::new(Instant::now()));
        activity.begin();
        let shield = Shield::new(&Env::simulated(1, SimDisk::new()), activity, Arc::default());
        let from = |host| SocketAddr::from(([10, 0, 0, host], 1));
        let batches = batches.into_iter().map(|(host, datagrams)| (from(host), datagrams)).collect();
        let socket = shield.behind(Arc::new(OneBatch(Mutex::new(batches))));
        let mut bytes = vec![vec![0; 65536]; 4];
        let mut bufs: Vec<_> = bytes.iter_mut().map(|bytes| IoSliceMut::new(bytes)).collect();
        let mut metas = [RecvMeta::default(); 4];
        assert!(
            socket
                .poll_recv(&mut Context::from_waker(std::task::Waker::noop()), &mut bufs, &mut metas)
                .is_ready()
        );
        shield
    }

    #[tokio::test(start_paused = true)]
    async fn begins_count_for_who_sent_them_also_in_one_batch_with_others() {
        let cid = |number: u32| number.to_be_bytes();
        let flood = (0..50).map(|number| initial(0xc0, &cid(number))).collect();
        let mut mixed = vec![initial(0x40, &cid(0)), initial(0xc0, &cid(100))];
        mixed.push(initial(0xc0, &cid(101))[..MIN_INITIAL - 1].to_vec());
        let shield = shield_after(vec![(1, flood), (2, mixed)]);
        // The first of these is of a connection that is known: quinn does not ask.
        assert!((1..50).all(|number| shield.admit(ConnectionId::new(&cid(number)))));
        assert!(shield.admit(ConnectionId::new(&cid(100))));
        let seen = shield.seen();
        assert!(seen.batch.is_empty());
        assert_eq!(seen.initials.of(SocketAddr::from(([10, 0, 0, 1], 1)).ip()), 49);
        assert_eq!(seen.initials.of(SocketAddr::from(([10, 0, 0, 2], 1)).ip()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_is_known_to_have_sent_is_one_source_and_bounded() {
        let shield = shield_after(Vec::new());
        let admitted =
            |count: u32| (0..count).filter(|_| shield.admit(ConnectionId::new(b"12345678"))).count();
        assert_eq!(admitted(MAX_INITIALS * 2), MAX_OF_SOURCE as usize);
        assert_eq!(shield.counters.refusals()["flood"], u64::from(MAX_INITIALS * 2 - MAX_OF_SOURCE));
        tokio::time::advance(crate::admission::WINDOW).await;
        assert_eq!(admitted(1), 1);
    }
}
