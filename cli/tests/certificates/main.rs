//! Certificates, CAs and revocation lists that change while a herd of processes runs.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![expect(clippy::print_stdout, reason = "what was measured is shown with the tests' output")]

mod caller;
#[path = "../herd_processes/cluster.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod cluster;
#[path = "../herd_processes/command.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod command;
#[path = "../herd_processes/file.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod file;
mod garbage;
mod load;
mod operator;
mod refusals;
mod revocation;
mod rotation;
#[path = "../support/shown.rs"]
mod shown;
