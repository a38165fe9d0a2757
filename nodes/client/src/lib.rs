//! What a push and a pull do on the caller's side.
//!
//! A [`Session`] speaks for one identity to one herd. [`push`] cuts a file, offers it and sends what is wanted;
//! [`pull`] has the host's agent bring a tag's content and delivers it, with the caller's own rights; [`ask`] holds the
//! questions and orders that a build-index answers; [`flag`] knows the files that say that others are whole; [`status`] asks any node how it is doing, [`meter`] what it moves, and
//! [`reload`] has it read its settings anew.

mod any_node;
pub mod ask;
mod error;
mod file_name;
pub mod flag;
pub mod meter;
pub mod pull;
pub mod push;
pub mod reload;
mod retry;
mod session;
pub mod status;

pub use error::OperationError;
pub use file_name::{FileName, FileNameError};
pub use session::Session;
