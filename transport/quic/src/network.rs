//! Where an endpoint's datagrams go: the machine's UDP, or whatever a test puts in its place.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A network on which endpoints are opened.
pub trait Network: Send + Sync + fmt::Debug + 'static {
    /// Takes an address. Port 0 asks for any free one.
    fn bind(&self, addr: SocketAddr) -> io::Result<Binding>;
}

/// A socket and the runtime that drives it.
#[derive(Debug)]
pub struct Binding {
    /// Sends and receives datagrams.
    pub socket: Arc<dyn quinn::AsyncUdpSocket>,
    /// Timers and tasks of the endpoint, and the time that it lives by.
    pub runtime: Arc<dyn quinn::Runtime>,
}

/// The machine's UDP.
#[derive(Debug, Clone, Copy, Default)]
pub struct Udp;

impl Udp {
    /// Bytes asked for as the socket's send and receive buffers: what a burst at 10 Gbit/s brings in 3 ms.
    const BUFFER_BYTES: usize = 4 * 1024 * 1024;
}

impl Network for Udp {
    fn bind(&self, addr: SocketAddr) -> io::Result<Binding> {
        let bound = rdcq_env::bind_udp(addr, Self::BUFFER_BYTES)?;
        let runtime: Arc<dyn quinn::Runtime> = Arc::new(quinn::TokioRuntime);
        Ok(Binding { socket: runtime.wrap_udp_socket(bound.socket)?, runtime })
    }
}
