//! Where an endpoint's datagrams go: the machine's UDP, or whatever a test puts in its place.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::runtime::Handle;

use crate::socket::{JoiningSocket, MeteredSocket, PacedSocket, SendFigures};
use crate::uplink::Uplink;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Plane {
    /// Calls, gossip, announcements: short, and wanted at once.
    #[default]
    Control,
    /// Pieces. The number is that of the socket among a node's data sockets.
    Data(u8),
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("control"),
            Self::Data(number) => write!(f, "data-{number}"),
        }
    }
}

/// A network on which endpoints are opened.
pub trait Network: Send + Sync + fmt::Debug + 'static {
    /// Takes an address. Port 0 asks for any free one.
    fn bind(&self, addr: SocketAddr, plane: Plane) -> io::Result<Binding>;

    /// How many data sockets a node should have: one for each thread that drives them.
    fn data_threads(&self) -> usize {
        1
    }
}

/// A socket and the runtime that drives it.
#[derive(Debug)]
pub struct Binding {
    /// Sends and receives datagrams.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Timers and tasks of the endpoint, and the time that it lives by.
    pub runtime: Arc<dyn Runtime>,
    /// What the socket has sent, if it joins batches.
    pub figures: Option<Arc<SendFigures>>,
    /// Where the requests of the endpoint's connections are served; none is where everything else runs.
    pub tasks: Option<Handle>,
}

/// The machine's UDP.
#[derive(Debug, Clone, Default)]
pub struct Udp {
    data: Arc<[DataThread]>,
    uplink: Arc<Uplink>,
}

/// A thread that drives data sockets.
#[derive(Debug, Clone)]
pub struct DataThread {
    /// Its single-threaded runtime.
    pub handle: Handle,
    /// Counts the datagrams that come to its sockets.
    pub received: Arc<AtomicU64>,
}

impl Udp {
    /// Bytes asked for as the socket's send and receive buffers: what a burst at 10 Gbit/s brings in 3 ms.
    const BUFFER_BYTES: usize = 4 * 1024 * 1024;

    /// Drives each data socket on a single-threaded runtime of its own, so that a connection's datagrams, its requests and
    /// its bytes stay on one core. Without any, everything runs where the endpoint is opened.
    pub fn with_data_threads(threads: Vec<DataThread>) -> Self {
        Self { data: threads.into(), uplink: Arc::default() }
    }

    fn thread(&self, plane: Plane) -> Option<&DataThread> {
        match plane {
            Plane::Control => None,
            Plane::Data(number) => self.data.get(usize::from(number) % self.data.len().max(1)),
        }
    }
}

impl Network for Udp {
    fn bind(&self, addr: SocketAddr, plane: Plane) -> io::Result<Binding> {
        let bound = rdcq_env::bind_udp(addr, Self::BUFFER_BYTES)?;
        warn_if_short(bound.receive_buffer.min(bound.send_buffer.most()), Self::BUFFER_BYTES);
        let thread = self.thread(plane).cloned();
        let runtime: Arc<dyn Runtime> = match &thread {
            Some(thread) => Arc::new(OnThread(thread.handle.clone())),
            None => Arc::new(TokioRuntime),
        };
        let kernel = runtime.wrap_udp_socket(bound.socket)?;
        let kernel = MeteredSocket::wrap(kernel, bound.send_buffer, Arc::clone(&self.uplink));
        let paced = |socket| match plane {
            Plane::Control => socket,
            Plane::Data(_) => PacedSocket::wrap(socket, Arc::clone(&self.uplink)),
        };
        let Some(thread) = thread else {
            return Ok(Binding { socket: paced(kernel), runtime, figures: None, tasks: None });
        };
        let handle = thread.handle.clone();
        // On a thread of their own, and nowhere else, batches can be joined.
        let socket =
            JoiningSocket::wrap(kernel, thread.received, |flusher| drop(thread.handle.spawn(flusher)));
        let figures = Some(socket.figures());
        Ok(Binding { socket: paced(socket), runtime, figures, tasks: Some(handle) })
    }

    fn data_threads(&self) -> usize {
        self.data.len().max(1)
    }
}

/// Says once what a short buffer costs and how it grows.
fn warn_if_short(granted: usize, wanted: usize) {
    static ONCE: Once = Once::new();
    if granted < wanted {
        ONCE.call_once(|| {
            tracing::warn!(
                granted,
                wanted,
                "the kernel gave a short socket buffer, and bursts will be lost; \
                 set net.core.rmem_max and net.core.wmem_max to {wanted} with sysctl"
            );
        });
    }
}

/// Drives endpoints on another thread's runtime.
#[derive(Debug)]
struct OnThread(Handle);

impl Runtime for OnThread {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _on = self.0.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _on = self.0.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}
