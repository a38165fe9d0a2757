//! Attending to one connection: listening to its peer and serving what it asks for, until the connection is gone.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::future::join;
use futures_util::{FutureExt, poll};
use rdcq_wire::{CloseCode, ResetCode};
use tokio::time::timeout;

use crate::Plane;
use crate::admission::NoSlot;
use crate::endpoint::{FAREWELL_TIMEOUT, Judged, Shared};
use crate::greeting;
use crate::link::{Link, Side};
use crate::profile::BUSY_CONTROL_WINDOW;
use crate::request_slots::RequestSlots;
use crate::stream::{Receiver, Sender, close};

/// Requests of one connection after which others have their turn, and the answers to these are sent: so the peer has
/// something to do in the meantime, and with 64 small requests in flight is answered a third more of them a second.
const TURN: u32 = 8;

/// Listens to a peer and serves its requests until the connection is gone.
///
/// `words` is the control stream of a peer that has said Hello.
#[expect(clippy::manual_async_fn, reason = "an async fn would keep its arguments twice, ten thousand times")]
pub(crate) fn attend(listed: Listed, mut words: Option<Box<Receiver>>) -> impl Future<Output = ()> + Send {
    async move {
        let Listed { shared, link, .. } = &listed;
        let listening = async {
            // Boxed, as all that is large and soon over.
            if words.is_none() {
                words = Box::pin(listed.meet()).await;
            }
            let Some(hearing) = &mut words else { return };
            // Whoever was met while the others were told has not heard it yet.
            if shared.draining.is_cancelled() {
                shared.bid_farewell(Arc::clone(link), FAREWELL_TIMEOUT);
            }
            // An error means that it is over, or the connection.
            while hearing.wait().await.is_ok() && Box::pin(greeting::heed(link, hearing)).await {}
            words = None;
            if link.quic.accept_uni().await.is_ok() {
                close(&link.quic, CloseCode::Protocol, "a second control stream");
            }
        };
        // Requests are many and words are few: who is woken for a request does not look for a word.
        let (mut listening, mut serving) = (pin!(listening), pin!(listed.serve_requests()));
        let (mut all_heard, mut all_served) = (false, false);
        poll_fn(|context| {
            if link.word.was_rung(context) && !all_heard {
                let waker = Waker::from(Arc::clone(link));
                all_heard = listening.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            }
            all_served = all_served || serving.as_mut().poll(context).is_ready();
            if all_heard && all_served { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A connection's entry in the list, and in its peer's account.
pub(crate) struct Listed {
    shared: Arc<Shared>,
    link: Arc<Link>,
    number: u64,
}

impl Listed {
    /// Lists a connection; one that a peer opened needs a slot.
    pub(crate) fn new(shared: Arc<Shared>, link: &Arc<Link>, judged: Judged) -> Self {
        let number = shared.next_link.fetch_add(1, Ordering::Relaxed);
        shared.links().insert((link.side, number), Arc::clone(link));
        let listed = Self { shared, link: Arc::clone(link), number };
        // Whom this node believes may have changed while the peer was met; from here on, it is told.
        let Self { shared, .. } = &listed;
        if shared.judged() != judged {
            shared.disown_if_refused(&shared.security(), link);
        }
        listed
    }

    /// Lists a connection that a peer opened, if it may have one more.
    pub(crate) fn accepted(shared: &Arc<Shared>, link: &Arc<Link>, judged: Judged) -> Result<Self, NoSlot> {
        shared.port(link.plane).peers().try_take(&link.peer.node)?;
        Ok(Self::new(Arc::clone(shared), link, judged))
    }

    /// Says Hello to a peer that has connected, waits for its own, and makes use of the connection if the peer serves.
    async fn meet(&self) -> Option<Box<Receiver>> {
        let Self { shared, link, .. } = self;
        let patience = shared.limits.hello_timeout;
        let hello = shared.hello();
        let greeting = timeout(patience, greeting::introduce(link, &hello));
        let (greeted, words) = join(greeting, greeting::be_met(link, patience)).await;
        if !matches!(greeted, Ok(Ok(()))) {
            tracing::debug!(remote = %link.remote(), "the peer was not greeted");
        }
        let words = Box::new(words?);
        let host = shared.host.get().and_then(Weak::upgrade);
        if let (Some(host), Some(role)) = (host, link.serving()) {
            host.adopt(link, role);
        }
        Some(words)
    }

    /// Serves what the peer asks for until the connection is gone.
    async fn serve_requests(&self) {
        if self.shared.serving.get().is_none() {
            // It allows no requests. Boxed: connections that are asked need no memory for it.
            Box::pin(self.link.quic.closed()).await;
            return;
        }
        let mut slots = RequestSlots::new(self.link.plane, self.shared.limits.max_streams);
        let mut since_turn = 0;
        loop {
            let accepted = self.link.quic.accept_bi().await;
            let Some(mut request) = self.begin(accepted, &mut slots) else { return };
            // Most requests are done when they are first looked at, and need no task.
            if poll!(&mut request).is_pending() {
                self.link.env.spawn(request);
            }
            since_turn += 1;
            if since_turn == TURN {
                since_turn = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Begins to serve the request on a stream that was accepted; none once the connection or the endpoint is closed.
    fn begin(
        &self,
        accepted: Result<(quinn::SendStream, quinn::RecvStream), quinn::ConnectionError>,
        slots: &mut RequestSlots,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let Self { shared, link, .. } = self;
        let (send, receive) = accepted.ok()?;
        let service = shared.serving.get()?.service.upgrade()?;
        let served = link.serve_one();
        if let Some(more) = slots.used(|| shared.env.now(), link.being_served()) {
            link.quic.set_max_concurrent_bi_streams(more.into());
            if link.plane == Plane::Control {
                link.quic.set_receive_window(BUSY_CONTROL_WINDOW.into());
            }
        }
        let sender = Sender::new(send, ResetCode::Failed);
        let receiver = Receiver::new(receive, Arc::clone(link), ResetCode::Refused);
        let request = service.handle(Arc::clone(shared), Arc::clone(link), sender, receiver);
        Some(shared.calls.track_future(request.map(|()| drop(served))))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let Self { shared, link, number } = self;
        // Its task is over: nobody would serve or hear the peer.
        if link.quic.close_reason().is_none() {
            close(&link.quic, CloseCode::Done, "");
        }
        link.word.silence();
        let port = shared.port(link.plane);
        let stats = link.quic.stats();
        let moved = link.moved(&stats);
        let mut links = shared.links();
        links.remove(&(link.side, *number));
        port.counters.closed(&stats, moved);
        drop(links);
        if link.side == Side::Accepted {
            port.peers().give_back(&link.peer.node);
        }
    }
}
