//! The end of a burst.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::UdpPoller;

use super::Shared;

/// Turns of the run queue in which nothing came that end a burst. In one turn a busy connection sends twenty datagrams;
/// in a second one, whoever writes to it can have written more.
const QUIET_TURNS: u32 = 2;

/// Sends what a [`JoiningSocket`](super::JoiningSocket) holds when nothing more comes. Ends when the socket is dropped.
#[derive(Debug)]
#[must_use = "without a flusher the end of a burst is never sent"]
pub struct Flusher {
    shared: Arc<Shared>,
    poller: Pin<Box<dyn UdpPoller>>,
    /// Transmits that had been taken in when the run queue last went round.
    seen: u64,
    quiet_turns: u32,
}

impl Flusher {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let poller = Arc::clone(&shared.inner).create_io_poller();
        Self { shared: Arc::clone(shared), poller, seen: 0, quiet_turns: 0 }
    }
}

impl Future for Flusher {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, poller, seen, quiet_turns } = self.get_mut();
        let mut held = shared.held();
        if held.over {
            return Poll::Ready(());
        }
        // Kept whatever follows, for the socket's drop wakes it, too.
        if !held.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            held.waker = Some(cx.waker().clone());
        }
        while !held.batch.is_empty() {
            *quiet_turns = if *seen == held.taken { *quiet_turns + 1 } else { 0 };
            *seen = held.taken;
            if *quiet_turns < QUIET_TURNS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if ready!(poller.as_mut().poll_writable(cx)).is_err() {
                // The runtime is shutting down.
                return Poll::Ready(());
            }
            match shared.flush(&mut held) {
                // Not writable after all: the next round registers for when it is.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => tracing::debug!(%error, "a batch of datagrams was lost"),
                Ok(()) => {}
            }
        }
        Poll::Pending
    }
}
