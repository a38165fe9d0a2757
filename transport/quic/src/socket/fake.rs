//! A socket for tests, in the place of the kernel's.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// One call as the kernel would see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::socket) struct Call {
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub segment: Option<usize>,
}

impl Call {
    pub(in crate::socket) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.segment.unwrap_or(self.bytes.len()))
    }
}

/// What was sent, and what happens to what is sent next.
#[derive(Debug, Default)]
pub(in crate::socket) struct Notes {
    pub calls: Vec<Call>,
    pub takes_batches: bool,
    pub errors: VecDeque<ErrorKind>,
    blocked: bool,
    wakers: Vec<Waker>,
}

/// A socket that only takes notes.
#[derive(Debug)]
pub(in crate::socket) struct Fake(Mutex<Notes>);

impl Fake {
    pub(in crate::socket) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Notes { takes_batches: true, ..Notes::default() })))
    }

    pub(in crate::socket) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap()
    }

    /// From here on nothing is taken.
    pub(in crate::socket) fn block(&self) {
        self.notes().blocked = true;
    }

    pub(in crate::socket) fn unblock(&self) {
        let mut notes = self.notes();
        notes.blocked = false;
        notes.wakers.drain(..).for_each(Waker::wake);
    }

    /// Segments of each call so far.
    pub(in crate::socket) fn batches(&self) -> Vec<usize> {
        self.notes().calls.iter().map(|call| call.datagrams().count()).collect()
    }
}

#[derive(Debug)]
struct FakePoller(Arc<Fake>);

impl UdpPoller for FakePoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut notes = self.0.notes();
        if notes.blocked {
            notes.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Fake {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(FakePoller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut notes = self.notes();
        if notes.blocked {
            return Err(ErrorKind::WouldBlock.into());
        }
        if let Some(kind) = notes.errors.pop_front() {
            return Err(kind.into());
        }
        if transmit.segment_size.is_some() && !notes.takes_batches {
            // As quinn's own does when the kernel refuses.
            return Ok(());
        }
        let (to, bytes) = (transmit.destination, transmit.contents.to_vec());
        notes.calls.push(Call { to, bytes, segment: transmit.segment_size });
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(peer(0))
    }

    fn max_transmit_segments(&self) -> usize {
        let notes = self.notes();
        // Shows the refusal only after the batch that met it.
        if notes.takes_batches || notes.calls.is_empty() { 64 } else { 1 }
    }
}

pub(in crate::socket) fn peer(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 1))
}
