//! Frames: an 8-byte prefix, a postcard header in a versioned envelope, a raw body.
//!
//! ```text
//! 0      1      2             4                           8
//! | kind | flags| header len  | body len                  | header … | body …
//! ```
//!
//! Numbers are big-endian. Every length is checked against its named maximum when the prefix is read, before anything
//! is allocated for header or body.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Class, Kind, Message};

/// Bytes in a prefix.
pub const PREFIX_LEN: usize = 8;
/// Longest header, in bytes.
pub const MAX_HEADER: u16 = 16 * 1024;
/// Longest body of any kind, in bytes: a manifest's maximum rounded up.
pub const MAX_BODY: u32 = 16 * 1024 * 1024;
/// Flag: a receiver that does not know the kind may skip the frame.
pub const FLAG_IGNORABLE: u8 = 0b0000_0001;

/// What stands in front of every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The kind's number, known here or not.
    pub kind: u8,
    /// Flags; bits without a meaning are zero.
    pub flags: u8,
    /// Bytes of header that follow.
    pub header_len: u16,
    /// Bytes of body that follow the header.
    pub body_len: u32,
}

impl Prefix {
    /// Reads a prefix and checks its lengths and flags.
    pub fn decode(bytes: [u8; PREFIX_LEN]) -> Result<Self, DecodeError> {
        let [kind, flags, h0, h1, b0, b1, b2, b3] = bytes;
        let prefix = Self {
            kind,
            flags,
            header_len: u16::from_be_bytes([h0, h1]),
            body_len: u32::from_be_bytes([b0, b1, b2, b3]),
        };
        if flags & !FLAG_IGNORABLE != 0 {
            return Err(DecodeError::Flags(flags));
        }
        if prefix.header_len > MAX_HEADER {
            return Err(DecodeError::HeaderTooLong(prefix.header_len));
        }
        let max = Kind::from_number(kind).map_or(MAX_BODY, Kind::max_body);
        if prefix.body_len > max {
            return Err(DecodeError::BodyTooLong { kind, len: prefix.body_len, max });
        }
        Ok(prefix)
    }

    /// The kind, if this version knows it.
    pub fn known_kind(self) -> Result<Kind, DecodeError> {
        Kind::from_number(self.kind).ok_or(DecodeError::UnknownKind(self.kind))
    }

    /// Whether a receiver that does not know the kind may skip the frame.
    pub const fn is_ignorable(self) -> bool {
        self.flags & FLAG_IGNORABLE != 0
    }

    /// The prefix as it goes onto the wire.
    pub const fn encode(self) -> [u8; PREFIX_LEN] {
        let [h0, h1] = self.header_len.to_be_bytes();
        let [b0, b1, b2, b3] = self.body_len.to_be_bytes();
        [self.kind, self.flags, h0, h1, b0, b1, b2, b3]
    }
}

/// What every header says of its request, so that logs of many nodes can be joined and late work dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Context {
    /// The caller's number for the request; a reply repeats it.
    pub request: u64,
    /// One number for everything done on behalf of one command.
    pub trace: u64,
    /// Milliseconds that the caller will still wait.
    pub time_left_ms: u32,
    /// How much the bytes matter that the request moves.
    pub class: Class,
}

#[derive(Serialize, Deserialize)]
enum Envelope<H> {
    V1(Context, H),
}

/// Bytes of a prefix and a header of the usual length.
pub const USUAL_LEN: usize = 128;

/// Prefix and header of a frame whose body, if any, has `body_len` bytes and follows.
pub fn encode<M: Message>(context: Context, message: &M, body_len: u32) -> Result<Bytes, EncodeError> {
    let max = M::KIND.max_body();
    if body_len > max {
        return Err(EncodeError::Body { kind: M::KIND, len: body_len, max });
    }
    let mut bytes = Vec::with_capacity(USUAL_LEN);
    bytes.resize(PREFIX_LEN, 0);
    let bytes = postcard::to_extend(&Envelope::V1(context, message), bytes)
        .map_err(|_| EncodeError::Header { kind: M::KIND, len: 0 })?;
    let len = bytes.len() - PREFIX_LEN;
    let header_len = u16::try_from(len).ok().filter(|len| *len <= MAX_HEADER);
    let header_len = header_len.ok_or(EncodeError::Header { kind: M::KIND, len })?;
    let flags = if M::KIND.is_ignorable() { FLAG_IGNORABLE } else { 0 };
    let prefix = Prefix { kind: M::KIND.number(), flags, header_len, body_len };
    let mut bytes = bytes;
    bytes[..PREFIX_LEN].copy_from_slice(&prefix.encode());
    Ok(bytes.into())
}

/// Reads a header of a known kind; bytes left over are an error.
pub fn decode<M: Message>(header: &[u8]) -> Result<(Context, M), DecodeError> {
    let malformed = |_| DecodeError::Header(M::KIND);
    match postcard::take_from_bytes(header).map_err(malformed)? {
        (Envelope::V1(context, message), []) => Ok((context, message)),
        (_, rest) => Err(DecodeError::Leftover { kind: M::KIND, bytes: rest.len() }),
    }
}

/// A frame that must not be sent: our fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The header is too long or cannot be written.
    #[error("a {kind} header of {len} bytes is over the maximum of {MAX_HEADER}")]
    Header {
        /// What was to be sent.
        kind: Kind,
        /// The header's length in bytes.
        len: usize,
    },
    /// The body is too long.
    #[error("a {kind} body of {len} bytes is over the maximum of {max}")]
    Body {
        /// What was to be sent.
        kind: Kind,
        /// The body's length in bytes.
        len: u32,
        /// The kind's maximum in bytes.
        max: u32,
    },
}

/// A frame that breaks the protocol: the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Flags that have no meaning.
    #[error("unknown flags {0:#010b}")]
    Flags(u8),
    /// A kind that this version does not know.
    #[error("unknown message kind {0}")]
    UnknownKind(u8),
    /// A known kind that asks for nothing, where a request was due.
    #[error("a {0} message where a request was due")]
    NotARequest(Kind),
    /// A known kind where another was due.
    #[error("a {got} message where {wanted} was due")]
    UnexpectedKind {
        /// What was due.
        wanted: Kind,
        /// What came.
        got: Kind,
    },
    /// A header over the maximum.
    #[error("a header of {0} bytes is over the maximum of {MAX_HEADER}")]
    HeaderTooLong(u16),
    /// A body over its kind's maximum.
    #[error("a body of {len} bytes is over the maximum of {max} for message kind {kind}")]
    BodyTooLong {
        /// The kind's number.
        kind: u8,
        /// Bytes announced.
        len: u32,
        /// Bytes allowed.
        max: u32,
    },
    /// A header that is not its kind's.
    #[error("malformed {0} header")]
    Header(Kind),
    /// A header with bytes after its end.
    #[error("{bytes} bytes too many after a {kind} header")]
    Leftover {
        /// The header's kind.
        kind: Kind,
        /// How many.
        bytes: usize,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Drain;

    const CONTEXT: Context = Context { request: 7, trace: 9, time_left_ms: 1000, class: Class::Urgent };

    #[test]
    fn a_frame_reads_back() {
        let bytes = encode(CONTEXT, &Drain { grace_ms: 300 }, 0).unwrap();
        let prefix = Prefix::decode(bytes[..PREFIX_LEN].try_into().unwrap()).unwrap();
        assert_eq!(prefix.known_kind(), Ok(Kind::Drain));
        assert_eq!(usize::from(prefix.header_len), bytes.len() - PREFIX_LEN);
        let (context, drain) = decode::<Drain>(&bytes[PREFIX_LEN..]).unwrap();
        assert_eq!((context, drain.grace_ms), (CONTEXT, 300));
    }

    #[test]
    fn lengths_over_the_maximum_are_refused_in_the_prefix() {
        let base = Prefix { kind: Kind::Pieces.number(), flags: 0, header_len: 10, body_len: 10 };
        let refused = |prefix: Prefix| Prefix::decode(prefix.encode()).is_err();
        assert!(!refused(base));
        assert!(refused(Prefix { header_len: MAX_HEADER + 1, ..base }));
        assert!(refused(Prefix { body_len: Kind::Pieces.max_body() + 1, ..base }));
        assert!(refused(Prefix { kind: Kind::Drain.number(), body_len: 1, ..base }));
        assert!(refused(Prefix { kind: 255, body_len: MAX_BODY + 1, ..base }));
        assert!(refused(Prefix { flags: 2, ..base }));
    }

    #[test]
    fn bytes_after_a_header_are_refused() {
        let bytes = encode(CONTEXT, &Drain { grace_ms: 1 }, 0).unwrap();
        let longer = [&bytes[PREFIX_LEN..], &[0]].concat();
        assert_eq!(decode::<Drain>(&longer), Err(DecodeError::Leftover { kind: Kind::Drain, bytes: 1 }));
    }

    #[test]
    fn an_envelope_of_another_version_is_refused() {
        let mut bytes = encode(CONTEXT, &Drain { grace_ms: 1 }, 0).unwrap().to_vec();
        bytes[PREFIX_LEN] = 1;
        assert_eq!(decode::<Drain>(&bytes[PREFIX_LEN..]), Err(DecodeError::Header(Kind::Drain)));
    }

    proptest! {
        #[test]
        fn any_prefix_is_read_or_refused(bytes: [u8; PREFIX_LEN]) {
            if let Ok(prefix) = Prefix::decode(bytes) {
                prop_assert_eq!(prefix.encode(), bytes);
                prop_assert!(prefix.body_len <= MAX_BODY && prefix.header_len <= MAX_HEADER);
            }
        }
    }
}
