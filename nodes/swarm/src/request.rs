//! One open request.

use rdcq_wire::PieceIndex;

use crate::event::{PeerId, PeerKind};
use crate::pace::Mark;
use crate::time::Time;

/// A request that has not ended.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) peer: PeerId,
    pub(crate) kind: PeerKind,
    /// The pieces that it still has to bring.
    pub(crate) pending: Vec<u32>,
    pub(crate) made_at: Time,
    pub(crate) answer: Answer,
    pub(crate) waste: Waste,
    /// When its last piece should long have come.
    pub(crate) overdue_at: Time,
    /// Where the peer's delivery stood, and that of all agents together.
    pub(crate) mark: Mark,
    pub(crate) mark_of_all: Mark,
}

/// Whether a request's answer has begun to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Awaited,
    Begun,
}

/// Whether a request will also bring a piece that came from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waste {
    Nothing,
    SomePiece,
}

impl Request {
    /// Takes a piece from what is still to come, and says whether it was there.
    pub(crate) fn settle(&mut self, piece: PieceIndex) -> bool {
        let position = self.pending.iter().position(|pending| *pending == piece.0);
        position.map(|position| self.pending.remove(position)).is_some()
    }
}
