//! What a push and a pull do on the caller's side.
//!
//! A [`Session`] speaks for one identity to one herd. [`push`] cuts a file, offers it and sends what is wanted;
//! [`pull`] has the host's agent bring a tag's content and delivers it, with the caller's own rights; [`ask`] holds the
//! questions and orders that a build-index answers; [`status`] asks any node how it is doing, [`meter`] what it moves, and
//! [`reload`] has it read its settings anew.

mod any_node;
pub mod ask;
mod error;
pub mod meter;
pub mod pull;
pub mod push;
pub mod reload;
mod retry;
mod session;
pub mod status;

pub use error::OperationError;
pub use session::Session;
