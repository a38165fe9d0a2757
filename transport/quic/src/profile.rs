//! How QUIC is set up: every knob that is turned, and why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use quinn::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionId, ConnectionIdGenerator, TransportConfig, VarInt};
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use rdcq_env::Env;

use crate::link::Side;
use crate::shield::Shield;
use crate::tolerant::TolerantCubicConfig;
use crate::{Congestion, Limits, OpenError, Plane, Security};

/// The knobs of one kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Requests that the peer may have open when the connection begins; [`Limits::max_streams`] is what they grow to.
    /// quinn makes an entry of some 80 bytes for each at once.
    pub(crate) requests: u32,
    /// Bytes that a peer may have under way on one stream.
    stream_window: u32,
    /// Bytes that a peer may have under way on all streams: what a connection can make this node buffer.
    connection_window: u32,
    /// Bytes that are kept until they are acknowledged.
    pub(crate) send_window: u64,
    /// Whether many datagrams are handed to the kernel at once. quinn then keeps room for ten with each connection.
    batches: bool,
    /// Whether larger datagrams than any path must carry are looked for.
    find_mtu: bool,
    /// Datagrams after which the peer should acknowledge, if it is to wait for more than QUIC's two.
    ack_after: Option<u32>,
    /// How long the peer may hold an acknowledgement back.
    ack_delay: Duration,
    /// Bytes on the way before the first acknowledgement.
    initial_window: u64,
}

impl Profile {
    /// How a control connection begins, and what it stays while it is idle: a node holds thousands of them.
    /// Windows cost nothing until they are used; slots for requests and room for batches do.
    const IDLE: Self = Self {
        requests: 4,
        // A full manifest takes 75 round trips, and nothing longer goes here.
        // One body that is not read leaves half of the connection to the others.
        stream_window: 128 * 1024,
        connection_window: 256 * 1024,
        send_window: 256 * 1024,
        batches: false,
        find_mtu: false,
        // Few are worth a datagram of their own.
        ack_after: Some(10),
        // What is told on it is answered more often than repeated.
        ack_delay: Duration::from_millis(25),
        // QUIC's own ten datagrams are as many as come before an acknowledgement: who asks for much at once would wait
        // for the delay that these may have, over and over.
        initial_window: 64 * 1024,
    };

    /// Connections that carry pieces: few, and never idle for long.
    const DATA: Self = Self {
        requests: 64,
        // A piece of the longest kind is two round trips at 1 ms and 20 Gbit/s.
        stream_window: 4 * 1024 * 1024,
        connection_window: 16 * 1024 * 1024,
        // A body of the longest kind of piece fits at once.
        send_window: 8 * 1024 * 1024,
        batches: true,
        find_mtu: true,
        ack_after: Some(20),
        // On a slow link, where 20 do not come in time, so that acknowledgements are few there, too: with 5 ms a fifth of all
        // packets were nothing else. With 25 ms what a peer waits for a lost request can be felt.
        ack_delay: Duration::from_millis(15),
        initial_window: 128 * 1024,
    };

    pub(crate) const fn of(plane: Plane) -> Self {
        match plane {
            Plane::Control => Self::IDLE,
            Plane::Data(_) => Self::DATA,
        }
    }
}

/// Bytes that a control connection's peer may have under way once it uses more than the requests that it began with.
pub(crate) const BUSY_CONTROL_WINDOW: u32 = 1024 * 1024;
/// Streams that say who the peer is and when it goes: its control stream.
const UNI_STREAMS: u32 = 1;
/// Round trip that is assumed before one was measured. QUIC's 333 ms would make the first lost datagram cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(5);
/// Bytes buffered for one attempt that waits for its handshake: a client's first flight is one or two datagrams.
const INCOMING_BUFFER: u64 = 64 * 1024;
/// Bytes buffered for all attempts that wait.
const INCOMING_BUFFERS: u64 = 16 * 1024 * 1024;
/// Largest payload on plain Ethernet; less than this is never asked of peers.
const ETHERNET_PAYLOAD: u16 = 1472;
/// Bytes in a connection's ID: enough that a stranger cannot guess one.
const CID_LEN: usize = 8;
/// Bytes in the ID that a client's first datagram goes to; the standard wants at least 8, unpredictable.
const INITIAL_CID_LEN: usize = 16;

fn transport(
    profile: Profile,
    limits: &Limits,
    side: Side,
    serves: bool,
) -> Result<Arc<TransportConfig>, OpenError> {
    let idle = limits.idle_timeout.try_into().map_err(|_| OpenError::Limit {
        name: "idle_timeout",
        value: limits.idle_timeout.as_secs(),
        wanted: "at most 2^62 ms",
    })?;
    let mtu = profile.find_mtu.then(|| {
        let mut mtu = quinn::MtuDiscoveryConfig::default();
        mtu.upper_bound(limits.max_datagram);
        mtu
    });
    let acks = profile.ack_after.map(|datagrams| {
        let mut acks = quinn::AckFrequencyConfig::default();
        acks.ack_eliciting_threshold(datagrams.into()).max_ack_delay(Some(profile.ack_delay));
        acks
    });

    let mut config = TransportConfig::default();
    config
        // Who serves nothing is asked for nothing.
        .max_concurrent_bidi_streams(if serves {
            profile.requests.min(limits.max_streams).into()
        } else {
            VarInt::from_u32(0)
        })
        .max_concurrent_uni_streams(UNI_STREAMS.into())
        .stream_receive_window(profile.stream_window.into())
        .receive_window(profile.connection_window.into())
        .send_window(profile.send_window)
        .initial_rtt(INITIAL_RTT)
        .enable_segmentation_offload(profile.batches)
        .mtu_discovery_config(mtu)
        .ack_frequency_config(acks)
        .congestion_controller_factory(controller(limits.congestion, profile.initial_window))
        .max_idle_timeout(Some(idle))
        // One side is enough, and the one that opened the connection is the one that wants it.
        .keep_alive_interval((side == Side::Dialled).then_some(limits.keep_alive))
        // Nothing is sent in datagrams yet; without a buffer for them the peer may not send any.
        .datagram_receive_buffer_size(None)
        // It lets bystanders measure round trips.
        .allow_spin(false);
    Ok(Arc::new(config))
}

/// What makes controllers for connections that begin with `window` bytes on the way.
fn controller(congestion: Congestion, window: u64) -> Arc<dyn ControllerFactory + Send + Sync> {
    match congestion {
        Congestion::TolerantCubic => Arc::new(TolerantCubicConfig::new(window)),
        Congestion::Cubic => {
            let mut cubic = CubicConfig::default();
            cubic.initial_window(window);
            Arc::new(cubic)
        }
        Congestion::NewReno => {
            let mut reno = NewRenoConfig::default();
            reno.initial_window(window);
            Arc::new(reno)
        }
        Congestion::Bbr => {
            let mut bbr = BbrConfig::default();
            bbr.initial_window(window);
            Arc::new(bbr)
        }
    }
}

/// `reset_secret` is the same each time the node starts: peers of a node that was killed are then told at once by its
/// successor that it knows nothing of them.
pub(crate) fn endpoint(
    env: &Env,
    plane: Plane,
    reset_secret: &[u8],
    limits: &Limits,
) -> Result<quinn::EndpointConfig, OpenError> {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, reset_secret);
    let mut config = quinn::EndpointConfig::new(Arc::new(reset_key));
    let payload = match plane {
        Plane::Control => ETHERNET_PAYLOAD,
        Plane::Data(_) => limits.max_datagram.max(ETHERNET_PAYLOAD),
    };
    config.max_udp_payload_size(payload).map_err(|_| OpenError::Limit {
        name: "max_datagram",
        value: payload.into(),
        wanted: "1200 to 6550",
    })?;
    // All that QUIC draws comes from the environment, so that a simulated node does the same under the same seed. Keys of
    // tokens stay random: they change no length and no decision.
    config.rng_seed(Some(env.rng().random()));
    let env = env.clone();
    config.cid_generator(move || Box::new(SeededCids(env.rng())));
    Ok(config)
}

pub(crate) fn server(
    env: &Env,
    plane: Plane,
    security: &Security,
    limits: &Limits,
    shield: &Arc<Shield>,
) -> Result<quinn::ServerConfig, OpenError> {
    let crypto = QuicServerConfig::try_from(Arc::clone(&security.server)).map_err(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(shield.before(Arc::new(crypto)));
    // Tokens would spare returning clients a proof of address, which is asked for only under load.
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(quinn::NoneTokenLog));
    config
        .transport_config(transport(Profile::of(plane), limits, Side::Accepted, true)?)
        .validation_token_config(tokens)
        // Nodes do not roam; an address that changes is somebody else's.
        .migration(false)
        .max_incoming(limits.max_incoming)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFERS)
        .time_source(Arc::new(WallClock(env.clone())));
    Ok(config)
}

pub(crate) fn client(
    env: &Env,
    plane: Plane,
    security: &Security,
    limits: &Limits,
    serves: bool,
) -> Result<quinn::ClientConfig, OpenError> {
    let crypto = QuicClientConfig::try_from(Arc::clone(&security.client)).map_err(tls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let rng = Mutex::new(env.rng());
    config
        .transport_config(transport(Profile::of(plane), limits, Side::Dialled, serves)?)
        .token_store(Arc::new(quinn::NoneTokenStore))
        .initial_dst_cid_provider(Arc::new(move || {
            random_cid::<INITIAL_CID_LEN>(&mut rng.lock().unwrap_or_else(PoisonError::into_inner))
        }));
    Ok(config)
}

fn tls(error: impl std::fmt::Display) -> OpenError {
    OpenError::Tls(error.to_string())
}

struct SeededCids(StdRng);

impl ConnectionIdGenerator for SeededCids {
    fn generate_cid(&mut self) -> ConnectionId {
        random_cid::<CID_LEN>(&mut self.0)
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn random_cid<const LEN: usize>(rng: &mut StdRng) -> ConnectionId {
    let mut bytes = [0; LEN];
    rng.fill_bytes(&mut bytes);
    ConnectionId::new(&bytes)
}

/// Dates the proofs of address that are asked for under load.
struct WallClock(Env);

impl quinn::TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.unix_ms())
    }
}

#[cfg(test)]
mod tests {
    use rdcq_env::SimDisk;

    use super::*;

    #[tokio::test]
    async fn a_seed_decides_the_ids_of_connections() {
        let draw = |seed| {
            let mut cids = SeededCids(Env::simulated(seed, SimDisk::new()).rng());
            [cids.generate_cid(), cids.generate_cid()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7)[0], draw(7)[1]);
        assert_eq!(draw(7)[0].len(), CID_LEN);
    }

    #[tokio::test]
    async fn a_connection_has_the_controller_and_the_window_that_were_asked_for() {
        let now = Env::simulated(1, SimDisk::new()).now().into_std();
        let is = |congestion, is: fn(&dyn std::any::Any) -> bool| {
            let made = controller(congestion, 77_777).build(now, 1200);
            assert_eq!(made.initial_window(), 77_777);
            assert!(is(&*made.into_any()), "{congestion:?}");
        };
        is(Congestion::TolerantCubic, |any| any.is::<crate::tolerant::TolerantCubic>());
        is(Congestion::Cubic, |any| any.is::<quinn::congestion::Cubic>());
        is(Congestion::NewReno, |any| any.is::<quinn::congestion::NewReno>());
        is(Congestion::Bbr, |any| any.is::<quinn::congestion::Bbr>());
    }

    #[tokio::test]
    async fn large_datagrams_may_come_to_data_sockets_alone() {
        let env = Env::simulated(1, SimDisk::new());
        let payload = |plane, max_datagram| {
            let limits = Limits { max_datagram, ..Limits::default() };
            endpoint(&env, plane, &[], &limits).unwrap().get_max_udp_payload_size()
        };
        let ethernet = u64::from(ETHERNET_PAYLOAD);
        assert_eq!((payload(Plane::Data(0), 1452), payload(Plane::Data(0), 6500)), (ethernet, 6500));
        assert_eq!(payload(Plane::Control, 6500), ethernet);
    }
}
