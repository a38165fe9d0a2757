//! A request that is answered by many frames.

use std::fmt;
use std::sync::Arc;

use rdcq_wire::{Kind, Message};
use tokio::sync::oneshot;

use crate::call::{Stream, reply_frame};
use crate::connection::Ongoing;
use crate::link::Link;
use crate::stream::{self, Head, Receiver, Sender};
use crate::{Body, CallError};

/// A request that is answered by many frames. Dropped before the last, it is cancelled.
pub struct Exchange {
    sender: Sender,
    /// `None` while a body has it, and once the reply is over.
    receiver: Option<Receiver>,
    /// Where the stream comes back from the body that has it.
    lent: Option<oneshot::Receiver<Receiver>>,
    ongoing: Ongoing,
}

impl Exchange {
    pub(crate) fn new(stream: Stream) -> Self {
        let Stream { sender, receiver, ongoing } = stream;
        Self { sender, receiver: Some(receiver), lent: None, ongoing }
    }

    /// The next frame; `None` once the peer has ended the reply. A failure is an error, and the reply's end.
    ///
    /// Waits until the previous frame's body has been read or dropped. May be given up and called anew.
    pub async fn next(&mut self) -> Result<Option<Frame>, CallError> {
        if let Some(lent) = &mut self.lent {
            let back = self.ongoing.within(async { Ok(lent.await) }).await?;
            self.lent = None;
            self.receiver = back.ok();
        }
        let Some(receiver) = &mut self.receiver else { return Ok(None) };
        let head = reply_frame(&mut self.sender, receiver, &self.ongoing).await;
        let over = !matches!(head, Ok(Some(_)));
        match (self.receiver.take_if(|_| over || has_body(&head)), head?) {
            (Some(receiver), Some(head)) => Ok(Some(self.lend(receiver, head))),
            (_, head) => Ok(head.map(|head| self.bare(head))),
        }
    }

    fn lend(&mut self, receiver: Receiver, head: Head) -> Frame {
        let (home, lent) = oneshot::channel();
        self.lent = Some(lent);
        let body = Body::lent(receiver, head.body_len, self.ongoing.clone(), home);
        Frame { body, ..self.bare(head) }
    }

    fn bare(&self, head: Head) -> Frame {
        Frame { head, link: Arc::clone(self.ongoing.link()), body: Body::empty() }
    }
}

fn has_body(head: &Result<Option<Head>, CallError>) -> bool {
    matches!(head, Ok(Some(head)) if head.body_len > 0)
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

/// One frame of a reply.
pub struct Frame {
    head: Head,
    link: Arc<Link>,
    /// What follows the header.
    pub body: Body,
}

impl Frame {
    /// What the frame is.
    pub const fn kind(&self) -> Kind {
        self.head.kind
    }

    /// Reads the header. If it is not `M`'s, the peer broke the protocol and the connection is closed.
    pub fn decode<M: Message>(&self) -> Result<M, CallError> {
        self.head.decode().map_err(|error| stream::violated(&self.link.quic, error))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("kind", &self.kind()).field("body", &self.body).finish_non_exhaustive()
    }
}
