//! The messages, one file a request with its reply.

mod announce;
mod collect;
mod commit;
mod decline;
mod drain;
mod failure;
mod get_manifest;
mod get_pieces;
mod hello;
mod lend;
mod line;
mod list;
mod live;
mod meter;
mod offer;
mod ping;
mod pull;
mod put_pieces;
mod put_tag;
mod release;
mod reload;
mod remove_tag;
mod resolve;
mod seal;
mod status;
mod watch;

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use announce::{Announce, Announced, Goal, Neighbour, Neighbours, Seek};
pub use collect::{Collect, Collected};
pub use commit::{Commit, Committed, Fresh};
pub use decline::{Decline, Declined};
pub use drain::Drain;
pub use failure::{Failure, Reason};
pub use get_manifest::{GetManifest, ManifestBody};
pub use get_pieces::{Encoding, GetPieces, Pieces};
pub use hello::Hello;
pub use lend::{Lend, Lent};
pub use line::Line;
pub use list::{Cursor, List, Listing, Selection};
pub use live::{Live, Liveness};
pub use meter::{ClassFlow, Flow, Meter, Metered, PeerFlow, Transfer};
pub use offer::{Offer, Wanted};
pub use ping::Ping;
pub use pull::{Found, Progress, Pull, Pulled, Sources, Verified};
pub use put_pieces::{PutPieces, Stored};
pub use put_tag::PutTag;
pub use release::{Release, Released};
pub use reload::{Effect, Note, Reload, Reloaded, Setting};
pub use remove_tag::{RemoveTag, Removed};
pub use resolve::{Resolve, Resolved};
pub use seal::{Seal, Sealed};
pub use status::{NoWord, PeerTraffic, Plane, Refused, Status, StatusReport, Traffic, Word};
pub use watch::{Complete, Have, Watch};

use crate::{Manifest, PieceTable};

/// A message's header: everything of it but its body.
pub trait Message: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    /// The message's kind.
    const KIND: Kind;
}

/// A message that asks for something.
pub trait Request: Message {
    /// What answers it when nothing fails; [`Failure`] does otherwise.
    type Reply: Message;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, body: $max:expr;)+) => {
        /// What a frame is. Numbers are retired, never used again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kind's number on the wire.
            pub const fn number(self) -> u8 {
                match self { $(Self::$kind => $number,)+ }
            }

            /// The kind with this number, if this version knows one.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)+ _ => None }
            }

            /// Longest body of such a frame, in bytes.
            pub const fn max_body(self) -> u32 {
                match self { $(Self::$kind => $max,)+ }
            }

            /// The kind's name, as in PROTOCOL.md.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)+ }
            }
        }
    };
}

/// Longest body of pieces, in bytes: one piece of the longest kind.
pub const MAX_SPAN_BYTES: u32 = PieceTable::MAX_PIECE_BYTES;
/// Longest body of records in a [`Listing`], in bytes.
pub const MAX_LISTING_BYTES: u32 = 1024 * 1024;
/// Longest body of peers in a [`StatusReport`] or [`Metered`], in bytes.
pub const MAX_STATUS_BYTES: u32 = 1024 * 1024;

kinds! {
    /// The first word of either side of a connection.
    Hello = 1, body: 0;
    /// The speaker is going away.
    Drain = 2, body: 0;
    /// A request was not done.
    Failure = 3, body: 0;
    /// Are you there?
    Ping = 4, body: 0;
    /// Content is offered for a push.
    Offer = 16, body: Manifest::MAX_BYTES;
    /// Which of the offered pieces are wanted.
    Wanted = 17, body: 0;
    /// Pieces of an offered content.
    PutPieces = 18, body: MAX_SPAN_BYTES;
    /// The pieces are stored.
    Stored = 19, body: 0;
    /// Make the pushed content durable and name it.
    Commit = 20, body: 0;
    /// The record that names it.
    Committed = 21, body: 0;
    /// Check content whole and make it durable.
    Seal = 22, body: 0;
    /// It is whole and durable.
    Sealed = 23, body: 0;
    /// Write a tag's record.
    PutTag = 24, body: 0;
    /// A push is over, or a pull delivered; its content may go if nothing names it.
    Release = 26, body: 0;
    /// The lease has ended.
    Released = 27, body: 0;
    /// Which record does a tag lead to?
    Resolve = 32, body: 0;
    /// The record.
    Resolved = 33, body: 0;
    /// Which records are there?
    List = 34, body: 0;
    /// A page of records.
    Listing = 35, body: MAX_LISTING_BYTES;
    /// Remove a version.
    RemoveTag = 36, body: 0;
    /// Its tombstone.
    Removed = 37, body: 0;
    /// Which of these digests does a live version name?
    Live = 38, body: 0;
    /// Those.
    Liveness = 39, body: 0;
    /// Bring a tag's content to this host.
    Pull = 48, body: 0;
    /// How far a pull is.
    Progress = 49, body: 0;
    /// The content is here.
    Pulled = 50, body: 0;
    /// Which record a pull is of.
    Found = 51, body: 0;
    /// A manifest, please.
    GetManifest = 52, body: 0;
    /// Its canonical bytes.
    ManifestBody = 53, body: Manifest::MAX_BYTES;
    /// A span of pieces, please.
    GetPieces = 54, body: 0;
    /// Their bytes.
    Pieces = 55, body: MAX_SPAN_BYTES;
    /// Tell me which pieces you have, now and from now on.
    Watch = 56, body: 0;
    /// More pieces that the sender has.
    Have = 57, body: 0;
    /// Lend me a content's file, please.
    Lend = 58, body: 0;
    /// Where its descriptor is picked up.
    Lent = 59, body: 0;
    /// Those.
    Neighbours = 61, body: 0;
    /// Content may have lost its last name.
    Collect = 62, body: 0;
    /// Heard.
    Collected = 63, body: 0;
    /// How are you doing?
    Status = 64, body: 0;
    /// The node's traffic, in sum and a peer.
    StatusReport = 65, body: MAX_STATUS_BYTES;
    /// Read the settings anew.
    Reload = 66, body: 0;
    /// What became of them.
    Reloaded = 67, body: 0;
    /// What do you move?
    Meter = 68, body: 0;
    /// What the node moves, and may, in sum and a peer.
    Metered = 69, body: MAX_STATUS_BYTES;
    /// Pieces that a pull has brought.
    Verified = 70, body: 0;
    /// Of these pieces I need none.
    Decline = 71, body: 0;
    /// Heard.
    Declined = 72, body: 0;
    /// What an agent has whole, or no longer has.
    Announce = 73, body: 0;
    /// Heard.
    Announced = 74, body: 0;
    /// Who else has or seeks this?
    Seek = 75, body: 0;
}

impl Kind {
    /// Whether such a request carries pieces, or is answered by some: it belongs on a data connection.
    pub const fn carries_pieces(self) -> bool {
        matches!(self, Self::GetPieces | Self::PutPieces)
    }

    /// Whether a receiver that does not know the kind may skip such a frame: it says nothing without which a request
    /// could not be done.
    pub const fn is_ignorable(self) -> bool {
        matches!(self, Self::Found | Self::Verified)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_kinds_and_bodies_keep_to_the_maximum() {
        for kind in Kind::ALL.iter().copied() {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
            assert!(kind.max_body() <= crate::frame::MAX_BODY, "{kind}");
        }
        assert_eq!(Kind::from_number(0), None);
    }

    #[test]
    fn every_kind_has_its_line_in_protocol_md() {
        let page = include_str!("../../PROTOCOL.md");
        for kind in Kind::ALL.iter().copied() {
            let line = format!("| {} | {kind} |", kind.number());
            assert!(page.contains(&line), "PROTOCOL.md has no line that begins `{line}`");
        }
        for number in (0..=255).filter(|number| Kind::from_number(*number).is_none()) {
            assert!(
                !page.contains(&format!("\n| {number} | ")),
                "PROTOCOL.md lists {number}, which is no kind"
            );
        }
    }

    #[test]
    fn every_cell_of_the_role_table_is_in_protocol_md() {
        let page = include_str!("../../PROTOCOL.md");
        for rule in crate::access::RULES {
            let callers: Vec<_> = rule.callers.iter().map(|role| role.name()).collect();
            let line = format!("| {} | {} | {} |", rule.request, rule.server, callers.join(", "));
            assert!(page.contains(&line), "PROTOCOL.md has no line `{line}`");
        }
    }
}
