//! A server of connections: it holds them, greets or answers.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use tokio::sync::Semaphore;

use super::{endpoint, lean_transport, server_config};
use crate::{heap, processes};

/// Bytes in a datagram: all that the messages here need.
pub(super) const DATAGRAM: u16 = 1200;
/// Requests at once on a connection that holds: the lean recipe's.
pub(super) const IDLE_STREAMS: u32 = 8;
/// Requests at once on a connection that asks; as many as benches have in flight.
pub(super) const BUSY_STREAMS: u32 = 64;
/// Handshakes at once.
const MAX_HANDSHAKES: usize = 128;

/// What the server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Manner {
    /// Nothing, until it is told to let go of those that are closed.
    Hold,
    /// Says one message on a stream of its own, and waits for the end.
    Greet,
    /// Answers requests, one stream each.
    Answer,
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// What to do with a connection.
    manner: Manner,
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// Bytes of the greeting.
    hello: usize,
    /// Most bytes of a request.
    request: usize,
    /// Bytes of an answer.
    answer: usize,
}

/// Serves until the parent goes away. Told `purge`, lets go of what is closed; told `heap`, says how much is allocated.
pub(crate) async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let streams = if arguments.manner == Manner::Answer { BUSY_STREAMS } else { IDLE_STREAMS };
    let config = server_config(&arguments.certs, lean_transport(streams))?;
    let endpoint = endpoint(Some(config), DATAGRAM)?;
    let mut orders = processes::orders();
    processes::say(&endpoint.local_addr()?.to_string())?;
    let held = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(accept(endpoint, Arc::new(arguments), Arc::clone(&held)));
    while let Some(order) = orders.recv().await {
        if order == "purge" {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|connection: &quinn::Connection| connection.close_reason().is_none());
            held.shrink_to_fit();
            processes::answer(&held.len())?;
        } else {
            anyhow::ensure!(order == "heap", "a bare server is told {order:?}");
            processes::answer(&heap::live_bytes())?;
        }
    }
    Ok(())
}

async fn accept(
    endpoint: quinn::Endpoint,
    arguments: Arc<Arguments>,
    held: Arc<Mutex<Vec<quinn::Connection>>>,
) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let (arguments, held) = (Arc::clone(&arguments), Arc::clone(&held));
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            drop(permit);
            match arguments.manner {
                Manner::Hold => held.lock().unwrap_or_else(PoisonError::into_inner).push(connection),
                // A peer that went away before it was greeted is of no interest.
                Manner::Greet => drop(greet(&connection, arguments.hello).await),
                Manner::Answer => answer(&connection, arguments.request, arguments.answer).await,
            }
        });
    }
}

async fn greet(connection: &quinn::Connection, len: usize) -> anyhow::Result<()> {
    let mut stream = connection.open_uni().await?;
    stream.write_all(&vec![1; len]).await?;
    stream.finish()?;
    connection.closed().await;
    Ok(())
}

/// Answers until the connection is gone. As with any server, one request does not wait for another.
async fn answer(connection: &quinn::Connection, request: usize, answer: usize) {
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        tokio::spawn(async move {
            receive.read_to_end(request).await?;
            send.write_all(&vec![1; answer]).await?;
            send.finish()?;
            anyhow::Ok(())
        });
    }
}
