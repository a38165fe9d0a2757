//! What quinn sees of the network: a socket and a runtime.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use quinn_udp::{RecvMeta, Transmit};
use tokio::time::{Instant, Sleep, sleep_until};

use super::SimNet;
use super::state::{Bound, Datagram};

/// A socket on the network; its address is free again when it is dropped.
pub(super) struct SimSocket {
    net: SimNet,
    bound: Bound,
    /// Wakes the reader when the next datagram arrives.
    arrival: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl SimSocket {
    pub(super) const fn new(net: SimNet, bound: Bound) -> Self {
        Self { net, bound, arrival: Mutex::new(None) }
    }

    /// Sleeps until `due`; `None` is for ever, or until a send wakes the reader.
    fn poll_arrival(&self, cx: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        let mut arrival = self.arrival.lock().expect("nothing panics while it holds the lock");
        let Some(due) = due else {
            *arrival = None;
            return Poll::Pending;
        };
        let sleep = arrival.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        Future::poll(sleep.as_mut(), cx)
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for contents in transmit.contents.chunks(segment) {
            let reader = self.net.lock().send(self.bound, transmit.destination, contents, Instant::now());
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut count = 0;
            for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
                let Some(datagram) = self.net.lock().receive(self.bound, Instant::now()) else { break };
                *meta = deliver(&datagram, buf, self.bound.addr.ip());
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            let due = self.net.lock().wait(self.bound, cx.waker());
            ready!(self.poll_arrival(cx, due));
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.bound.addr)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        // The inbox holds its reader's waker, which is not to be dropped under the lock.
        let inbox = self.net.lock().unbind(self.bound);
        drop(inbox);
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").field("bound", &self.bound).finish_non_exhaustive()
    }
}

/// Copies a datagram to its reader; what does not fit is cut off, as of any UDP socket.
fn deliver(datagram: &Datagram, buf: &mut [u8], local: IpAddr) -> RecvMeta {
    let len = datagram.contents.len().min(buf.len());
    buf[..len].copy_from_slice(&datagram.contents[..len]);
    RecvMeta { addr: datagram.from, len, stride: len, ecn: None, dst_ip: Some(local) }
}

/// The network takes every datagram at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Tokio's timers, which keep to its clock, paused or not; the tasks are noted, so that a crash can end them.
#[derive(Debug)]
pub(super) struct SimRuntime {
    pub(super) net: SimNet,
    pub(super) ip: IpAddr,
    pub(super) inner: TokioRuntime,
}

impl Runtime for SimRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        self.inner.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let task = tokio::spawn(future).abort_handle();
        self.net.lock().add_task(self.ip, task);
    }

    fn wrap_udp_socket(&self, _socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a simulated network has no use for a real socket"))
    }

    fn now(&self) -> std::time::Instant {
        self.inner.now()
    }
}
