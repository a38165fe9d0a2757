//! The baselines: what bare quinn costs, and nothing else.
//!
//! TLS and cipher are those of rdcq's own endpoints. Windows, streams and datagrams are not: they follow recipes of
//! their own, which stay as they are when rdcq's change. [`bulk`] is quinn, SHA-256 and the file write; [`server`] and
//! [`client`] hold connections, shake hands, and ask and answer with what a connection takes at least.

pub(crate) mod bulk;
pub(crate) mod client;
pub(crate) mod server;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use quinn::VarInt;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};

use crate::herd::credentials;

/// Bytes asked for as socket buffers.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Largest payload on plain Ethernet; quinn's default.
const ETHERNET_PAYLOAD: u16 = 1472;
/// The name that TLS needs and nobody reads.
const SERVER_NAME: &str = "bare";

fn server_config(certs: &Path, transport: quinn::TransportConfig) -> anyhow::Result<quinn::ServerConfig> {
    let tls = credentials(certs)?.server_config();
    let crypto = QuicServerConfig::try_from(tls).context("the TLS configuration serves QUIC")?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn client_config(certs: &Path, transport: quinn::TransportConfig) -> anyhow::Result<quinn::ClientConfig> {
    let tls = credentials(certs)?.client_config();
    let crypto = QuicClientConfig::try_from(tls).context("the TLS configuration serves QUIC")?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A socket on which datagrams of at most `datagram` bytes come and go.
fn endpoint(server: Option<quinn::ServerConfig>, datagram: u16) -> anyhow::Result<quinn::Endpoint> {
    let bound = rdcq_env::bind_udp(SocketAddr::from(([127, 0, 0, 1], 0)), SOCKET_BUFFER)?;
    let mut config = quinn::EndpointConfig::default();
    config.max_udp_payload_size(datagram.max(ETHERNET_PAYLOAD))?;
    Ok(quinn::Endpoint::new(config, server, bound.socket, Arc::new(quinn::TokioRuntime))?)
}

/// The recipe behind the table of limits for one transfer: 16 MiB a stream, 32 MiB a connection and on the way,
/// datagrams of their full size from the start.
fn bulk_transport(datagram: u16) -> quinn::TransportConfig {
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(datagram);
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(16 * 1024 * 1024))
        .receive_window(VarInt::from_u32(32 * 1024 * 1024))
        .send_window(32 * 1024 * 1024)
        .initial_mtu(datagram)
        .mtu_discovery_config(Some(discovery));
    transport
}

/// The recipe for many connections, which costs least in memory and handshakes: windows of 64 KiB a stream and 128 KiB a
/// connection, few streams, nothing that is sent without need. `streams` is how many requests may be open at once.
fn lean_transport(streams: u32) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(64 * 1024))
        .receive_window(VarInt::from_u32(128 * 1024))
        .send_window(128 * 1024)
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(2))
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(None)
        .max_idle_timeout(None);
    transport
}
