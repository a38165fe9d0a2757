//! Bare quinn, one file from one server to each of many clients: what QUIC costs, and nothing else. TLS is that of rdcq's endpoints.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rdcq_certs::Credentials;
use rdcq_config::Config;
use rdcq_runtime::{Host, load_credentials};
use rdcq_wire::Hasher;

use crate::report;

/// Bytes read, hashed and written at once.
const BLOCK: usize = 1 << 20;
/// Bytes of a datagram on Ethernet, as rdcq's nodes have it in the lab.
const DATAGRAM: u16 = 1452;
/// Bytes asked for as socket buffers.
const SOCKET_BUFFER: usize = 4 << 20;
/// The name that TLS needs and nobody reads.
const SERVER_NAME: &str = "star";

#[derive(Args)]
pub(crate) struct Serve {
    /// Settings that name a certificate.
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Fetch {
    /// Settings that name a certificate.
    #[arg(long)]
    config: PathBuf,
    #[arg(long)]
    server: SocketAddr,
    #[arg(long)]
    file: PathBuf,
}

/// Serves the file to whoever asks, until it is killed.
pub(crate) async fn serve(arguments: Serve) -> anyhow::Result<()> {
    let crypto = QuicServerConfig::try_from(credentials(&arguments.config).await?.server_config())?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let endpoint = endpoint(arguments.listen, Some(config))?;
    report::print(&"ready")?;
    while let Some(incoming) = endpoint.accept().await {
        let file = arguments.file.clone();
        tokio::spawn(async move {
            // A client that is gone ends with an error, which nobody needs to know here.
            let _ = send(incoming, &file).await;
        });
    }
    Ok(())
}

async fn send(incoming: quinn::Incoming, file: &Path) -> anyhow::Result<()> {
    let connection = incoming.await?;
    let (mut send, _) = connection.accept_bi().await?;
    let file = File::open(file)?;
    let (len, mut at) = (file.metadata()?.len(), 0);
    while at < len {
        let mut block = vec![0; BLOCK.min(usize::try_from(len - at)?)];
        file.read_exact_at(&mut block, at)?;
        at += block.len() as u64;
        send.write_chunk(Bytes::from(block)).await?;
    }
    send.finish()?;
    connection.closed().await;
    Ok(())
}

/// Fetches the file, and hashes it on the way.
pub(crate) async fn fetch(arguments: Fetch) -> anyhow::Result<()> {
    let crypto = QuicClientConfig::try_from(credentials(&arguments.config).await?.client_config())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let endpoint = endpoint(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), None)?;
    let connection = endpoint.connect_with(config, arguments.server, SERVER_NAME)?.await?;
    let (mut ask, mut receive) = connection.open_bi().await?;
    ask.write_all(b"go").await?;
    ask.finish()?;
    let file = File::create(&arguments.file)?;
    let (mut block, mut hasher, mut at) = (Vec::with_capacity(BLOCK), Hasher::default(), 0);
    while let Some(chunk) = receive.read_chunk(BLOCK, true).await? {
        block.extend_from_slice(&chunk.bytes);
        if block.len() >= BLOCK {
            hasher.update(&block);
            file.write_all_at(&block, at)?;
            at += block.len() as u64;
            block.clear();
        }
    }
    hasher.update(&block);
    file.write_all_at(&block, at)?;
    report::print(&hasher.finish().to_string())?;
    connection.close(0_u32.into(), b"");
    endpoint.wait_idle().await;
    Ok(())
}

async fn credentials(config: &Path) -> anyhow::Result<Credentials> {
    let config = Config::parse(&std::fs::read_to_string(config)?, &config.display().to_string())?;
    Ok(load_credentials(&Host::system().env, &config.identity).await?)
}

fn endpoint(addr: SocketAddr, server: Option<quinn::ServerConfig>) -> anyhow::Result<quinn::Endpoint> {
    let bound = rdcq_env::bind_udp(addr, SOCKET_BUFFER)?;
    let config = quinn::EndpointConfig::default();
    Ok(quinn::Endpoint::new(config, server, bound.socket, Arc::new(quinn::TokioRuntime))?)
}

fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.initial_mtu(DATAGRAM).mtu_discovery_config(None);
    transport
}
