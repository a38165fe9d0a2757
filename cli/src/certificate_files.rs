//! A folder of certificates: `ca.pem`, `ca.key`, and `NAME.pem`, `NAME.key` for each node.

use std::path::{Path, PathBuf};

use rdcq_certs::{Authority, Issued};
use rdcq_config::IdentityFiles;
use rdcq_env::disk::create_dir_durable;
use rdcq_env::{Disk, Mode, SystemDisk};

use crate::failure::{Exit, Failure};
use replacement::Replacement;

mod replacement;

/// Largest PEM file read, in bytes: as long as a node reads of revocation lists.
const MAX_PEM_BYTES: u64 = 4 * 1024 * 1024;

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// They are left, and the command fails.
    Keep,
    /// They are replaced.
    Replace,
}

/// What a node is given beside its own certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trusted<'a> {
    pub(crate) ca_pem: &'a str,
    pub(crate) crl_pem: Option<&'a str>,
}

/// A folder of certificates.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    folder: PathBuf,
}

impl CertificateFiles {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    pub(crate) fn ca_key(&self) -> PathBuf {
        self.folder.join("ca.key")
    }

    /// The files of the node called `name` here.
    pub(crate) fn identity(&self, name: &str) -> IdentityFiles {
        IdentityFiles {
            ca: self.ca(),
            cert: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
            crl: None,
        }
    }

    /// Writes a CA. Its certificate comes last: once it is there, so is all of the CA.
    pub(crate) fn write_authority(&self, authority: &Authority, existing: Existing) -> Result<(), Failure> {
        self.prepare(&[self.ca(), self.ca_key()], existing)?;
        write(&self.ca_key(), authority.key_pem(), Mode::Private)?;
        write(&self.ca(), authority.cert_pem(), Mode::Shared)
    }

    pub(crate) fn read_authority(&self) -> Result<Authority, Failure> {
        let authority = Authority::from_pem(&read(&self.ca())?, &read(&self.ca_key())?);
        authority.map_err(|error| Failure::other(format!("{}: {error}", self.ca().display())))
    }

    /// Writes a node's certificate, which again comes last, and what it takes beside it, for the folder to be all that
    /// the node needs: the CAs' certificates, and their lists in herds that use them.
    pub(crate) fn write_issued(
        &self,
        name: &str,
        trusted: Trusted<'_>,
        issued: &Issued,
        existing: Existing,
    ) -> Result<IdentityFiles, Failure> {
        let files = self.identity(name);
        let same_ca = files.ca.exists() && read(&files.ca)? == trusted.ca_pem;
        let mut written = vec![files.cert.clone(), files.key.clone()];
        written.extend((!same_ca).then(|| files.ca.clone()));
        self.prepare(&written, existing)?;
        let crl = self.folder.join("crl.pem");
        let mut texts = Vec::new();
        texts.extend((!same_ca).then_some((&files.ca, trusted.ca_pem, Mode::Shared)));
        texts.extend(trusted.crl_pem.map(|crl_pem| (&crl, crl_pem, Mode::Shared)));
        texts.push((&files.key, &issued.key_pem, Mode::Private));
        texts.push((&files.cert, &issued.cert_pem, Mode::Shared));
        // Whatever can fail for one of them fails before the first is in its place.
        let staged: Result<Vec<_>, _> =
            texts.into_iter().map(|(path, text, mode)| Replacement::stage(path, text, mode)).collect();
        staged?.into_iter().try_for_each(Replacement::commit)?;
        Ok(files)
    }

    fn prepare(&self, files: &[PathBuf], existing: Existing) -> Result<(), Failure> {
        let failed = |error| Failure::of_file("create the folder", &self.folder, &error);
        create_dir_durable(&SystemDisk, &self.folder).map_err(failed)?;
        match files.iter().find(|file| file.exists()) {
            Some(file) if existing == Existing::Keep => {
                let what = format!("{} is there already and was left as it is", file.display());
                Err(Failure::new(Exit::Other, what)
                    .with_hint("--force replaces it; keys that it replaces are lost"))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file durably and in one step. One that it replaces keeps its owner and who may read it.
pub(crate) fn write(path: &Path, text: &str, mode: Mode) -> Result<(), Failure> {
    Replacement::stage(path, text, mode)?.commit()
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::of_file("read", path, &error);
    let bytes = SystemDisk.read(path, MAX_PEM_BYTES).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| failed(std::io::Error::other(error)))
}
