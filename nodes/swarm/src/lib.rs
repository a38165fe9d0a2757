//! The pure scheduler of a swarm download: who is asked for which span of pieces, and when.
//!
//! One [`Swarm`] fetches one blob. Its driver tells it what happened ([`Event`]) and what time it is ([`Time`]), carries
//! out what it decides ([`Action`]), and calls it again when its timer ([`Swarm::poll_timeout`]) is due. The simulator
//! and the agent drive the same code.
//!
//! The rules, in the order in which they matter:
//!
//! 1. A piece that an agent is known to hold is asked from an agent, rarest first, so that the origins send about one
//!    copy in sum over all agents; the origins are asked for what no agent holds yet. Each agent walks the blob from a
//!    start of its own, so that agents that begin together fetch different pieces.
//! 2. An agent without neighbours pulls from the origins at line rate: large windows, long spans.
//! 3. Windows follow each peer's measured rate: large enough to keep it busy, small enough to turn pieces around fast.
//!    All agents together have a window, too, which what is overdue does not fill; equal peers are asked by lot.
//! 4. A silent peer is given up, a lying one banned, a busy one left alone for as long as it asked.
//! 5. When the last few pieces are in flight, those that are overdue are asked from a second peer as well.
//!
//! What was done to one swarm can be done to another, which then decides the same ([`Start`], [`Step`]).
//!
//! Whoever serves pieces asks [`Uploads`] whether to send what it is asked for now.
//!
//! [`Spread`] is the origin's side: it offers each agent other pieces, so that one copy leaves it, however many agents; who is offered
//! what comes from elsewhere declines. [`Acquaintances`] is the tracker's: who is named to whom.
//!
//! Left to others: the bytes, their hashes, connections, and announcing to neighbours what is held.

mod acquaint;
mod bits;
mod event;
mod gather;
mod pace;
mod peer;
mod peers;
mod pieces;
mod report;
mod request;
mod requests;
mod settings;
mod spread;
mod step;
mod swarm;
mod tally;
mod time;
mod uploads;

pub use acquaint::{AcquaintSettings, Acquaintances, SEEK_SOONEST, seek_again};
pub use event::{Action, Event, Failure, PeerId, PeerKind, RequestId};
pub use gather::gathering;
pub use report::Report;
pub use settings::{Settings, WindowSettings};
pub use spread::{Asked, OnOffer, Spread, SpreadSettings};
pub use step::{Difference, Start, Step};
pub use swarm::Swarm;
pub use time::Time;
pub use uploads::{Claim, Ended, Ticket, Turn, Upload, UploadSettings, Uploads};
