//! A herd of separate processes, as it runs in earnest: eight nodes and the commands of those who use them.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod all_together;
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod cluster;
mod command;
mod file;
mod killed_in_a_pull;
mod killed_in_a_push;
mod replayed;
mod watched;
