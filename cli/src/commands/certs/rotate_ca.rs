//! `rdcq certs rotate-ca`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rdcq_certs::LIST_LIFETIME;
use rdcq_runtime::Host;
use serde::Serialize;

use crate::ca_folder::CaFolder;
use crate::certificate_files::CertificateFiles;
use crate::console::Console;
use crate::failure::Failure;

/// Replace the herd's CA, in two steps between which nodes trust both.
///
/// First without --finish: ca.pem then holds both CAs, and the new one signs. Copy ca.pem, and crl.pem where it is used,
/// to all nodes; only then give them new certificates with `rdcq certs rotate`. When all have theirs, run it with
/// --finish, and copy the files again: the old CA is not trusted any more.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq certs rotate-ca --finish"))]
pub(crate) struct RotateCa {
    /// The folder with ca.pem and ca.key.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    ca: PathBuf,
    /// Drop the old CA.
    #[arg(long)]
    finish: bool,
    /// Drop it also if nodes are cut off by that.
    #[arg(long, requires = "finish")]
    force: bool,
    /// How long the revocation lists last that are signed anew, in herds that use them.
    #[arg(long, value_name = "TIME", value_parser = super::lasting, default_value = "30d")]
    lasting: Duration,
}

/// What the default above says.
const _: () = assert!(LIST_LIFETIME.as_secs() == 30 * 24 * 3600);

impl RotateCa {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let now_unix_ms = Host::system().env.unix_ms();
        let ca = CaFolder::open(&self.ca)?;
        let ca = if self.finish {
            if !self.force {
                check_nobody_is_left_behind(&ca, now_unix_ms)?;
            }
            ca.finish_replacement(self.lasting, now_unix_ms)?
        } else {
            ca.begin_replacement(self.lasting, now_unix_ms)?
        };
        let file = CertificateFiles::new(&self.ca).ca().display().to_string();
        let trusted = if self.finish { "new" } else { "both" };
        console.result(Some(ca.authority().herd().as_str()), &Replaced { ca: file, trusted })?;
        console.note(if self.finish {
            "copy ca.pem, and crl.pem where it is used, to all nodes"
        } else {
            "copy ca.pem, and crl.pem where it is used, to all nodes; then `rdcq certs rotate` for each node; then \
             `rdcq certs rotate-ca --finish`"
        });
        Ok(())
    }
}

fn check_nobody_is_left_behind(ca: &CaFolder, now_unix_ms: u64) -> Result<(), Failure> {
    /// How many are named before the rest is only counted.
    const NAMED: usize = 10;
    if ca.knows_nothing_of_the_old()? {
        let what = "issued.tsv names no certificate of the old CA, so that nobody knows which nodes would be cut off";
        return Err(Failure::other(what).with_hint(
            "give all nodes new certificates with `rdcq certs rotate`; --force then drops the old CA",
        ));
    }
    let left = ca.left_behind(now_unix_ms)?;
    if left.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = left.iter().take(NAMED).map(ToString::to_string).collect();
    let what = format!("{} nodes have certificates of the old CA only: {}", left.len(), named.join(", "));
    Err(Failure::other(what)
        .with_hint("`rdcq certs rotate` gives them new ones; --force drops the old CA all the same"))
}

#[derive(Serialize)]
struct Replaced {
    ca: String,
    trusted: &'static str,
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.ca, self.trusted)
    }
}
