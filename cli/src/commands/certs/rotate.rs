//! `rdcq certs rotate`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use rdcq_certs::{AuthorityError, CertificateKind, Serial, describe};
use rdcq_runtime::Host;
use rdcq_wire::Identity;
use serde::Serialize;

use crate::ca_folder::CaFolder;
use crate::certificate_files::{CertificateFiles, Existing, Trusted, read};
use crate::console::Console;
use crate::failure::Failure;

/// Replace a node's certificate and key by new ones, for the same identity and under the same names. A node that runs
/// takes them at once; the old certificate holds until it ends.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq certs rotate certs/10.1.2.3.pem"))]
pub(crate) struct Rotate {
    /// The certificates: NAME.pem, beside which NAME.key and ca.pem are written, too.
    #[arg(required = true, value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// The folder with ca.pem and ca.key.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    ca: PathBuf,
}

impl Rotate {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let ca = CaFolder::open(&self.ca)?;
        let revoked = ca.revoked()?;
        // All are looked at before the first is replaced: who runs it once more would replace some twice.
        let all: Result<Vec<_>, _> =
            self.certificates.iter().map(|file| Ok((file, Old::check(file, &ca, &revoked)?))).collect();
        let all = all.map_err(|failure: Failure| failure.noting("nothing was replaced"))?;
        for (file, old) in all {
            let made = replace(&ca, file, &old)?;
            console.result(Some(ca.authority().herd().as_str()), &made)?;
        }
        Ok(())
    }
}

/// What is replaced.
struct Old {
    identity: Identity,
    serial: Serial,
}

impl Old {
    /// Reads a certificate that this CA may replace.
    fn check(file: &Path, ca: &CaFolder, revoked: &BTreeSet<Serial>) -> Result<Self, Failure> {
        let old = Self::read(file)?;
        if revoked.contains(&old.serial) {
            let what = format!("the certificate {} was revoked", file.display());
            let hint = "if the node is to come back, `rdcq certs issue --force` makes it a new one";
            return Err(Failure::other(what).with_hint(hint));
        }
        let herd = ca.authority().herd();
        if old.identity.herd != *herd {
            let identity = Box::new(old.identity);
            return Err(AuthorityError::OtherHerd { identity, herd: herd.clone() }.into());
        }
        let beside = CertificateFiles::new(rdcq_env::disk::parent(file)).ca();
        if beside.exists() && !in_common(&read(&beside)?, &ca.bundle()) {
            let what = format!("{} is of another CA than {}", beside.display(), ca.path().display());
            let hint = "--ca names the folder of the CA that issued the certificate; \
                        under another one `rdcq certs issue --force` makes a new node";
            return Err(Failure::other(what).with_hint(hint));
        }
        Ok(old)
    }

    fn read(file: &Path) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::other(format!("{}: {why}", file.display()));
        let certificates = describe(&read(file)?).map_err(|why| refused(&why))?;
        match <[_; 1]>::try_from(certificates) {
            Ok([one]) => match one.kind {
                CertificateKind::Node(identity) => Ok(Self { identity, serial: one.serial }),
                CertificateKind::Ca(_) => {
                    Err(refused("a CA's certificate").with_hint("`rdcq certs rotate-ca` replaces a CA"))
                }
                CertificateKind::Other(_) => Err(refused("not a certificate of a herd's node")),
            },
            Err(certificates) => Err(refused(&format!("{} certificates, wanted one", certificates.len()))),
        }
    }
}

/// Whether two files of CA certificates have one in common, as they do while a CA is being replaced.
fn in_common(one: &str, other: &str) -> bool {
    let serials = |pem: &str| -> BTreeSet<Serial> {
        describe(pem).unwrap_or_default().into_iter().map(|described| described.serial).collect()
    };
    !serials(one).is_disjoint(&serials(other))
}

fn replace(ca: &CaFolder, file: &Path, old: &Old) -> Result<Made, Failure> {
    let stem =
        file.file_stem().and_then(|stem| stem.to_str()).filter(|_| file.extension() == Some("pem".as_ref()));
    let Some(stem) = stem else {
        let what = format!("{} is not called NAME.pem, so that its key has no name", file.display());
        return Err(Failure::usage(what));
    };
    let issued = ca.issue(&old.identity, Host::system().env.unix_ms())?;
    let own_folder = rdcq_env::disk::parent(file);
    let (bundle, lists) = (ca.bundle(), ca.lists_for(own_folder)?);
    let trusted = Trusted { ca_pem: &bundle, crl_pem: lists.as_deref() };
    let folder = CertificateFiles::new(own_folder);
    let files = folder.write_issued(stem, trusted, &issued, Existing::Replace)?;
    Ok(Made {
        identity: old.identity.to_spiffe(),
        cert: files.cert.display().to_string(),
        key: files.key.display().to_string(),
        serial: issued.serial.to_string(),
        replaces: old.serial.to_string(),
    })
}

#[derive(Serialize)]
struct Made {
    identity: String,
    cert: String,
    key: String,
    serial: String,
    replaces: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, cert, key, serial, replaces } = self;
        write!(f, "{identity}\t{cert}\t{key}\t{serial}\t{replaces}")
    }
}
