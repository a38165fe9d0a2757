//! The kernel's socket with a queue as short as its interface allows, of which is known what passes.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rdcq_env::SendBuffer;

use super::wire_bytes;
use crate::uplink::Uplink;

/// Bytes of the shortest send buffer, with which a socket begins: seven datagrams, which a link of 10 Mbit/s sends in 8 ms.
const SHORTEST: usize = 8 * 1024;

/// How long half a full buffer may take to leave; at half, the kernel asks for more. In less, whoever fills it comes late;
/// what takes more is a queue.
const SOONEST: Duration = Duration::from_millis(4);
const LATEST: Duration = Duration::from_millis(32);

/// How often in succession it must have been too long: a busy host is late by itself.
const SLOW: u32 = 8;

/// Tells an [`Uplink`] what the kernel takes and when it is full.
///
/// What stays on the host passes no interface: it is not counted, and until something leaves, the buffer is as the socket came.
#[derive(Debug)]
pub(crate) struct MeteredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    uplink: Arc<Uplink>,
    queue: Mutex<Queue>,
}

/// What the kernel holds of a socket's.
#[derive(Debug)]
struct Queue {
    buffer: SendBuffer,
    length: Option<Length>,
    /// Since when it is full.
    full: Option<Instant>,
}

/// How long a send buffer should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length {
    bytes: usize,
    /// How often it was too long, lately.
    slow: u32,
}

impl MeteredSocket {
    /// Wraps the socket that `buffer` belongs to.
    pub(crate) fn wrap(inner: Arc<dyn AsyncUdpSocket>, buffer: SendBuffer, uplink: Arc<Uplink>) -> Arc<Self> {
        Arc::new(Self { inner, uplink, queue: Mutex::new(Queue { buffer, length: None, full: None }) })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Makes the buffer short before the first datagram leaves.
    fn shorten(&mut self) {
        if self.length.is_none() {
            self.set(Length::SHORTEST);
        }
    }

    /// Takes how long half of the buffer took to leave.
    fn fit(&mut self, took: Duration) {
        if let Some(length) = self.length {
            let fits = length.after(took).at_most(self.buffer.most());
            if fits.bytes != length.bytes {
                self.set(fits);
            } else {
                self.length = Some(fits);
            }
        }
    }

    fn set(&mut self, length: Length) {
        self.length = Some(length);
        if let Err(error) = self.buffer.set(length.bytes) {
            tracing::debug!(%error, bytes = length.bytes, "the send buffer stays as long as it is");
        }
    }
}

impl Length {
    const SHORTEST: Self = Self { bytes: SHORTEST, slow: 0 };

    /// What is better after half of it took so long.
    fn after(self, took: Duration) -> Self {
        match self.slow + 1 {
            _ if took < SOONEST => Self { bytes: self.bytes * 2, slow: 0 },
            SLOW if took > LATEST => Self { bytes: (self.bytes / 2).max(SHORTEST), slow: 0 },
            slow if took > LATEST => Self { slow, ..self },
            _ => Self { slow: 0, ..self },
        }
    }

    fn at_most(self, bytes: usize) -> Self {
        Self { bytes: self.bytes.min(bytes.max(SHORTEST)), ..self }
    }
}

impl AsyncUdpSocket for MeteredSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if transmit.destination.ip().to_canonical().is_loopback() {
            return self.inner.try_send(transmit);
        }
        let mut queue = self.queue();
        queue.shorten();
        let outcome = self.inner.try_send(transmit);
        let now = tokio::time::Instant::now().into_std();
        match &outcome {
            Ok(()) => {
                if let Some(full) = queue.full.take() {
                    queue.fit(now.saturating_duration_since(full));
                    self.uplink.handle_room(now);
                }
                self.uplink.handle_sent(now, wire_bytes(transmit));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && queue.full.is_none() => {
                queue.full = Some(now);
                self.uplink.handle_full(now);
            }
            Err(_) => {}
        }
        outcome
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl Drop for MeteredSocket {
    fn drop(&mut self) {
        if self.queue().full.take().is_some() {
            self.uplink.handle_room(tokio::time::Instant::now().into_std());
        }
    }
}

#[cfg(test)]
mod tests;
