//! `rdcq certs issue`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use rdcq_runtime::Host;
use rdcq_wire::{Identity, NodeId, Role};
use serde::Serialize;

use crate::ca_folder::CaFolder;
use crate::certificate_files::{CertificateFiles, Trusted};
use crate::console::Console;
use crate::failure::Failure;

/// Make a node's certificate.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq certs issue --node 10.1.2.3 --role agent"))]
pub(crate) struct Issue {
    /// The folder with ca.pem and ca.key.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    ca: PathBuf,
    /// The node's name, usually its host's.
    #[arg(long, value_name = "NAME")]
    node: NodeId,
    /// What the node may be and ask: proxy, origin, build-index, tracker, agent, controller, client, operator.
    #[arg(long, value_name = "ROLE", required = true, value_delimiter = ',')]
    role: Vec<Role>,
    /// The folder to write ca.pem, NAME.pem and NAME.key into.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// What files of the CA are called.
const TAKEN: [&str; 3] = ["ca", "old-ca", "crl"];

impl Issue {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        if TAKEN.contains(&self.node.as_str()) {
            let what = format!("a node called {} would take a name of the CA's own files", self.node);
            return Err(Failure::usage(what));
        }
        let ca = CaFolder::open(&self.ca)?;
        let herd = ca.authority().herd().clone();
        let identity = Identity { herd, node: self.node, roles: self.role.into_iter().collect() };
        let files = CertificateFiles::new(&self.out);
        let existing = super::existing(self.force);
        let issued = ca.issue(&identity, Host::system().env.unix_ms())?;
        let (bundle, lists) = (ca.bundle(), ca.lists_for(&self.out)?);
        let trusted = Trusted { ca_pem: &bundle, crl_pem: lists.as_deref() };
        let files = files.write_issued(identity.node.as_str(), trusted, &issued, existing)?;
        let made = Made {
            identity: identity.to_spiffe(),
            cert: files.cert.display().to_string(),
            key: files.key.display().to_string(),
        };
        console.result(Some(identity.herd.as_str()), &made)
    }
}

#[derive(Serialize)]
struct Made {
    identity: String,
    cert: String,
    key: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.identity, self.cert, self.key)
    }
}
