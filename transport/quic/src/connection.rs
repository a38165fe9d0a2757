//! A connection, seen by whoever calls on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use rdcq_env::Env;
use rdcq_wire::{Class, Identity, Request};
use tokio::time::Instant;

use crate::call::{Stream, body_len};
use crate::link::{Calling, Expected, Link};
use crate::soon;
use crate::{Answer, CallError, Exchange, Lost, Scope};

/// A connection to a peer that is who and what was wanted. Cheap to clone.
///
/// One that this node opened is closed when the last clone and call are gone, and no request of the peer's is being served
/// on it any more.
#[derive(Clone)]
pub struct Connection(Arc<Held>);

struct Held(Arc<Link>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Connection {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self(Arc::new(Held(link)))
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.0.0
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Identity {
        &self.link().peer
    }

    /// Where the other end is.
    pub fn remote(&self) -> SocketAddr {
        self.link().remote()
    }

    /// Runs tasks on the thread that drives the connection: what handles many of its bytes is best done there.
    pub fn env(&self) -> &Env {
        &self.link().env
    }

    /// Whether new calls make sense: it is neither closed nor draining, and the peer was not silent when last called.
    pub fn is_usable(&self) -> bool {
        self.link().is_usable()
    }

    /// Waits until it is over, whoever ends it.
    pub async fn closed(&self) {
        self.link().quic.closed().await;
    }

    /// Whether somebody has another clone.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// How many datagrams have come from the peer: that there are more is a sign of life, whatever they carry.
    pub fn datagrams_received(&self) -> u64 {
        self.link().quic.stats().udp_rx.datagrams
    }

    /// Waits until the node may take in so many bytes from this peer. To be called before the peer is asked for them; what is
    /// returned is to be kept until they are here, or will not come.
    pub async fn expect(&self, class: Class, bytes: u64) -> Expected {
        self.link().expect(class, bytes).await
    }

    /// Asks and waits for the one answer.
    pub async fn call<R: Request>(
        &self,
        scope: Scope,
        request: &R,
        body: Vec<Bytes>,
    ) -> Result<Answer<R::Reply>, CallError> {
        let mut stream = self.open(scope, request, body_len::<R>(&body)?).await?;
        if !body.is_empty() {
            stream.send(body).await?;
        }
        stream.end();
        stream.answer().await
    }

    /// Asks for an answer of many frames.
    pub async fn exchange<R: Request>(&self, scope: Scope, request: &R) -> Result<Exchange, CallError> {
        let mut stream = self.open(scope, request, 0).await?;
        stream.end();
        Ok(Exchange::new(stream))
    }

    /// Asks, with a body of `body_len` bytes that is yet to be sent.
    async fn open<R: Request>(&self, scope: Scope, request: &R, body_len: u32) -> Result<Stream, CallError> {
        let link = self.link();
        let context = scope.context(link.next_request(), link.env.now())?;
        Stream::open(Ongoing::new(&self.0, scope.deadline), context, request, body_len).await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", self.peer())
            .field("remote", &self.remote())
            .finish_non_exhaustive()
    }
}

/// A call under way: its connection, which it keeps open, and its deadline.
#[derive(Clone)]
pub(crate) struct Ongoing {
    held: Arc<Held>,
    /// Has a peer noticed that is gone.
    _calling: Arc<Calling>,
    deadline: Instant,
}

impl Ongoing {
    fn new(held: &Arc<Held>, deadline: Instant) -> Self {
        Self { held: Arc::clone(held), _calling: Arc::new(held.0.begin_call()), deadline }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.held.0
    }

    /// Does one step of the call unless its time is over first.
    pub(crate) fn within<T>(
        &self,
        step: impl Future<Output = Result<T, CallError>>,
    ) -> impl Future<Output = Result<T, CallError>> {
        let link = &self.held.0;
        soon::until(self.deadline, step).map(|result| match result {
            Ok(Err(CallError::Lost(Lost::Local))) if link.fell_silent() => Err(CallError::Lost(Lost::Silent)),
            Ok(result) => result,
            Err(soon::Late) => {
                // Whoever waits for less than it takes to give a silent peer up leaves a hint for the next one.
                if link.seems_silent() {
                    link.retire();
                }
                Err(CallError::TimedOut)
            }
        })
    }
}
