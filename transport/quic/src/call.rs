//! One request and its answer.

use std::sync::Arc;

use bytes::Bytes;
use rdcq_wire::frame::EncodeError;
use rdcq_wire::message::Failure;
use rdcq_wire::{Class, Context, DecodeError, Kind, Message, Request, ResetCode, frame};
use tokio::time::Instant;

use crate::connection::Ongoing;
use crate::stream::{Head, Receiver, Sender};
use crate::{Body, CallError};

/// What every call carries on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// One number for everything done on behalf of one command.
    pub trace: u64,
    /// When nobody waits for the answer any more.
    pub deadline: Instant,
    /// How much its bytes matter beside others, wherever they go.
    pub class: Class,
}

impl Scope {
    pub(crate) fn context(self, request: u64, now: Instant) -> Result<Context, CallError> {
        let left = self.deadline.saturating_duration_since(now).as_millis();
        match u32::try_from(left).unwrap_or(u32::MAX) {
            0 => Err(CallError::TimedOut),
            time_left_ms => Ok(Context { request, trace: self.trace, time_left_ms, class: self.class }),
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
        sender.pace(ongoing.link(), R::KIND, context.class);
        let receiver = Receiver::new(receive, Arc::clone(ongoing.link()), ResetCode::Cancelled);
        ongoing.within(async { until_stopped(sender.head(head).await) }).await?;
        Ok(Self { sender, receiver, ongoing })
    }

    /// Sends the request's body, or what of it the peer reads: it may know enough before.
    pub(crate) async fn send(&mut self, body: Vec<Bytes>) -> Result<(), CallError> {
        for chunk in body {
            let Self { sender, ongoing, .. } = self;
            if !ongoing.within(async { until_stopped(sender.chunk(chunk).await) }).await? {
                break;
            }
        }
        Ok(())
    }

    /// Ends the request.
    pub(crate) fn end(&mut self) {
        self.sender.complete();
        self.sender.end();
    }

    /// Waits for the one answer to a request that has ended.
    pub(crate) async fn answer<M: Message>(mut self) -> Result<Answer<M>, CallError> {
        let head = reply_frame(&mut self.sender, &mut self.receiver, &self.ongoing).await?;
        let head = head.ok_or_else(|| self.receiver.violated(DecodeError::Truncated))?;
        let message = head.decode().map_err(|error| self.receiver.violated(error))?;
        Ok(Answer { message, body: Body::last(self.receiver, head.body_len, Some(self.ongoing)) })
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

/// The length of a request's body as the prefix holds it.
pub(crate) fn body_len<M: Message>(body: &[Bytes]) -> Result<u32, EncodeError> {
    let len: usize = body.iter().map(Bytes::len).sum();
    u32::try_from(len).map_err(|_| EncodeError::Body {
        kind: M::KIND,
        len: u32::MAX,
        max: M::KIND.max_body(),
    })
}
