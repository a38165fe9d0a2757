//! What goes into a swarm and what comes out.

use std::time::Duration;

use rdcq_wire::{PieceIndex, Span};
use serde::{Deserialize, Serialize};

/// A neighbour, as the driver numbers them. A peer that leaves and returns keeps its number, or a ban would not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub u32);

/// A request, as the swarm numbers them; never used twice by one swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// What a neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerKind {
    /// Holds the whole blob; its uplink is what the swarm is there to spare.
    Origin,
    /// Downloads the blob like ourselves, and holds what it says it holds.
    Agent,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A neighbour can be asked from now on.
    PeerJoined {
        /// Who.
        peer: PeerId,
        /// What it is.
        kind: PeerKind,
    },
    /// A neighbour can no longer be asked; its open requests are over.
    PeerLeft {
        /// Who.
        peer: PeerId,
    },
    /// A neighbour holds these pieces, besides those that it announced before.
    /// From an origin: it wants to be asked for these, and no longer for everything, as long as agents are there.
    PeerHas {
        /// Who.
        peer: PeerId,
        /// What it holds.
        spans: Vec<Span>,
    },
    /// A piece has arrived, was checked against its hash, and is stored.
    PieceVerified {
        /// The request that brought it.
        request: RequestId,
        /// The piece.
        piece: PieceIndex,
    },
    /// Some byte of a request's answer has arrived.
    Progress {
        /// The request.
        request: RequestId,
    },
    /// Something has come from whom a request was made of, though nothing of its answer.
    Alive {
        /// The request.
        request: RequestId,
    },
    /// A request's answer has arrived whole; its pieces were reported before.
    RequestDone {
        /// The request.
        request: RequestId,
    },
    /// A request is over without having been answered whole.
    RequestFailed {
        /// The request.
        request: RequestId,
        /// Why.
        failure: Failure,
    },
}

/// Why a request was not answered whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The peer has too much to do.
    Busy {
        /// How long it wants to be left alone.
        retry_after: Duration,
    },
    /// The peer does not hold all of the span.
    NotHeld,
    /// The stream or its connection broke.
    Lost,
    /// A piece did not match its hash.
    WrongBytes,
}

/// Something for the driver to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Ask `peer` for `span`.
    Request {
        /// The number under which to report what comes of it.
        request: RequestId,
        /// Whom to ask.
        peer: PeerId,
        /// What to ask for.
        span: Span,
    },
    /// Stop a request: what it still brings is not needed, or is asked elsewhere. Nothing need be reported about it;
    /// what is reported is understood.
    Cancel {
        /// The request.
        request: RequestId,
    },
    /// The peer sent wrong bytes and is never asked again.
    Ban {
        /// Who.
        peer: PeerId,
    },
    /// The origin has offered something that comes from elsewhere: tell it of [`Swarm::covered`](crate::Swarm::covered).
    Decline {
        /// Whom to tell.
        peer: PeerId,
        /// The first of it.
        from: PieceIndex,
    },
    /// The peer was silent for too long and is not asked for a while.
    GiveUp {
        /// Who.
        peer: PeerId,
    },
}
