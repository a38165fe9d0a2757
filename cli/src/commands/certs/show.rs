//! `rdcq certs show`.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use rdcq_certs::{CertificateKind, DescribedCertificate, DescribedList, describe, describe_lists};
use rdcq_runtime::Host;
use serde::Serialize;

use crate::certificate_files::read;
use crate::commands::inspect::utc;
use crate::console::Console;
use crate::failure::{Exit, Failure};

const DAY_S: u64 = 24 * 3600;

/// Show what certificates and lists say, and whether the lists beside them name them. Nothing is verified.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq certs show certs"))]
pub(crate) struct Show {
    /// A file, or a folder, of which all *.pem files are shown.
    #[arg(value_name = "FILE|DIR", default_value = "certs")]
    path: PathBuf,
}

impl Show {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let now_unix_s = Host::system().env.unix_ms() / 1000;
        let files = files(&self.path)?;
        let mut shown = Shown { certificates: Vec::new(), lists: Vec::new() };
        let known = known_lists(&self.path, &files)?;
        for file in files {
            let name = file.display().to_string();
            let text = read(&file)?;
            let failed = |why| Failure::new(Exit::Other, format!("{name}: {why}"));
            let certificates = describe(&text).map_err(failed)?;
            let lists = describe_lists(&text).map_err(failed)?;
            let certificate = |certificate| Certificate::of(&name, certificate, &known, now_unix_s);
            shown.certificates.extend(certificates.into_iter().map(certificate));
            shown.lists.extend(lists.into_iter().map(|list| List::of(&name, list, now_unix_s)));
        }
        if shown.certificates.is_empty() && shown.lists.is_empty() {
            let what = format!("{} holds no certificate and no revocation list", self.path.display());
            return Err(Failure::new(Exit::NotFound, what));
        }
        console.result(None, &shown)
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::of_file("read", path, &error);
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension() == Some("pem".as_ref()) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The lists that certificates are looked up in: those that are shown, or that in the folder of the file.
fn known_lists(path: &Path, files: &[PathBuf]) -> Result<Vec<DescribedList>, Failure> {
    let beside = rdcq_env::disk::parent(path).join("crl.pem");
    let beside = (!path.is_dir() && path != beside && beside.exists()).then_some(beside);
    let mut known = Vec::new();
    for file in files.iter().chain(&beside) {
        let failed = |why| Failure::other(format!("{}: {why}", file.display()));
        known.extend(describe_lists(&read(file)?).map_err(failed)?);
    }
    Ok(known)
}

#[derive(Serialize)]
struct Shown {
    certificates: Vec<Certificate>,
    lists: Vec<List>,
}

#[derive(Serialize)]
struct Certificate {
    file: String,
    kind: &'static str,
    identity: String,
    serial: String,
    not_before: String,
    not_after: String,
    days_left: u64,
    issuer: String,
    /// What the issuer's key is called, which tells CAs of one herd apart.
    issuer_key: Option<String>,
    /// Not known if the issuer has no list here.
    revoked: Option<bool>,
}

impl Certificate {
    fn of(file: &str, certificate: DescribedCertificate, known: &[DescribedList], now_unix_s: u64) -> Self {
        let (kind, identity) = match &certificate.kind {
            CertificateKind::Ca(herd) => ("ca", format!("spiffe://{herd}")),
            CertificateKind::Node(identity) => ("node", identity.to_spiffe()),
            CertificateKind::Other(uri) => ("other", uri.clone()),
        };
        let issuer_key = certificate.issuer_key_id.or_else(|| certificate.key_id.clone());
        let of_issuer = || known.iter().filter(|list| list.issuer_key_id == issuer_key);
        let revoked = of_issuer().any(|list| list.revoked.contains(&certificate.serial));
        let revoked = (kind == "node" && of_issuer().next().is_some()).then_some(revoked);
        Self {
            file: file.to_owned(),
            kind,
            identity,
            serial: certificate.serial.to_string(),
            not_before: utc(certificate.not_before_unix_s.saturating_mul(1000)),
            not_after: utc(certificate.not_after_unix_s.saturating_mul(1000)),
            days_left: certificate.not_after_unix_s.saturating_sub(now_unix_s) / DAY_S,
            issuer: certificate.issuer,
            issuer_key,
            revoked,
        }
    }
}

#[derive(Serialize)]
struct List {
    file: String,
    number: Option<u64>,
    this_update: String,
    next_update: String,
    days_left: u64,
    issuer_key: Option<String>,
    revoked: Vec<String>,
}

impl List {
    fn of(file: &str, list: DescribedList, now_unix_s: u64) -> Self {
        Self {
            file: file.to_owned(),
            number: list.number,
            this_update: utc(list.this_update_unix_s.saturating_mul(1000)),
            next_update: utc(list.next_update_unix_s.saturating_mul(1000)),
            days_left: list.next_update_unix_s.saturating_sub(now_unix_s) / DAY_S,
            issuer_key: list.issuer_key_id,
            revoked: list.revoked.iter().map(ToString::to_string).collect(),
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for shown in &self.certificates {
            let revoked = match shown.revoked {
                Some(true) => "revoked",
                Some(false) => "not revoked",
                None => "-",
            };
            let Certificate { file, kind, identity, serial, not_before, not_after, days_left, .. } = shown;
            let issuer = shown.issuer_key.as_deref().unwrap_or(&shown.issuer);
            lines.push(format!(
                "{file}\t{kind}\t{identity}\t{serial}\t{not_before}\t{not_after}\t{days_left} days left\t{issuer}\t{revoked}"
            ));
        }
        for List { file, this_update, next_update, days_left, issuer_key, revoked, .. } in &self.lists {
            let (issuer, count) = (issuer_key.as_deref().unwrap_or("-"), revoked.len());
            lines.push(format!(
                "{file}\tlist\t{count} revoked\t-\t{this_update}\t{next_update}\t{days_left} days left\t{issuer}\t-"
            ));
        }
        f.write_str(&lines.join("\n"))
    }
}
