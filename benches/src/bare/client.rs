//! A caller of the bare server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::OnceCell;

use super::server::{BUSY_STREAMS, DATAGRAM, IDLE_STREAMS};
use super::{SERVER_NAME, client_config, endpoint, lean_transport};
use crate::calling::Side;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// Where the server listens.
    server: SocketAddr,
    /// Most bytes of a greeting to wait for; 0 for none.
    hello: usize,
    /// Bytes of a request.
    request: usize,
    /// Most bytes of an answer.
    answer: usize,
}

/// Calls the bare server.
pub(crate) struct Bare {
    arguments: Arguments,
    config: quinn::ClientConfig,
    asking: OnceCell<quinn::Connection>,
}

impl Bare {
    pub(crate) fn new(arguments: Arguments) -> anyhow::Result<Self> {
        let streams = if arguments.request > 0 { BUSY_STREAMS } else { IDLE_STREAMS };
        let config = client_config(&arguments.certs, lean_transport(streams))?;
        Ok(Self { arguments, config, asking: OnceCell::new() })
    }

    async fn dial(&self, socket: &quinn::Endpoint) -> anyhow::Result<quinn::Connection> {
        Ok(socket.connect_with(self.config.clone(), self.arguments.server, SERVER_NAME)?.await?)
    }
}

impl Side for Bare {
    type Socket = quinn::Endpoint;
    type Held = quinn::Connection;

    fn socket(&self) -> anyhow::Result<quinn::Endpoint> {
        endpoint(None, DATAGRAM)
    }

    async fn connect(self: Arc<Self>, socket: quinn::Endpoint) -> anyhow::Result<quinn::Connection> {
        let connection = self.dial(&socket).await?;
        if self.arguments.hello > 0 {
            connection.accept_uni().await?.read_to_end(self.arguments.hello).await?;
        }
        Ok(connection)
    }

    fn is_alive(held: &quinn::Connection) -> bool {
        held.close_reason().is_none()
    }

    async fn check(_: &quinn::Connection) -> anyhow::Result<()> {
        Ok(())
    }

    async fn ask(self: Arc<Self>, socket: quinn::Endpoint) -> anyhow::Result<()> {
        let connection = self.asking.get_or_try_init(|| self.dial(&socket)).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&vec![1; self.arguments.request]).await?;
        send.finish()?;
        receive.read_to_end(self.arguments.answer).await?;
        Ok(())
    }

    fn close(socket: &quinn::Endpoint) {
        socket.close(quinn::VarInt::from_u32(0), b"");
    }
}
