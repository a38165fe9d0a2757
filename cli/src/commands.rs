//! One file a command.

pub(crate) mod certs;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod history;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod node;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod reload;
pub(crate) mod remove;
mod shown;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod up;
