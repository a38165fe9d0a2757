//! The pure arbiter of a node's bandwidth: who may move how many bytes, and when.
//!
//! One [`Arbiter`] stands for one direction of a node. A stream that wants to move bytes asks for them
//! ([`Arbiter::ask`]) and waits until it is granted some ([`Arbiter::poll_grant`]); its driver says what time it is and
//! calls again when the next grant is due ([`Arbiter::poll_timeout`]). What connections really sent is told afterwards
//! ([`Arbiter::correct`]), so that the limit holds for headers and for what was sent twice, too.
//!
//! Who is granted next is decided from the top:
//!
//! 1. The node has a rate; nothing is granted while it is used up.
//! 2. A class that has had less than its guaranteed minimum comes first. The others share by weight what is left, and
//!    take what a class does not use or may not have.
//! 3. Within a class peers take turns, and the streams of a peer do, by bytes: however many or long their requests are,
//!    each has the same share. A peer may have a rate of its own.
//!
//! Whatever that comes to, `governor` stands guard over the node's rate.
//!
//! Left to others: the clock, sockets, what rates there are and when they change.

mod arbiter;
mod bucket;
mod guard;
mod limits;
mod turns;

pub use arbiter::{Arbiter, Correction, Grant, PeerId, StreamId};
pub use limits::{ClassLimits, Classes, Limits, LimitsError};
