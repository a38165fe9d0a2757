//! What serves requests, and how a request looks to it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::OptionFuture;
use rdcq_wire::frame::EncodeError;
use rdcq_wire::message::Failure;
use rdcq_wire::{Context, DecodeError, ErrorCode, Identity, Kind, Message, Request, frame};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::admission::{BytesInFlight, Reservation};
use crate::call::body_len;
use crate::link::Link;
use crate::stream::{ReplyEnd, Sender, decode_as};
use crate::{Body, CallError, Scope};

/// What a role does when it is asked.
pub trait Service: Send + Sync + 'static {
    /// Serves one request: reads it, replies to it. Dropped when the caller no longer waits or the scope's time is over, so
    /// what must be finished belongs into a task of its own.
    fn call(self: Arc<Self>, call: IncomingCall) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// A request that the role table allows its caller. Small to move: handlers pass it on from one to the next.
pub struct IncomingCall(pub(crate) Box<Parts>);

/// What a request consists of.
pub(crate) struct Parts {
    pub(crate) link: Arc<Link>,
    pub(crate) scope: Scope,
    pub(crate) context: Context,
    pub(crate) kind: Kind,
    pub(crate) header: Vec<u8>,
    pub(crate) body: Body,
    pub(crate) draining: CancellationToken,
    pub(crate) replies: BytesInFlight,
    pub(crate) reply: Reply,
}

/// Memory set aside for a reply or a request's body.
#[derive(Debug)]
#[must_use = "dropped, it gives its bytes back"]
pub struct Reserved {
    _reservation: Reservation,
    /// What its call has set aside, and how much of that this is.
    call: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.call.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a caller is told when too much is under way.
pub(crate) fn busy(delay: Duration) -> Failure {
    let reason = "as much is being sent and taken in as this node's memory is for; come back in a moment";
    let ms = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
    Failure { retry_after_ms: ms, ..Failure::new(ErrorCode::Busy, reason) }
}

/// The half that is replied on. It goes back to the server when the call is dropped, which then ends the stream or says
/// on it what went wrong.
pub(crate) struct Reply {
    sender: Option<Sender>,
    /// What was set aside for it.
    reserved: OnceLock<Arc<AtomicU64>>,
    home: Option<oneshot::Sender<Sender>>,
}

impl Reply {
    pub(crate) fn new(sender: Sender) -> (Self, oneshot::Receiver<Sender>) {
        let (home, back) = oneshot::channel();
        (Self { sender: Some(sender), reserved: OnceLock::new(), home: Some(home) }, back)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let (Some(home), Some(sender)) = (self.home.take(), self.sender.take()) {
            // Nobody waits for it any more: dropped, it resets the stream.
            drop(home.send(sender));
        }
    }
}

impl IncomingCall {
    /// Who asks.
    pub fn peer(&self) -> &Identity {
        &self.0.link.peer
    }

    /// Where the request comes from.
    pub fn remote(&self) -> SocketAddr {
        self.0.link.remote()
    }

    /// What calls made on behalf of this one carry on.
    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// What is asked for.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Reads the request. It is the caller's fault if that fails, and costs it the connection.
    pub fn request<R: Request>(&self) -> Result<R, Refusal> {
        Ok(decode_as(self.0.kind, &self.0.header)?)
    }

    /// The request's body, still on the way.
    pub fn body(&mut self) -> &mut Body {
        &mut self.0.body
    }

    /// The request's body, to be moved elsewhere; leaves an empty one.
    pub fn take_body(&mut self) -> Body {
        std::mem::replace(&mut self.0.body, Body::empty())
    }

    /// Sets memory aside for a reply of so many bytes, until what is returned is dropped. If too much is under way already, the
    /// caller is told when to come back: ask before the bytes are read.
    pub fn reserve(&self, bytes: u64) -> Result<Reserved, Refusal> {
        let reserved = self.0.replies.try_reserve(&self.0.link.peer.node, bytes);
        let reservation = reserved.map_err(busy)?;
        let call = Arc::clone(self.0.reply.reserved.get_or_init(Arc::default));
        call.fetch_add(bytes, Ordering::Relaxed);
        Ok(Reserved { _reservation: reservation, call, bytes })
    }

    /// Has something done when the caller has the whole reply, or never will; at once, if the call is over already.
    pub fn on_end(&mut self, tell: impl FnOnce(ReplyEnd) + Send + Sync + 'static) {
        match &mut self.0.reply.sender {
            Some(sender) => sender.on_end(Box::new(tell)),
            None => tell(ReplyEnd::Lost),
        }
    }

    /// The shortest time that anything took to the caller and back, as far as was looked.
    pub fn round_trip(&self) -> Duration {
        self.0.link.round_trip()
    }

    /// Sets aside what of a body its handler did not.
    fn reserve_rest(&self, body_len: u32) -> Result<Option<Reserved>, Refusal> {
        let before = self.0.reply.reserved.get().map_or(0, |reserved| reserved.load(Ordering::Relaxed));
        match u64::from(body_len).saturating_sub(before) {
            0 => Ok(None),
            rest => self.reserve(rest).map(Some),
        }
    }

    /// Replies with one frame; may be called again if the request's answer has many. Memory for its body is set aside if that
    /// was not done before.
    pub async fn reply<M: Message>(&mut self, message: &M, body: Vec<Bytes>) -> Result<(), Refusal> {
        let body_len = body_len::<M>(&body)?;
        let head = frame::encode(self.0.context, message, body_len)?;
        let _rest = self.reserve_rest(body_len)?;
        let sender = self.0.reply.sender.as_mut().ok_or(Refusal::Gone)?;
        if sender.frame_while_read(head, body).await { Ok(()) } else { Err(Refusal::Gone) }
    }

    /// Resolves when the caller no longer wants the answer, or its connection is gone.
    pub async fn cancelled(&self) {
        self.unwanted().await;
    }

    pub(crate) fn unwanted(&self) -> impl Future<Output = ()> + Send + 'static {
        // It is there until the call is dropped.
        OptionFuture::from(self.0.reply.sender.as_ref().map(Sender::unwanted)).map(drop)
    }

    /// Resolves when the node goes away: time to end what could go on for long.
    pub async fn draining(&self) {
        self.0.draining.cancelled().await;
    }
}

impl fmt::Debug for IncomingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingCall")
            .field("kind", &self.0.kind)
            .field("link", &self.0.link)
            .field("scope", &self.0.scope)
            .finish_non_exhaustive()
    }
}

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was not done, and the caller is told why.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The caller broke the protocol; its connection is closed.
    #[error("the caller broke the protocol: {0}")]
    Protocol(#[from] DecodeError),
    /// The caller is no longer there to be told.
    #[error("the caller is gone")]
    Gone,
}

impl From<CallError> for Refusal {
    /// A call that this node made for its caller, or the caller's own body, failed. Whoever broke the protocol has lost its
    /// connection already, and is not always the caller.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed(failure) => Self::Failure(failure),
            other => Self::Failure(Failure::new(other.code(), other.to_string())),
        }
    }
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        Self::Failure(Failure::new(ErrorCode::Internal, error.to_string()))
    }
}
