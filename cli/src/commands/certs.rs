//! `rdcq certs`.

mod init;
mod issue;
mod revoke;
mod rotate;
mod rotate_ca;
mod show;

use std::time::Duration;

use clap::Subcommand;

use crate::certificate_files::Existing;
use crate::console::Console;
use crate::duration;
use crate::failure::Failure;

/// Make and replace a herd's CA and its nodes' certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Make a herd's CA.
    Init(init::Init),
    /// Make a node's certificate.
    Issue(issue::Issue),
    /// Replace a node's certificate and key by new ones.
    Rotate(rotate::Rotate),
    /// Replace the herd's CA, in two steps between which nodes trust both.
    RotateCa(rotate_ca::RotateCa),
    /// Take certificates back, or renew the lists that say which were.
    Revoke(revoke::Revoke),
    /// Show what certificates and lists say.
    Show(show::Show),
}

impl Certs {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(console),
            Self::Issue(issue) => issue.run(console),
            Self::Rotate(rotate) => rotate.run(console),
            Self::RotateCa(rotate) => rotate.run(console),
            Self::Revoke(revoke) => revoke.run(console),
            Self::Show(show) => show.run(console),
        }
    }
}

/// What `--force` says.
const fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}

/// How long revocation lists last, as it is written on the command line.
fn lasting(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a list that lasts for no time makes nodes refuse everybody".into()),
        lasting => Ok(lasting),
    }
}
