//! `rdcq certs init`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use rdcq_certs::{Authority, KeyKind};
use rdcq_runtime::Host;
use rdcq_wire::HerdId;
use serde::Serialize;

use crate::certificate_files::CertificateFiles;
use crate::console::Console;
use crate::failure::Failure;
use crate::up_folder::new_herd_id;

/// Make a herd's CA.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq certs init --herd night"))]
pub(crate) struct Init {
    /// The folder to write ca.pem and ca.key into.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// The herd's name; left out, one is made up.
    #[arg(long, value_name = "NAME")]
    herd: Option<OsString>,
    /// Replace a CA that is there. Certificates under the old one are worth nothing then.
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let host = Host::system();
        let herd = match self.herd {
            None => new_herd_id(&host),
            Some(name) => herd_id(name)?,
        };
        let authority = Authority::generate(herd, KeyKind::P256, host.env.unix_ms())?;
        let files = CertificateFiles::new(self.out);
        files.write_authority(&authority, super::existing(self.force))?;
        let show = |path: PathBuf| path.display().to_string();
        console.result(
            Some(authority.herd().as_str()),
            &Made { ca: show(files.ca()), key: show(files.ca_key()) },
        )?;
        console.note("whoever has ca.key can be any node of the herd: keep it where no node runs");
        Ok(())
    }
}

fn herd_id(name: OsString) -> Result<HerdId, Failure> {
    let name = name.to_string_lossy().into_owned();
    name.parse().map_err(|error| Failure::usage(format!("{error}")))
}

#[derive(Serialize)]
struct Made {
    ca: String,
    key: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.ca, self.key)
    }
}
