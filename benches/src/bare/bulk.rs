//! One file over one connection and one stream, hashed and written.
//!
//! The server reads the file in blocks of 1 MiB and hands them to quinn without a copy; the client hashes what comes in
//! blocks of 1 MiB and writes each to its place. Nothing is synced.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;
use rdcq_wire::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::{SERVER_NAME, bulk_transport, client_config, endpoint, server_config};
use crate::processes;

/// Bytes read, hashed and written at once.
const BLOCK: usize = 1024 * 1024;

#[derive(Args)]
pub(crate) struct ServerArguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// The file to serve.
    file: PathBuf,
    /// Bytes in a full datagram.
    datagram: u16,
}

#[derive(Args)]
pub(crate) struct ClientArguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// Where the server listens.
    server: SocketAddr,
    /// The file to write.
    file: PathBuf,
    /// Bytes in a full datagram.
    datagram: u16,
}

/// What the client received.
#[derive(Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) seconds: f64,
    pub(crate) digest: Digest,
}

pub(crate) async fn serve(arguments: ServerArguments) -> anyhow::Result<()> {
    let ServerArguments { certs, file, datagram } = arguments;
    let _orders = processes::orders();
    let endpoint = endpoint(Some(server_config(&certs, bulk_transport(datagram))?), datagram)?;
    processes::say(&endpoint.local_addr()?.to_string())?;
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let (mut send, _) = connection.accept_bi().await?;
        let file = File::open(&file)?;
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

/// Fetches once when told to.
pub(crate) async fn fetch(arguments: ClientArguments) -> anyhow::Result<()> {
    let mut orders = processes::orders();
    let config = client_config(&arguments.certs, bulk_transport(arguments.datagram))?;
    let endpoint = endpoint(None, arguments.datagram)?;
    processes::say("ready")?;
    // The parent reads both sides' CPU time before anything is sent, and again after the answer, before it ends both.
    orders.recv().await;
    let started = Instant::now();
    let connection = endpoint.connect_with(config, arguments.server, SERVER_NAME)?.await?;
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
    processes::answer(&Received { seconds: started.elapsed().as_secs_f64(), digest: hasher.finish() })?;
    std::future::pending().await
}
