//! One file a command.

/// What stands below a command's help: a line that could be given.
macro_rules! example {
    ($line:literal) => {
        concat!("Example:\n  ", $line)
    };
}

pub(crate) mod certs;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod reload;
pub(crate) mod remove;
mod shown;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod up;
