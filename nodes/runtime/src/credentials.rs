//! A node's credentials, from its files to what the transport wants.

mod live;
mod reminder;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdcq_certs::{CredentialFiles, Credentials, CredentialsError as PemError, Part, TimeSource};
use rdcq_config::IdentityFiles;
use rdcq_env::{Disk, Env};
use rdcq_transport::Security;
use rdcq_wire::Digest;

pub use live::{CredentialsWatch, LiveCredentials, watch_credentials};

/// Largest file of certificates or keys read, in bytes; a few CAs are far below.
const MAX_PEM_BYTES: u64 = 256 * 1024;

/// Largest file of revocation lists read, in bytes: some 80,000 certificates that were taken back.
const MAX_LISTS_BYTES: u64 = 4 * 1024 * 1024;

/// How long after files that do not belong together the rest of a change may come, and how often that is waited for.
const REST: Duration = Duration::from_millis(250);
const WAITS: u32 = 4;

/// Reads CAs, certificate, key and revocation lists.
pub async fn load_credentials(env: &Env, files: &IdentityFiles) -> Result<Credentials, CredentialsError> {
    Ok(load_texts(env, files).await?.credentials)
}

/// Reads the files, and what is in them. Files are replaced one after the other: those that cannot be used are read
/// again, and if they are others by then, they are judged again.
async fn load_texts(env: &Env, files: &IdentityFiles) -> Result<Loaded, CredentialsError> {
    let ((mut seen, mut texts), mut waits) = (Texts::read(env, files).await?, 0);
    loop {
        let (own_files, time) = (files.clone(), clock(env));
        let load = move || {
            let loaded = texts.load(&own_files, time);
            (texts, loaded)
        };
        let error = match env.blocking(load).await {
            (texts, Ok(credentials)) => return Ok(Loaded { seen, texts, credentials }),
            (_, Err(error)) if waits == WAITS => return Err(error),
            (_, Err(error)) => error,
        };
        waits += 1;
        tokio::time::sleep(REST).await;
        let judged = seen;
        (seen, texts) = Texts::read(env, files).await?;
        if seen == judged {
            return Err(error);
        }
    }
}

/// Credentials, and what they were read from.
struct Loaded {
    /// The digest of the files.
    seen: Digest,
    texts: Texts,
    credentials: Credentials,
}

/// What an endpoint needs to know of a node's credentials.
pub fn security(credentials: &Credentials) -> Security {
    let judging = credentials.clone();
    Security {
        identity: credentials.identity().clone(),
        server: credentials.server_config(),
        client: credentials.client_config(),
        judge: Arc::new(move |certs| judging.judge(certs).map_err(|error| error.to_string())),
        explain: rdcq_certs::refusal_of_text,
        reset_secret: credentials.secret("stateless reset"),
    }
}

/// The environment's clock, for certificates to be judged by.
fn clock(env: &Env) -> TimeSource {
    let env = env.clone();
    rdcq_certs::time_from(move || env.unix_ms())
}

/// What is in the files, as far as each of them can be read.
struct Seen {
    ca: Result<String, CredentialsError>,
    cert: Result<String, CredentialsError>,
    key: Result<String, CredentialsError>,
    crl: Option<Result<String, CredentialsError>>,
}

impl Seen {
    /// Blocks.
    fn read(disk: &dyn Disk, files: &IdentityFiles) -> Self {
        Self {
            ca: read(disk, &files.ca, MAX_PEM_BYTES),
            cert: read(disk, &files.cert, MAX_PEM_BYTES),
            key: read(disk, &files.key, MAX_PEM_BYTES),
            crl: files.crl.as_ref().map(|crl| read(disk, crl, MAX_LISTS_BYTES)),
        }
    }

    /// What tells these files from others.
    fn digest(&self) -> Digest {
        let texts = [Some(&self.ca), Some(&self.cert), Some(&self.key), self.crl.as_ref()];
        let digests = texts.map(|text| match text {
            None => [0; Digest::LEN],
            Some(Ok(text)) => *Digest::of(text.as_bytes()).as_bytes(),
            Some(Err(error)) => *Digest::of(format!("\0{error}").as_bytes()).as_bytes(),
        });
        Digest::of(&digests.concat())
    }

    /// All texts, or why there is one too few.
    fn texts(self) -> Result<Texts, CredentialsError> {
        Ok(Texts { ca: self.ca?, cert: self.cert?, key: self.key?, crl: self.crl.transpose()? })
    }
}

/// Texts that may be credentials.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    ca: String,
    cert: String,
    key: String,
    crl: Option<String>,
}

impl Texts {
    async fn read(env: &Env, files: &IdentityFiles) -> Result<(Digest, Self), CredentialsError> {
        let (disk, files) = (env.disk().clone(), files.clone());
        let read = move || {
            let seen = Seen::read(&*disk, &files);
            Ok((seen.digest(), seen.texts()?))
        };
        env.blocking(read).await
    }

    fn pem(&self) -> CredentialFiles<'_> {
        CredentialFiles {
            ca_pem: &self.ca,
            cert_pem: &self.cert,
            key_pem: &self.key,
            crl_pem: self.crl.as_deref(),
        }
    }

    fn load(&self, files: &IdentityFiles, time: TimeSource) -> Result<Credentials, CredentialsError> {
        Credentials::load(self.pem(), time).map_err(|source| unusable(files, source))
    }

    fn renew(&self, files: &IdentityFiles, old: &Credentials) -> Result<Credentials, CredentialsError> {
        old.renew(self.pem()).map_err(|source| unusable(files, source))
    }
}

fn unusable(files: &IdentityFiles, source: PemError) -> CredentialsError {
    let part = match &source {
        PemError::Unreadable { part, .. } => *part,
        PemError::OtherCa { .. } => Part::Ca,
        PemError::Key(_) | PemError::OtherKey(_) => Part::Key,
        PemError::ListExpired { .. } | PemError::OlderList { .. } => Part::Lists,
        _ => Part::Certificate,
    };
    let path = match part {
        Part::Ca => &files.ca,
        Part::Certificate => &files.cert,
        Part::Key => &files.key,
        // Without the setting there are no lists to be wrong.
        Part::Lists => files.crl.as_ref().unwrap_or(&files.cert),
    };
    CredentialsError::Unusable { path: path.clone(), source }
}

fn read(disk: &dyn Disk, path: &Path, max: u64) -> Result<String, CredentialsError> {
    let unreadable = |source| CredentialsError::Unreadable { path: path.to_owned(), source };
    let bytes = disk.read(path, max).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))
}

/// What to do about a file that is not there, or that is not for this user.
fn hint(path: &Path, error: &std::io::Error) -> &'static str {
    let list = path.file_name().is_some_and(|name| name.to_string_lossy().contains("crl"));
    match error.kind() {
        ErrorKind::NotFound if list => "; `rdcq certs revoke` makes the list, also one of nobody",
        ErrorKind::NotFound => "; `rdcq certs issue` makes a node's files",
        ErrorKind::PermissionDenied => "; it must be readable for the user as which rdcq runs",
        _ => "",
    }
}

/// Credentials that a node cannot start with.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}{hint}", path = path.display(), hint = hint(path, source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files do not belong together or say nothing useful.
    #[error("{path} cannot be used: {source}", path = path.display())]
    Unusable {
        /// The file that is at fault.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
}
