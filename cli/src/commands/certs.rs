//! `rdcq certs`.

mod init;
mod issue;

use clap::Subcommand;

use crate::certificate_files::Existing;
use crate::console::Console;
use crate::failure::Failure;

/// Make a herd's CA and its nodes' certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Certs {
    /// Make a herd's CA.
    Init(init::Init),
    /// Make a node's certificate.
    Issue(issue::Issue),
}

impl Certs {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(console),
            Self::Issue(issue) => issue.run(console),
        }
    }
}

/// What `--force` says.
const fn existing(force: bool) -> Existing {
    if force { Existing::Replace } else { Existing::Keep }
}
