//! A node's credentials, from its files to what the transport wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdcq_certs::{Credentials, CredentialsError as PemError};
use rdcq_config::IdentityFiles;
use rdcq_env::Env;
use rdcq_transport::Security;

/// Largest PEM file read, in bytes; a chain of many certificates is far below.
const MAX_PEM_BYTES: u64 = 256 * 1024;

/// Reads CA, certificate and key.
pub async fn load_credentials(env: &Env, files: &IdentityFiles) -> Result<Credentials, CredentialsError> {
    let ca = read(env, &files.ca).await?;
    let cert = read(env, &files.cert).await?;
    let key = read(env, &files.key).await?;
    Credentials::from_pem(&ca, &cert, &key, rdcq_certs::system_time())
        .map_err(|source| CredentialsError::Unusable { cert: files.cert.clone(), source })
}

/// What an endpoint needs to know of a node's credentials.
pub fn security(credentials: &Credentials) -> Security {
    Security {
        identity: credentials.identity().clone(),
        server: credentials.server_config(),
        client: credentials.client_config(),
        judge: Arc::new(|certs| rdcq_certs::identify(certs).map_err(|error| error.to_string())),
        reset_secret: [0; 32],
    }
}

async fn read(env: &Env, path: &Path) -> Result<String, CredentialsError> {
    let unreadable = |source| CredentialsError::Unreadable { path: path.to_owned(), source };
    let (disk, file) = (Arc::clone(env.disk()), path.to_owned());
    let bytes = env.blocking(move || disk.read(&file, MAX_PEM_BYTES)).await.map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))
}

/// Credentials that a node cannot start with.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; `rdcq certs issue` makes a node's files", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The files do not belong together or say nothing useful.
    #[error("the certificate {cert} cannot be used: {source}", cert = cert.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// Why.
        source: PemError,
    },
}
