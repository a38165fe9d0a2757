//! The built binary, as its callers see it: exit codes, streams, files.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod admin;
mod certs;
mod certs_rotation;
mod command_line;
mod delivery;
mod demo;
mod names;
mod node;
mod reload;
mod status;
mod top;
mod up;
mod user;
