//! The two halves of a stream, in frames. Both are guarded: dropped too early, they tell the peer so.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{pending, ready};
use quinn::VarInt;
use rdcq_wire::frame::PREFIX_LEN;
use rdcq_wire::{Class, CloseCode, DecodeError, Kind, Message, Prefix, ResetCode, frame};

use crate::CallError;
use crate::bandwidth::Pace;
use crate::link::Link;
use crate::soon;

/// Chunks taken from QUIC at once; one is what a datagram carried.
const READ_AHEAD: u8 = 32;
/// Bytes taken from QUIC at once where a frame begins: most have no more.
const HEAD_AHEAD: usize = 512;
/// Bytes handed to QUIC at once. It frees a chunk only when its last byte is acknowledged.
const WRITE_CHUNK: usize = 256 * 1024;
/// Bytes of a reply that arrive soon: QUIC may send as many before the first acknowledgement.
const SHORT: u64 = 10 * 1024;
/// How long a peer may take for one chunk of a reply: 35 kbit/s, below which nobody pulls files.
const MAX_STALL: Duration = Duration::from_secs(60);
/// Bytes of a close's reason; the rest of a datagram that must fit any path.
const MAX_CLOSE_REASON: usize = 512;

/// The half that frames are written to. quinn ends a stream that is dropped as if it were whole; this one resets it.
pub(crate) struct Sender {
    stream: quinn::SendStream,
    on_drop: Option<ResetCode>,
    /// Whether a frame is half written.
    torn: bool,
    /// Bytes written so far.
    written: u64,
    /// Asks for what bodies take of the node's bandwidth; none where nothing waits.
    pace: Option<Box<Pace>>,
    /// Told when the peer has everything, or never will.
    on_end: Option<OnEnd>,
}

/// How a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyEnd {
    /// The caller has all of it.
    Arrived,
    /// The caller does not want it any more, is gone, or was too slow.
    Lost,
}

/// Told of a reply's end.
pub(crate) type OnEnd = Box<dyn FnOnce(ReplyEnd) + Send + Sync>;

impl Sender {
    pub(crate) const fn new(stream: quinn::SendStream, on_drop: ResetCode) -> Self {
        Self { stream, on_drop: Some(on_drop), torn: false, written: 0, pace: None, on_end: None }
    }

    /// Has bodies wait for their turn in a class if they are of pieces; control never waits.
    pub(crate) fn pace(&mut self, link: &Arc<Link>, kind: Kind, class: Class) {
        if kind.carries_pieces() && !link.is_to_own_host() {
            self.pace = Some(Box::new(Pace::new(Arc::clone(link), class)));
        }
    }

    /// Has something done once it is known how what is written here ends.
    pub(crate) fn on_end(&mut self, tell: OnEnd) {
        self.on_end = Some(tell);
    }

    /// Says how it ended, once.
    pub(crate) fn tell_end(&mut self, end: ReplyEnd) {
        if let Some(tell) = self.on_end.take() {
            tell(end);
        }
    }

    /// What of a chunk is written next.
    async fn part(&mut self, chunk: &mut Bytes) -> Bytes {
        let wanted = chunk.len().min(WRITE_CHUNK);
        let len = match self.pace.as_mut().map(|pace| (pace.is_limited(), pace)) {
            // Boxed: what has no limit, and control, is not to take the memory that this needs.
            Some((true, pace)) => Box::pin(pace.take(wanted)).await,
            Some((false, pace)) => {
                pace.count(wanted);
                wanted
            }
            None => wanted,
        };
        self.written += len as u64;
        chunk.split_to(len)
    }

    /// Writes prefix and header; the frame counts as torn until [`Self::complete`].
    pub(crate) async fn head(&mut self, head: Bytes) -> Result<(), quinn::WriteError> {
        self.written += head.len() as u64;
        self.torn = true;
        self.stream.write_chunk(head).await
    }

    pub(crate) async fn chunk(&mut self, mut chunk: Bytes) -> Result<(), quinn::WriteError> {
        while !chunk.is_empty() {
            let part = self.part(&mut chunk).await;
            self.stream.write_chunk(part).await?;
        }
        Ok(())
    }

    /// Says that the frame begun is whole.
    pub(crate) const fn complete(&mut self) {
        self.torn = false;
    }

    pub(crate) async fn frame(&mut self, head: Bytes, body: Vec<Bytes>) -> Result<(), quinn::WriteError> {
        self.head(head).await?;
        for chunk in body {
            self.chunk(chunk).await?;
        }
        self.complete();
        Ok(())
    }

    /// Writes a frame to a peer that may not want it as much as it said: whether it took the frame. Of one that does not read,
    /// the memory is wanted back.
    pub(crate) async fn frame_while_read(&mut self, head: Bytes, body: Vec<Bytes>) -> bool {
        self.torn = true;
        for mut chunk in std::iter::once(head).chain(body) {
            while !chunk.is_empty() {
                let part = self.part(&mut chunk).await;
                if !matches!(soon::within(MAX_STALL, self.stream.write_chunk(part)).await, Ok(Ok(()))) {
                    return false;
                }
            }
        }
        self.complete();
        true
    }

    pub(crate) const fn is_torn(&self) -> bool {
        self.torn
    }

    pub(crate) const fn is_begun(&self) -> bool {
        self.written > 0
    }

    /// Whether what was written, if anything, arrives within a few round trips, and nobody wants to know whether it did.
    pub(crate) const fn is_short(&self) -> bool {
        self.is_begun() && self.written <= SHORT && self.on_end.is_none()
    }

    /// Ends the stream. Until [`Self::settle`] a drop still resets it.
    pub(crate) fn end(&mut self) {
        // An error means that it has ended or been reset already.
        let _ = self.stream.finish();
    }

    /// Says that nothing is owed to the peer any more.
    pub(crate) const fn settle(&mut self) {
        self.on_drop = None;
    }

    pub(crate) fn reset(mut self, code: ResetCode) {
        self.on_drop = Some(code);
    }

    /// Resolves when the peer has all of an ended stream, or no longer wants it: says which.
    pub(crate) async fn delivered(&self) -> ReplyEnd {
        match self.stream.stopped().await {
            // As in [`Self::unwanted`].
            Ok(code) if code.is_none_or(|code| code.into_inner() == 0) => ReplyEnd::Arrived,
            Ok(_) | Err(_) => ReplyEnd::Lost,
        }
    }

    /// Resolves when the peer no longer wants what is sent, or is gone.
    pub(crate) fn unwanted(&self) -> impl Future<Output = ()> + Send + 'static {
        // Not an `async` block, which would keep quinn's future twice.
        self.stream.stopped().then(|stopped| match stopped {
            // quinn stops with 0 a stream that is dropped after everything awaited was read from it.
            Ok(code) if code.is_none_or(|code| code.into_inner() == 0) => pending().left_future(),
            Ok(_) | Err(_) => ready(()).right_future(),
        })
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.tell_end(ReplyEnd::Lost);
        if let Some(code) = self.on_drop {
            // An error means that it has been reset already, or everything has arrived.
            let _ = self.stream.reset(VarInt::from_u32(code.number()));
        }
    }
}

/// A frame's kind and header; its body follows.
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) header: Vec<u8>,
    pub(crate) body_len: u32,
}

impl Head {
    /// Reads the header as `M`'s; another kind than `M`'s is an error.
    pub(crate) fn decode<M: Message>(&self) -> Result<M, DecodeError> {
        decode_as(self.kind, &self.header)
    }
}

pub(crate) fn decode_as<M: Message>(kind: Kind, header: &[u8]) -> Result<M, DecodeError> {
    if kind != M::KIND {
        return Err(DecodeError::UnexpectedKind { wanted: M::KIND, got: kind });
    }
    frame::decode(header).map(|(_, message)| message)
}

/// The half that frames are read from. Whatever breaks the protocol closes the connection.
///
/// Every read may be given up and begun anew without losing a byte.
pub(crate) struct Receiver {
    stream: quinn::RecvStream,
    /// Whose connection is closed if the protocol is broken.
    link: Arc<Link>,
    /// What was read from QUIC where a frame began, and not asked for yet.
    first: Bytes,
    /// Chunks read from QUIC after that; those from `next` to `end` were not asked for yet. Empty until a body is read.
    ahead: Vec<Bytes>,
    next: u8,
    end: u8,
    /// Prefix and header so far.
    head: Vec<u8>,
    /// Bytes to leave out before the next frame.
    to_skip: u64,
    on_drop: Option<ResetCode>,
}

impl Receiver {
    pub(crate) const fn new(stream: quinn::RecvStream, link: Arc<Link>, on_drop: ResetCode) -> Self {
        Self {
            stream,
            link,
            first: Bytes::new(),
            ahead: Vec::new(),
            next: 0,
            end: 0,
            head: Vec::new(),
            to_skip: 0,
            on_drop: Some(on_drop),
        }
    }

    /// The next frame of a kind that this version knows, up to its body; `None` if the stream ends first.
    pub(crate) async fn frame(&mut self) -> Result<Option<Head>, CallError> {
        loop {
            let Some(prefix) = self.prefix().await? else { return Ok(None) };
            match prefix.known_kind() {
                Ok(kind) => {
                    let header = self.header(prefix).await?;
                    return Ok(Some(Head { kind, header, body_len: prefix.body_len }));
                }
                Err(_) if prefix.is_ignorable() => {
                    self.head.clear();
                    self.skip(u64::from(prefix.header_len) + u64::from(prefix.body_len));
                }
                Err(unknown) => return Err(self.violated(unknown)),
            }
        }
    }

    /// Waits until something of the next frame is here, or its stream has ended. Whoever waits for long does it here: to wait
    /// for the frame itself takes more memory.
    pub(crate) async fn wait(&mut self) -> Result<(), CallError> {
        if self.first.is_empty() && self.next == self.end {
            let chunk = self.stream.read_chunk(HEAD_AHEAD, true).await?;
            self.first = chunk.map(|chunk| chunk.bytes).unwrap_or_default();
        }
        Ok(())
    }

    /// The next frame's prefix; `None` if the stream ends before it. Stays until [`Self::header`] is read.
    pub(crate) async fn prefix(&mut self) -> Result<Option<Prefix>, CallError> {
        self.skip_due().await?;
        if self.gather(PREFIX_LEN).await? {
            let mut bytes = [0; PREFIX_LEN];
            bytes.copy_from_slice(&self.head[..PREFIX_LEN]);
            return Prefix::decode(bytes).map(Some).map_err(|error| self.violated(error));
        }
        if self.head.is_empty() {
            self.settle();
            return Ok(None);
        }
        Err(self.violated(DecodeError::Truncated))
    }

    pub(crate) async fn header(&mut self, prefix: Prefix) -> Result<Vec<u8>, CallError> {
        if !self.gather(PREFIX_LEN + usize::from(prefix.header_len)).await? {
            return Err(self.violated(DecodeError::Truncated));
        }
        let mut header = std::mem::take(&mut self.head);
        header.drain(..PREFIX_LEN);
        Ok(header)
    }

    /// Reads until `head` holds `len` bytes; false if the stream ends first. Takes hardly more from QUIC than that, so that a
    /// body stays with its sender until it is wanted.
    async fn gather(&mut self, len: usize) -> Result<bool, CallError> {
        while self.head.len() < len {
            let missing = len - self.head.len();
            match self.take_ahead(missing) {
                Some(chunk) => {
                    if self.head.is_empty() {
                        self.head.reserve(frame::USUAL_LEN);
                    }
                    self.head.extend_from_slice(&chunk);
                }
                None => match self.stream.read_chunk(missing.max(HEAD_AHEAD), true).await? {
                    Some(chunk) => self.first = chunk.bytes,
                    None => return Ok(false),
                },
            }
        }
        Ok(true)
    }

    /// At most `max` bytes; `None` if the stream ends.
    pub(crate) async fn chunk(&mut self, max: usize) -> Result<Option<Bytes>, CallError> {
        loop {
            if let Some(chunk) = self.take_ahead(max) {
                return Ok(Some(chunk));
            }
            self.ahead.resize_with(usize::from(READ_AHEAD), Bytes::new);
            (self.next, self.end) = (0, 0);
            match self.stream.read_chunks(&mut self.ahead).await? {
                Some(count) => self.end = u8::try_from(count).unwrap_or(READ_AHEAD),
                None => return Ok(None),
            }
        }
    }

    /// At most `max` bytes of those that were read from QUIC already.
    pub(crate) fn take_ahead(&mut self, max: usize) -> Option<Bytes> {
        if !self.first.is_empty() {
            let len = self.first.len().min(max);
            return Some(self.first.split_to(len));
        }
        while self.next < self.end {
            let chunk = &mut self.ahead[usize::from(self.next)];
            if chunk.len() > max {
                return Some(chunk.split_to(max));
            }
            self.next += 1;
            if !chunk.is_empty() {
                return Some(std::mem::take(chunk));
            }
        }
        None
    }

    /// Leaves out the next `bytes` bytes.
    pub(crate) const fn skip(&mut self, bytes: u64) {
        self.to_skip = bytes;
    }

    async fn skip_due(&mut self) -> Result<(), CallError> {
        while self.to_skip > 0 {
            let max = usize::try_from(self.to_skip).unwrap_or(usize::MAX);
            match self.chunk(max).await? {
                Some(chunk) => self.to_skip -= chunk.len() as u64,
                None => return Err(self.violated(DecodeError::Truncated)),
            }
        }
        Ok(())
    }

    /// Says that the rest of the stream, if any, is of no interest and no loss.
    pub(crate) fn settle(&mut self) {
        self.on_drop = None;
        // Most often the end has come with the last bytes. quinn asks the peer to stop what was not read to its end.
        let _ = self.stream.read_chunk(1, true).now_or_never();
    }

    /// Closes the connection because of what came on this stream.
    pub(crate) fn violated(&self, error: DecodeError) -> CallError {
        violated(&self.link.quic, error)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(code) = self.on_drop {
            // An error means that the stream is over.
            let _ = self.stream.stop(VarInt::from_u32(code.number()));
        }
    }
}

/// Closes a connection whose peer broke the protocol.
pub(crate) fn violated(connection: &quinn::Connection, error: DecodeError) -> CallError {
    close(connection, CloseCode::Protocol, &error.to_string());
    CallError::Protocol(error)
}

pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    if connection.close_reason().is_none() && code == CloseCode::Protocol {
        tracing::warn!(remote = %connection.remote_address(), reason, "connection closed: the peer broke the protocol");
    }
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(MAX_CLOSE_REASON)];
    connection.close(VarInt::from_u32(code.number()), reason);
}
