//! `rdcq certs revoke`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rdcq_certs::{CertificateKind, SERIAL_LEN, Serial, describe};
use rdcq_runtime::Host;
use rdcq_wire::NodeId;
use serde::Serialize;

use crate::ca_folder::{CaFolder, Entry};
use crate::certificate_files::read;
use crate::commands::inspect::utc;
use crate::console::Console;
use crate::failure::{Exit, Failure};

/// Take certificates back, or renew the lists that say which were.
///
/// crl.pem then names all certificates that were taken back. Copy it to all nodes, whose settings name it as crl in
/// [identity]: within seconds they refuse who is on it, and close connections. A list that has ended makes nodes refuse
/// everybody, so that it has to be renewed in time: run this without anything to take back.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq certs revoke certs/10.1.2.3.pem"))]
pub(crate) struct Revoke {
    /// What to take back: a certificate's file, its serial number, or a node's name, for all of its certificates.
    #[arg(value_name = "FILE|SERIAL|NODE")]
    certificates: Vec<String>,
    /// The folder with ca.pem and ca.key.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    ca: PathBuf,
    /// How long the lists last.
    #[arg(long, value_name = "TIME", value_parser = super::lasting, default_value = "30d")]
    lasting: Duration,
}

impl Revoke {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let now_unix_ms = Host::system().env.unix_ms();
        let ca = CaFolder::open(&self.ca)?;
        let mut serials = BTreeSet::new();
        // All are looked up before the first is taken back.
        for text in &self.certificates {
            serials.extend(find(&ca, text, now_unix_ms)?);
        }
        let (added, lists) = ca.revoke(&serials, self.lasting, now_unix_ms)?;
        let signed = Signed {
            crl: lists.path.display().to_string(),
            added: added.iter().map(ToString::to_string).collect(),
            revoked: lists.revoked,
            next_update: utc(lists.next_update_unix_s.saturating_mul(1000)),
        };
        console.result(Some(ca.authority().herd().as_str()), &signed)?;
        console.note("copy crl.pem to all nodes, whose settings name it as crl in [identity]");
        Ok(())
    }
}

/// The certificates that are meant.
fn find(ca: &CaFolder, text: &str, now_unix_ms: u64) -> Result<Vec<Serial>, Failure> {
    let file = Path::new(text);
    if file.is_file() {
        return of_file(ca, file);
    }
    if let Ok(node) = text.parse::<NodeId>() {
        let issued = ca.of_node(&node, now_unix_ms)?;
        if !issued.is_empty() {
            return Ok(issued.into_iter().map(|entry| entry.serial).collect());
        }
    }
    let issued = ca.issued()?;
    // A node's name may be made of hex digits, too: a number that is not known is one only at its full length.
    match text.parse() {
        Ok(serial) if text.len() == 2 * SERIAL_LEN || issued.contains_key(&serial) => Ok(vec![serial]),
        _ => Err(unknown(text, &issued)),
    }
}

fn unknown(text: &str, issued: &BTreeMap<Serial, Entry>) -> Failure {
    /// How many nodes are named before the rest is only counted.
    const NAMED: usize = 10;
    let nodes: BTreeSet<_> = issued.values().map(|entry| entry.identity.node.as_str()).collect();
    let named: Vec<_> = nodes.iter().take(NAMED).copied().collect();
    let more = nodes.len() - named.len();
    let known = match (named.is_empty(), more) {
        (true, _) => "no certificates".into(),
        (false, 0) => format!("certificates of {}", named.join(", ")),
        (false, more) => format!("certificates of {} and {more} more nodes", named.join(", ")),
    };
    let what = format!(
        "{text:?} is no certificate's file, no serial number that was issued, and no node that has certificates"
    );
    Failure::new(Exit::NotFound, what).with_hint(format!("issued.tsv in the CA's folder lists {known}"))
}

fn of_file(ca: &CaFolder, file: &Path) -> Result<Vec<Serial>, Failure> {
    let refused = |why: &str| Failure::other(format!("{}: {why}", file.display()));
    let certificates = describe(&read(file)?).map_err(|why| refused(&why))?;
    if certificates.is_empty() {
        return Err(refused("no certificate in it"));
    }
    let serial = |certificate: rdcq_certs::DescribedCertificate| match certificate.kind {
        CertificateKind::Node(identity) if identity.herd == *ca.authority().herd() => Ok(certificate.serial),
        CertificateKind::Ca(_) => {
            Err(refused("a CA's certificate").with_hint("`rdcq certs rotate-ca` replaces a CA"))
        }
        _ => Err(refused("not a certificate of this CA's herd")),
    };
    certificates.into_iter().map(serial).collect()
}

#[derive(Serialize)]
struct Signed {
    crl: String,
    added: Vec<String>,
    revoked: usize,
    next_update: String,
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { crl, added, revoked, next_update } = self;
        write!(f, "{crl}\t{} added\t{revoked} revoked\tuntil {next_update}", added.len())
    }
}
