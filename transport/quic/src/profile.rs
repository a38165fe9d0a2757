//! How QUIC is set up: every knob that is turned, and why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionId, ConnectionIdGenerator, TransportConfig, VarInt};
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use rdcq_env::Env;

use crate::{Limits, OpenError, Security};

/// Bytes that a peer may have under way on one stream: a piece of the longest kind is two round trips at 1 ms and 20 Gbit/s.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes that a peer may have under way on all streams; what a connection can make this node buffer.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes that are kept until they are acknowledged; a body of the longest kind of piece fits at once.
const SEND_WINDOW: u64 = 8 * 1024 * 1024;
/// Unidirectional streams at once: Hello, Drain, and room for two that a later version may add.
const UNI_STREAMS: u32 = 4;
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

/// Which side of a connection a profile is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialling,
    Accepting,
}

fn transport(limits: &Limits, side: Side) -> Result<Arc<TransportConfig>, OpenError> {
    let idle = limits.idle_timeout.try_into().map_err(|_| OpenError::Limit {
        name: "idle_timeout",
        value: limits.idle_timeout.as_secs(),
        wanted: "at most 2^62 ms",
    })?;
    let mut mtu = quinn::MtuDiscoveryConfig::default();
    mtu.upper_bound(limits.max_mtu);

    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(match side {
            // Servers open no requests.
            Side::Dialling => VarInt::from_u32(0),
            Side::Accepting => limits.max_streams.into(),
        })
        .max_concurrent_uni_streams(match side {
            Side::Dialling => UNI_STREAMS.into(),
            // Clients have nothing to tell.
            Side::Accepting => VarInt::from_u32(0),
        })
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .initial_rtt(INITIAL_RTT)
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(Some(idle))
        // One side is enough, and the one that opened the connection is the one that wants it.
        .keep_alive_interval((side == Side::Dialling).then_some(limits.keep_alive))
        // Nothing is sent in datagrams yet; without a buffer for them the peer may not send any.
        .datagram_receive_buffer_size(None)
        // It lets bystanders measure round trips.
        .allow_spin(false);
    Ok(Arc::new(config))
}

pub(crate) fn endpoint(env: &Env, limits: &Limits) -> Result<quinn::EndpointConfig, OpenError> {
    let mut config = quinn::EndpointConfig::default();
    let payload = limits.max_mtu.max(ETHERNET_PAYLOAD);
    config.max_udp_payload_size(payload).map_err(|_| OpenError::Limit {
        name: "max_mtu",
        value: payload.into(),
        wanted: "1200 to 65527",
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
    security: &Security,
    limits: &Limits,
) -> Result<quinn::ServerConfig, OpenError> {
    let crypto = QuicServerConfig::try_from(Arc::clone(&security.server)).map_err(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    // Tokens would spare returning clients a proof of address, which is asked for only under load.
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(quinn::NoneTokenLog));
    config
        .transport_config(transport(limits, Side::Accepting)?)
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
    security: &Security,
    limits: &Limits,
) -> Result<quinn::ClientConfig, OpenError> {
    let crypto = QuicClientConfig::try_from(Arc::clone(&security.client)).map_err(tls)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let rng = Mutex::new(env.rng());
    config
        .transport_config(transport(limits, Side::Dialling)?)
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
    async fn jumbo_frames_may_come_where_they_may_be_sent() {
        let env = Env::simulated(1, SimDisk::new());
        let payload = |max_mtu| {
            let limits = Limits { max_mtu, ..Limits::default() };
            endpoint(&env, &limits).unwrap().get_max_udp_payload_size()
        };
        assert_eq!((payload(1452), payload(8952)), (ETHERNET_PAYLOAD.into(), 8952));
    }
}
