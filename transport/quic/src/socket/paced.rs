//! A socket through which data goes no faster than the host's way out carries it.

use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep, sleep_until};

use super::wire_bytes;
use crate::uplink::Uplink;

/// Bytes of a transmit that never waits: acknowledgements and requests go before data.
const SHORT: usize = 400;

/// Bytes of the longest datagram that Ethernet carries. A longer one by itself finds out whether the path is wider, which it
/// hardly is where the way out is slow: it may never leave the host.
const LONGEST: usize = 1472;

/// Turns that may be kept for those who did not take them.
const MOST_DUE: usize = 8;

/// Has what is long wait for its turn, in the order in which it came.
#[derive(Debug)]
pub(crate) struct PacedSocket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn AsyncUdpSocket>,
    uplink: Arc<Uplink>,
    turns: Mutex<Turns>,
}

/// What passes between sending and waiting, which quinn does in turn: a connection that was refused asks at once when it may send,
/// and sends when it may.
#[derive(Debug, Default)]
struct Turns {
    /// Bytes of the transmit that was refused last.
    refused: Option<usize>,
    /// How many have come and were not taken yet.
    due: usize,
}

impl PacedSocket {
    pub(crate) fn wrap(inner: Arc<dyn AsyncUdpSocket>, uplink: Arc<Uplink>) -> Arc<Self> {
        Arc::new(Self(Arc::new(Shared { inner, uplink, turns: Mutex::default() })))
    }
}

impl Shared {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let probes = transmit.segment_size.is_none() && transmit.contents.len() > LONGEST;
        if self.uplink.rate().is_none() || probes || transmit.destination.ip().to_canonical().is_loopback() {
            return self.inner.try_send(transmit);
        }
        let (now, bytes) = (Instant::now().into_std(), wire_bytes(transmit));
        if transmit.contents.len() <= SHORT {
            self.inner.try_send(transmit)?;
            self.uplink.charge(now, bytes);
            return Ok(());
        }
        if !self.turns().take() && !self.uplink.passes(now, bytes) {
            self.turns().refused = Some(bytes);
            return Err(ErrorKind::WouldBlock.into());
        }
        let outcome = self.inner.try_send(transmit);
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.turns().give();
        }
        outcome
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    fn give(&mut self) {
        self.due = (self.due + 1).min(MOST_DUE);
    }

    fn take(&mut self) -> bool {
        let is_due = self.due > 0;
        self.due -= usize::from(is_due);
        is_due
    }
}

impl AsyncUdpSocket for PacedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let inner = Arc::clone(&self.0.inner).create_io_poller();
        Box::pin(Poller { inner, shared: Arc::clone(&self.0), timer: None, waits: false })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.uplink.batch(self.0.inner.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.0.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.inner.may_fragment()
    }
}

/// Waits for a connection's turn, and for room in the kernel.
#[derive(Debug)]
struct Poller {
    inner: Pin<Box<dyn UdpPoller>>,
    shared: Arc<Shared>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether the timer runs.
    waits: bool,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.waits
            && let Some(bytes) = this.shared.turns().refused.take()
        {
            let at: Instant = this.shared.uplink.reserve(Instant::now().into_std(), bytes).into();
            match &mut this.timer {
                Some(timer) => timer.as_mut().reset(at),
                None => this.timer = Some(Box::pin(sleep_until(at))),
            }
            this.waits = true;
        }
        if this.waits {
            if let Some(timer) = &mut this.timer {
                ready!(timer.as_mut().poll(cx));
            }
            this.waits = false;
            this.shared.turns().give();
        }
        this.inner.as_mut().poll_writable(cx)
    }
}

#[cfg(test)]
mod tests;
