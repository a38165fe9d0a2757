//! The rdcq protocol as pure data.
//!
//! Everything that two nodes must agree on byte for byte lives here and nowhere else: how content is named
//! ([`Digest`]), cut ([`Cutter`]) and described ([`Manifest`]), how versions are named ([`TagKey`], [`Version`],
//! [`Record`]), who a peer is ([`Identity`]) and what it may ask ([`access`]), and how all of it is framed
//! ([`frame`], [`message`]). `transport/PROTOCOL.md` is the prose; tests hold the two together.
//!
//! The crate has no socket, clock, thread or randomness. Bytes that arrive are checked against the named maximum of
//! their kind before anything is allocated for them.

pub mod access;
pub mod class;
pub mod digest;
pub mod error;
pub mod frame;
pub mod identity;
pub mod list;
pub mod manifest;
pub mod message;
pub mod nonce;
pub mod piece;
#[cfg(test)]
mod protocol;
pub mod rate;
pub mod tag;
#[cfg(test)]
mod testing;

pub use class::Class;
pub use digest::{Digest, Hasher};
pub use error::{CloseCode, ErrorCode, ResetCode};
pub use frame::{Context, DecodeError, Prefix};
pub use identity::{HerdId, Identity, NodeId, Role, RoleSet};
pub use list::List;
pub use manifest::{Cutter, Manifest, Piece, PieceTable};
pub use message::{Kind, Message, Request};
pub use nonce::Nonce;
pub use piece::{PieceIndex, PieceSet, Span};
pub use rate::{ByteRate, RateError, RateLimit};
pub use tag::{Attributes, Description, Name, Record, State, TagKey, TagQuery, Version};
