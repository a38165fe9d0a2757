//! A connection that this node opened, seen by whoever calls on it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rdcq_env::Env;
use rdcq_wire::message::Drain;
use rdcq_wire::{CloseCode, DecodeError, Identity, Kind, Request, ResetCode};
use tokio::time::{Instant, timeout_at};

use crate::call::{Stream, body_len};
use crate::stream::{Receiver, close};
use crate::{Answer, CallError, Exchange, Outgoing, Scope};

/// A call that waited so long while not one datagram came says that the peer is gone; a shorter one may just be impatient.
const SILENCE: Duration = Duration::from_secs(1);

/// A connection to a peer that is who and what was wanted. Cheap to clone; closed when the last clone and call are gone.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    quic: quinn::Connection,
    peer: Identity,
    env: Env,
    requests: AtomicU64,
    usable: Arc<AtomicBool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        close(&self.quic, CloseCode::Done, "");
    }
}

impl Connection {
    /// A connection that was accepted; listens for the server's farewell from now on.
    pub(crate) fn new(env: &Env, quic: quinn::Connection, peer: Identity) -> Self {
        let usable = Arc::new(AtomicBool::new(true));
        env.spawn(watch(quic.clone(), Arc::clone(&usable)));
        Self(Arc::new(Inner { quic, peer, env: env.clone(), requests: AtomicU64::new(1), usable }))
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Identity {
        &self.0.peer
    }

    /// Where the other end is.
    pub fn remote(&self) -> SocketAddr {
        self.0.quic.remote_address()
    }

    /// Whether new calls make sense: it is neither closed nor draining, and the peer was not silent when last called.
    pub fn is_usable(&self) -> bool {
        self.0.usable.load(Ordering::Relaxed) && self.0.quic.close_reason().is_none()
    }

    /// Asks and waits for the one answer.
    pub async fn call<R: Request>(
        &self,
        scope: Scope,
        request: &R,
        body: Vec<Bytes>,
    ) -> Result<Answer<R::Reply>, CallError> {
        let mut outgoing = self.begin(scope, request, body_len::<R>(&body)?).await?;
        for chunk in body {
            outgoing.send(chunk).await?;
        }
        outgoing.answer().await
    }

    /// Asks, with a body of `body_len` bytes that is yet to be sent.
    pub async fn begin<R: Request>(
        &self,
        scope: Scope,
        request: &R,
        body_len: u32,
    ) -> Result<Outgoing<R>, CallError> {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let context = scope.context(number, self.0.env.now())?;
        let stream = Stream::open(Ongoing::new(&self.0, scope.deadline), context, request, body_len).await?;
        Ok(Outgoing::new(stream, body_len))
    }

    /// Asks for an answer of many frames.
    pub async fn exchange<R: Request>(&self, scope: Scope, request: &R) -> Result<Exchange, CallError> {
        Ok(self.begin(scope, request, 0).await?.exchange())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.0.peer)
            .field("remote", &self.remote())
            .finish_non_exhaustive()
    }
}

/// Waits for the streams that a server opens: at most its farewell. Ends with the connection.
async fn watch(quic: quinn::Connection, usable: Arc<AtomicBool>) {
    while let Ok(stream) = quic.accept_uni().await {
        let mut receiver = Receiver::new(stream, quic.clone(), ResetCode::Refused);
        // An error has closed the connection, or concerns this stream alone.
        let Ok(Some(head)) = receiver.frame().await else { continue };
        if head.kind != Kind::Drain {
            receiver.violated(DecodeError::UnexpectedKind { wanted: Kind::Drain, got: head.kind });
        } else if let Err(error) = head.decode::<Drain>() {
            receiver.violated(error);
        } else {
            usable.store(false, Ordering::Relaxed);
        }
        receiver.settle();
    }
}

/// A call under way: its connection, which it keeps open, and its deadline.
#[derive(Clone)]
pub(crate) struct Ongoing {
    inner: Arc<Inner>,
    deadline: Instant,
    began: Instant,
    /// Datagrams that had come from the peer when the call began.
    heard: u64,
}

impl Ongoing {
    fn new(inner: &Arc<Inner>, deadline: Instant) -> Self {
        let heard = inner.quic.stats().udp_rx.datagrams;
        Self { inner: Arc::clone(inner), deadline, began: inner.env.now(), heard }
    }

    pub(crate) fn connection(&self) -> &quinn::Connection {
        &self.inner.quic
    }

    /// Does one step of the call unless its time is over first.
    pub(crate) async fn within<T>(
        &self,
        step: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        match timeout_at(self.deadline, step).await {
            Ok(result) => result,
            Err(_) => {
                self.note_silence();
                Err(CallError::TimedOut)
            }
        }
    }

    /// A node that was killed and started again does not know its old connections. QUIC would notice only after the
    /// idle timeout, and every call until then would wait in vain.
    fn note_silence(&self) {
        let waited = self.inner.env.now().saturating_duration_since(self.began);
        if waited >= SILENCE && self.inner.quic.stats().udp_rx.datagrams == self.heard {
            self.inner.usable.store(false, Ordering::Relaxed);
        }
    }
}
