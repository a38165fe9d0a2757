//! The transport over the machine's own UDP, and what hostile peers can do to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bandwidth;
mod belief;
mod calls;
mod connecting;
mod gaps;
mod greeting;
mod hostile;
mod leaving;
mod mutual;
mod pair;
mod planes;
mod pooling;
mod pressure;
mod raw;
mod silence;
