//! The baseline: what bare quinn, SHA-256 and the file write cost, and nothing else.
//!
//! One connection, one stream. The server reads a file in blocks of 1 MiB and hands them to quinn without a copy; the
//! client hashes what comes in blocks of 1 MiB and writes each to its place. TLS and cipher are those of rdcq's own
//! endpoints. Windows and datagrams are not: they follow a recipe of their own, which stays as it is when rdcq's change.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rdcq_certs::Credentials;
use rdcq_wire::Hasher;

/// Bytes read, hashed and written at once.
const BLOCK: usize = 1024 * 1024;
/// Bytes asked for as socket buffers.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

#[derive(Args)]
pub(crate) struct ServerArguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// The file to serve.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct ClientArguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// Where the server listens.
    server: SocketAddr,
    /// The file to write.
    file: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the parent reads the address")]
pub(crate) async fn serve(arguments: ServerArguments) -> anyhow::Result<()> {
    let tls = credentials(&arguments.certs)?.server_config();
    let crypto = QuicServerConfig::try_from(tls).context("the TLS configuration serves QUIC")?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = endpoint(Some(config))?;
    println!("{}", endpoint.local_addr()?);
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let (mut send, _) = connection.accept_bi().await?;
        let file = File::open(&arguments.file)?;
        let mut left = file.metadata()?.len();
        let mut at = 0;
        while left > 0 {
            let mut block = vec![0; BLOCK.min(usize::try_from(left)?)];
            file.read_exact_at(&mut block, at)?;
            at += block.len() as u64;
            left -= block.len() as u64;
            send.write_chunk(Bytes::from(block)).await?;
        }
        send.finish()?;
        connection.closed().await;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the parent reads the figures")]
pub(crate) async fn fetch(arguments: ClientArguments) -> anyhow::Result<()> {
    let tls = credentials(&arguments.certs)?.client_config();
    let crypto = QuicClientConfig::try_from(tls).context("the TLS configuration serves QUIC")?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    let endpoint = endpoint(None)?;
    println!("ready");
    // The parent reads both sides' CPU time before anything is sent.
    std::io::stdin().read_line(&mut String::new())?;
    let started = Instant::now();
    let connection = endpoint.connect_with(config, arguments.server, "bare")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"go").await?;
    send.finish()?;
    let file = File::create(&arguments.file)?;
    let (mut block, mut hasher, mut at) = (Vec::with_capacity(BLOCK), Hasher::default(), 0_u64);
    let mut chunks: [Bytes; 32] = std::array::from_fn(|_| Bytes::new());
    while let Some(count) = receive.read_chunks(&mut chunks).await? {
        for chunk in &chunks[..count] {
            block.extend_from_slice(chunk);
            if block.len() >= BLOCK {
                hasher.update(&block);
                file.write_all_at(&block, at)?;
                at += block.len() as u64;
                block.clear();
            }
        }
    }
    hasher.update(&block);
    file.write_all_at(&block, at)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{seconds} {}", hasher.finish());
    // The parent reads this process's CPU time, and ends it.
    std::future::pending().await
}

fn credentials(folder: &Path) -> anyhow::Result<Credentials> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name));
    let (ca, cert, key) = (read("ca.pem")?, read("node.pem")?, read("node.key")?);
    Ok(Credentials::from_pem(&ca, &cert, &key, rdcq_certs::system_time())?)
}

fn endpoint(server: Option<quinn::ServerConfig>) -> anyhow::Result<quinn::Endpoint> {
    let bound = rdcq_env::bind_udp(SocketAddr::from(([127, 0, 0, 1], 0)), SOCKET_BUFFER)?;
    let config = quinn::EndpointConfig::default();
    Ok(quinn::Endpoint::new(config, server, bound.socket, Arc::new(quinn::TokioRuntime))?)
}

/// The recipe behind the table of limits: 16 MiB a stream, 32 MiB a connection and on the way, datagrams of 1,452 bytes
/// from the start.
fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport
        .stream_receive_window(quinn::VarInt::from_u32(16 * 1024 * 1024))
        .receive_window(quinn::VarInt::from_u32(32 * 1024 * 1024))
        .send_window(32 * 1024 * 1024)
        .initial_mtu(1452);
    Arc::new(transport)
}
