//! A socket under quinn that joins what quinn sends in small batches.
//!
//! quinn hands a socket at most ten datagrams at once, and twenty a turn of a connection. The kernel takes 64 of the same
//! size in one call and carries them as one through its stack, up to the receiver's socket: what a datagram costs on both
//! sides falls with the size of its batch. [`JoiningSocket`] holds back a batch until what follows it to the same
//! destination fills a larger one, or nothing follows: the [`Flusher`] sends what is held when the run queue of its runtime
//! has gone round without more. It belongs on the runtime that drives the connections, which must have one thread; on
//! another nothing breaks, but little is joined.

mod batch;
#[cfg(test)]
mod fake;
mod flusher;
mod metered;
mod paced;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use self::batch::Batch;
pub use self::flusher::Flusher;
pub(crate) use self::metered::MeteredSocket;
pub(crate) use self::paced::PacedSocket;

/// What Ethernet, IPv4 and UDP add to a datagram, in bytes.
const HEADERS: usize = 14 + 20 + 8;

/// Bytes that a transmit is on the wire.
fn wire_bytes(transmit: &Transmit<'_>) -> usize {
    transmit.contents.len() + HEADERS * batch::segments(transmit)
}

/// Datagrams that Linux takes in one call (`UDP_MAX_SEGMENTS`).
const MAX_SEGMENTS: usize = 64;

/// Joins consecutive transmits to one destination into one call. See the [module](self).
#[derive(Debug)]
pub struct JoiningSocket(Arc<Shared>);

/// What was sent, for metrics.
#[derive(Debug, Default)]
pub struct SendFigures {
    datagrams: AtomicU64,
    batches: AtomicU64,
}

impl SendFigures {
    /// Datagrams handed to the kernel.
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }

    /// Calls in which they were.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    fn count(&self, datagrams: usize) {
        self.datagrams.fetch_add(datagrams as u64, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn AsyncUdpSocket>,
    held: Mutex<Held>,
    figures: Arc<SendFigures>,
    received: Arc<AtomicU64>,
}

/// What was accepted and not sent yet.
#[derive(Debug, Default)]
struct Held {
    batch: Batch,
    /// The flusher's, while it waits for something to flush.
    waker: Option<Waker>,
    /// Transmits that the batch ever took in; tells whether it grew.
    taken: u64,
    /// Whether the socket was dropped.
    over: bool,
}

impl JoiningSocket {
    /// Wraps a socket, and counts in `received` the datagrams that come to it. `spawn` must run the flusher until it ends, which it does when the socket is dropped.
    pub fn wrap(
        inner: Arc<dyn AsyncUdpSocket>,
        received: Arc<AtomicU64>,
        spawn: impl FnOnce(Flusher),
    ) -> Arc<Self> {
        let shared = Arc::new(Shared { inner, held: Mutex::default(), figures: Arc::default(), received });
        spawn(Flusher::new(&shared));
        Arc::new(Self(shared))
    }

    /// What was sent so far, and whatever is from now on.
    pub fn figures(&self) -> Arc<SendFigures> {
        Arc::clone(&self.0.figures)
    }
}

impl AsyncUdpSocket for JoiningSocket {
    /// The inner socket's: whenever it can take anything, it can take what is held, and so makes room.
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0.inner).create_io_poller()
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
        let count = ready!(self.0.inner.poll_recv(cx, bufs, meta))?;
        let datagrams = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1)) as u64;
        self.0.received.fetch_add(meta[..count].iter().map(datagrams).sum(), Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.0.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.inner.may_fragment()
    }
}

impl Drop for JoiningSocket {
    fn drop(&mut self) {
        let mut held = self.0.held();
        // What the kernel does not take now is lost, as UDP may lose.
        let _ = self.0.flush(&mut held);
        held.over = true;
        if let Some(waker) = held.waker.take() {
            waker.wake();
        }
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Most datagrams in one call: one, once the kernel has refused more.
    fn max_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(MAX_SEGMENTS)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let max_segments = self.max_segments();
        let mut held = self.held();
        if held.batch.takes(transmit, max_segments) {
            held.take_in(transmit);
            if held.batch.is_full(max_segments) {
                // What would block now stays, for the flusher or the next transmit.
                return self.flush(&mut held).or_else(unless_it_would_block);
            }
            return Ok(());
        }
        let begins = Batch::may_begin_with(transmit, max_segments);
        // A datagram to somebody else overtakes what is held; one to the same peer never does.
        if begins || held.batch.destination() == Some(transmit.destination) {
            self.flush(&mut held)?;
        }
        if begins {
            held.take_in(transmit);
            let waker = held.waker.take();
            drop(held);
            if let Some(waker) = waker {
                waker.wake();
            }
            return Ok(());
        }
        self.inner.try_send(transmit)?;
        self.figures.count(batch::segments(transmit));
        Ok(())
    }

    /// Sends what is held. What would block stays held; what fails in another way is gone.
    fn flush(&self, held: &mut Held) -> io::Result<()> {
        let Some(transmit) = held.batch.transmit() else { return Ok(()) };
        let segments = batch::segments(&transmit);
        let outcome = match self.inner.try_send(&transmit) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(error),
            outcome => outcome,
        };
        // The kernel or a device that takes no batches drops the first one, and quinn's socket says so only in this way.
        if outcome.is_ok() && self.max_segments() < segments {
            self.send_singly(&transmit);
        } else if outcome.is_ok() {
            self.figures.count(segments);
        }
        held.batch.clear();
        outcome
    }

    /// Sends a batch's datagrams one by one; those that the kernel does not take are lost, as UDP may lose.
    fn send_singly(&self, batch: &Transmit<'_>) {
        let segment = batch.segment_size.unwrap_or(batch.contents.len());
        for contents in batch.contents.chunks(segment) {
            let Transmit { destination, ecn, src_ip, .. } = *batch;
            let single = Transmit { destination, ecn, contents, segment_size: None, src_ip };
            if self.inner.try_send(&single).is_err() {
                return;
            }
            self.figures.count(1);
        }
    }
}

impl Held {
    fn take_in(&mut self, transmit: &Transmit<'_>) {
        self.batch.append(transmit);
        self.taken += 1;
    }
}

fn unless_it_would_block(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}
