//! What follows a frame's header.

use std::fmt;

use bytes::Bytes;
use rdcq_wire::DecodeError;
use tokio::sync::oneshot;

use crate::CallError;
use crate::connection::Ongoing;
use crate::stream::Receiver;

/// The raw bytes of a frame. Dropped before its end, it makes the peer stop sending.
pub struct Body {
    receiver: Option<Receiver>,
    remaining: u32,
    /// The call that it answers; a request's body has none, its handler is timed as a whole.
    ongoing: Option<Ongoing>,
    /// Where the stream goes afterwards if more frames may follow.
    home: Option<oneshot::Sender<Receiver>>,
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self { receiver: None, remaining: 0, ongoing: None, home: None }
    }

    /// The last body of its stream.
    pub(crate) fn last(receiver: Receiver, len: u32, ongoing: Option<Ongoing>) -> Self {
        let mut body = Self { receiver: Some(receiver), remaining: len, ongoing, home: None };
        body.release_if_read();
        body
    }

    /// A body after which the stream is wanted back.
    pub(crate) fn lent(
        receiver: Receiver,
        len: u32,
        ongoing: Ongoing,
        home: oneshot::Sender<Receiver>,
    ) -> Self {
        let mut body =
            Self { receiver: Some(receiver), remaining: len, ongoing: Some(ongoing), home: Some(home) };
        body.release_if_read();
        body
    }

    /// Bytes that are still to come.
    pub const fn remaining(&self) -> u32 {
        self.remaining
    }

    /// The next bytes, as they came; `None` once all that were announced have come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        let chunk = self.chunk().await?;
        self.release_if_read();
        Ok(chunk)
    }

    /// Waits for the next bytes and hands on all that are here, in order and as they came; false once all that were
    /// announced have come. Cheaper than one [`Self::next`] after the other.
    pub async fn next_batch(&mut self, mut take: impl FnMut(&[u8])) -> Result<bool, CallError> {
        let Some(first) = self.chunk().await? else { return Ok(false) };
        take(&first);
        drop(first);
        while self.remaining > 0 {
            let ahead =
                self.receiver.as_mut().and_then(|receiver| receiver.take_ahead(as_usize(self.remaining)));
            let Some(chunk) = ahead else { break };
            self.count(&chunk);
            take(&chunk);
        }
        self.release_if_read();
        Ok(true)
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, CallError> {
        let Some(receiver) = &mut self.receiver else { return Ok(None) };
        let max = as_usize(self.remaining);
        let chunk = match &self.ongoing {
            Some(ongoing) => ongoing.within(receiver.chunk(max)).await?,
            None => receiver.chunk(max).await?,
        };
        let chunk = chunk.ok_or_else(|| receiver.violated(DecodeError::Truncated))?;
        self.count(&chunk);
        Ok(Some(chunk))
    }

    /// A chunk is never longer than was asked for.
    fn count(&mut self, chunk: &Bytes) {
        self.remaining -= u32::try_from(chunk.len()).unwrap_or(self.remaining);
    }

    /// All bytes that are still to come, without copying them together.
    pub async fn collect(mut self) -> Result<Vec<Bytes>, CallError> {
        let mut chunks = Vec::new();
        while let Some(chunk) = self.next().await? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    fn release_if_read(&mut self) {
        if self.remaining == 0 {
            self.release();
        }
    }

    /// Hands the stream on, or lets it go.
    fn release(&mut self) {
        let Some(mut receiver) = self.receiver.take() else { return };
        match self.home.take() {
            Some(home) => {
                receiver.skip(self.remaining.into());
                // Nobody at home: the stream is dropped, and with it the peer told.
                drop(home.send(receiver));
            }
            None if self.remaining == 0 => receiver.settle(),
            None => {}
        }
        self.ongoing = None;
    }
}

fn as_usize(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

impl Drop for Body {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
