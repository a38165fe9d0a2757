//! One open request.

use rdcq_wire::{PieceIndex, Span};

use crate::event::PeerId;
use crate::pace::Mark;
use crate::time::Time;

/// A request that has not ended.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) peer: PeerId,
    /// The pieces that it still has to bring.
    pub(crate) pending: Vec<u32>,
    pub(crate) made_at: Time,
    pub(crate) answer: Answer,
    pub(crate) waste: Waste,
    /// When its last piece should long have come.
    pub(crate) overdue_at: Time,
    pub(crate) mark: Mark,
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
    pub(crate) fn new(peer: PeerId, span: Span, made_at: Time, overdue_at: Time, mark: Mark) -> Self {
        Self {
            peer,
            pending: span.range().collect(),
            made_at,
            answer: Answer::Awaited,
            waste: Waste::Nothing,
            overdue_at,
            mark,
        }
    }

    /// Takes a piece from what is still to come, and says whether it was there.
    pub(crate) fn settle(&mut self, piece: PieceIndex) -> bool {
        let position = self.pending.iter().position(|pending| *pending == piece.0);
        position.map(|position| self.pending.remove(position)).is_some()
    }
}
