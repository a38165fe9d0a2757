//! One request and its answer.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use rdcq_wire::frame::EncodeError;
use rdcq_wire::message::Failure;
use rdcq_wire::{Context, DecodeError, Kind, Message, Request, ResetCode, frame};
use tokio::time::Instant;

use crate::connection::Ongoing;
use crate::stream::{Head, Receiver, Sender};
use crate::{Body, CallError, Exchange};

/// What every call carries on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// One number for everything done on behalf of one command.
    pub trace: u64,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
}

impl Scope {
    pub(crate) fn context(self, request: u64, now: Instant) -> Result<Context, CallError> {
        let left = self.deadline.saturating_duration_since(now).as_millis();
        match u32::try_from(left).unwrap_or(u32::MAX) {
            0 => Err(CallError::TimedOut),
            time_left_ms => Ok(Context { request, trace: self.trace, time_left_ms }),
        }
    }
}

/// The reply to a call: its header, and its body still on the way.
#[derive(Debug)]
pub struct Answer<M> {
    /// What the peer said.
    pub message: M,
    /// What comes with it.
    pub body: Body,
}

/// A request under way, whose body is sent bit by bit. Dropped, it is cancelled.
pub struct Outgoing<R> {
    stream: Stream,
    announced: u32,
    sent: u64,
    wanted: bool,
    reply: PhantomData<fn() -> R>,
}

/// Both halves of a request's stream, and the call that they serve.
pub(crate) struct Stream {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) ongoing: Ongoing,
}

impl Stream {
    /// Opens a stream and writes the request's header.
    pub(crate) async fn open<R: Request>(
        ongoing: Ongoing,
        context: Context,
        request: &R,
        body_len: u32,
    ) -> Result<Self, CallError> {
        let head = frame::encode(context, request, body_len)?;
        let (send, receive) = ongoing.within(async { Ok(ongoing.link().quic.open_bi().await?) }).await?;
        let mut sender = Sender::new(send, ResetCode::Cancelled);
        let receiver = Receiver::new(receive, Arc::clone(ongoing.link()), ResetCode::Cancelled);
        ongoing.within(async { until_stopped(sender.head(head).await) }).await?;
        Ok(Self { sender, receiver, ongoing })
    }

    /// Ends the request.
    pub(crate) fn end(&mut self) {
        self.sender.complete();
        self.sender.end();
    }
}

/// The next frame of a reply; a failure is an error. `None` if the peer ends the stream.
pub(crate) async fn reply_frame(
    sender: &mut Sender,
    receiver: &mut Receiver,
    ongoing: &Ongoing,
) -> Result<Option<Head>, CallError> {
    let head = ongoing.within(receiver.frame()).await?;
    // Who answers has read as much of the request as it wants.
    sender.settle();
    match head {
        Some(head) if head.kind == Kind::Failure => {
            receiver.settle();
            let failure = head.decode::<Failure>().map_err(|error| receiver.violated(error))?;
            Err(CallError::Failed(failure))
        }
        head => Ok(head),
    }
}

/// Whether the peer still reads. That it does not is no failure: the answer says why.
fn until_stopped(written: Result<(), quinn::WriteError>) -> Result<bool, CallError> {
    match written {
        Ok(()) => Ok(true),
        Err(quinn::WriteError::Stopped(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl<R: Request> Outgoing<R> {
    pub(crate) const fn new(stream: Stream, announced: u32) -> Self {
        Self { stream, announced, sent: 0, wanted: true, reply: PhantomData }
    }

    /// Whether the peer still reads the body. If not, go on to its answer.
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Sends the next bytes of the body. Once the peer no longer reads they go nowhere.
    pub async fn send(&mut self, chunk: Bytes) -> Result<(), CallError> {
        self.sent += chunk.len() as u64;
        if self.sent > u64::from(self.announced) {
            return Err(CallError::Length { announced: self.announced, sent: self.sent });
        }
        if self.wanted {
            let Stream { sender, ongoing, .. } = &mut self.stream;
            self.wanted = ongoing.within(async { until_stopped(sender.chunk(chunk).await) }).await?;
        }
        Ok(())
    }

    /// Ends the request and waits for the answer.
    pub async fn answer(mut self) -> Result<Answer<R::Reply>, CallError> {
        if self.wanted && self.sent != u64::from(self.announced) {
            return Err(CallError::Length { announced: self.announced, sent: self.sent });
        }
        self.stream.end();
        let Stream { mut sender, mut receiver, ongoing } = self.stream;
        let head = reply_frame(&mut sender, &mut receiver, &ongoing).await?;
        let head = head.ok_or_else(|| receiver.violated(DecodeError::Truncated))?;
        let message = head.decode().map_err(|error| receiver.violated(error))?;
        Ok(Answer { message, body: Body::last(receiver, head.body_len, Some(ongoing)) })
    }

    pub(crate) fn exchange(mut self) -> Exchange {
        self.stream.end();
        Exchange::new(self.stream)
    }
}

impl<R: Request> fmt::Debug for Outgoing<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("request", &R::KIND)
            .field("announced", &self.announced)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// The length of a request's body as the prefix holds it.
pub(crate) fn body_len<M: Message>(body: &[Bytes]) -> Result<u32, EncodeError> {
    let len: usize = body.iter().map(Bytes::len).sum();
    u32::try_from(len).map_err(|_| EncodeError::Body {
        kind: M::KIND,
        len: u32::MAX,
        max: M::KIND.max_body(),
    })
}
