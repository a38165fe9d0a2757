//! The folder of a herd that `rdcq up` keeps: its CA, its certificates, its content, and while it runs the settings by
//! which other commands find it.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcetera::BaseStrategy;
use rdcq_certs::{Authority, Credentials, KeyKind};
use rdcq_config::{ClientConfig, Config, Limits, Transport};
use rdcq_env::disk::write_durable;
use rdcq_env::{Mode, SystemDisk};
use rdcq_runtime::{Host, load_credentials};
use rdcq_wire::{HerdId, Identity, NodeId, Role, RoleSet};

use crate::agents_file::{self, AGENTS};
use crate::ca_folder;
use crate::certificate_files::{self, CertificateFiles, Existing, Trusted};
use crate::failure::{Exit, Failure};
use crate::herd::{Herd, LOOPBACK, Place, Seat};
use crate::settings::{self, CLIENT, OPERATOR};

/// Held as long as the herd runs; the kernel lets it go when the process ends, however it ends.
const LOCK: &str = "up.lock";
/// How long a lock is tried for: a command that looks whether the herd runs holds it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A certificate with less time than this to live is replaced when the herd starts.
const RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The callers' certificates, by the names of their files.
const CLIENT_STEM: &str = "client";
const OPERATOR_STEM: &str = "operator";

/// Where the herd of `rdcq up` is unless told otherwise.
pub(crate) fn default_root(strategy: &impl BaseStrategy) -> PathBuf {
    strategy.data_dir().join("rdcq").join("up")
}

/// Refuses settings that a herd left behind that was killed.
pub(crate) fn check_running(settings: &Path) -> Result<(), Failure> {
    let Ok(lock) = File::open(settings.with_file_name(LOCK)) else { return Ok(()) };
    match lock.try_lock_shared() {
        Ok(()) => Err(settings::no_herd(&format!("{} is left from one that was killed", settings.display()))),
        Err(_) => Ok(()),
    }
}

/// The folder of a herd, ours alone as long as this value lives.
pub(crate) struct UpFolder {
    root: PathBuf,
    certificates: CertificateFiles,
    authority: Authority,
    /// The name of this host in the herd.
    host_name: NodeId,
    _lock: File,
}

impl UpFolder {
    /// Takes the folder, and makes a CA in it the first time.
    pub(crate) async fn open(host: &Host, root: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::of_file("create the herd's folder", root, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let lock = lock(&root).await?;
        // With the lock held, what a killed herd left would pass for ours.
        withdraw(&root);
        let certificates = CertificateFiles::new(root.join("certs"));
        let authority = if certificates.ca().exists() {
            certificates.read_authority()?
        } else {
            let herd = new_herd_id(host);
            let authority = Authority::generate(herd, KeyKind::P256, host.env.unix_ms())?;
            // A key without its certificate is left from a start that was cut off; nothing was issued with it.
            certificates.write_authority(&authority, Existing::Replace)?;
            authority
        };
        let folder = Self { root, certificates, authority, host_name: host_name(), _lock: lock };
        // The name that tags begin with stays, also when the host's changes.
        let client = folder.usable(host, CLIENT_STEM).await;
        let host_name = client.map_or_else(host_name, |client| client.identity().node.clone());
        Ok(Self { host_name, ..folder })
    }

    /// The herd's name.
    pub(crate) fn herd(&self) -> &HerdId {
        self.authority.herd()
    }

    /// The settings by which commands find the herd.
    pub(crate) fn client_settings(&self) -> PathBuf {
        self.root.join(CLIENT)
    }

    /// What the node in a seat is given.
    pub(crate) async fn place(&self, host: &Host, seat: Seat) -> Result<Place, Failure> {
        let credentials =
            self.credentials(host, &seat.to_string(), self.node(seat), seat.role.into()).await?;
        let data_dir = self.root.join("nodes").join(seat.to_string());
        Ok(Place { host: host.clone(), listen: LOOPBACK, data_dir, credentials: Arc::new(credentials) })
    }

    /// Servers are named after their seats, agents after the host that they pull for.
    fn node(&self, seat: Seat) -> NodeId {
        match seat {
            Seat { role: Role::Agent, number: 1 } => self.host_name.clone(),
            Seat { role: Role::Agent, number } => {
                let tail = format!("-{number}");
                let room = NodeId::MAX_LEN - tail.len();
                let head: String = self.host_name.as_str().chars().take(room).collect();
                (head + &tail).parse().unwrap_or_else(|_| seat.node())
            }
            _ => seat.node(),
        }
    }

    /// Reads a certificate, or issues it if it is not there or nearly over.
    async fn credentials(
        &self,
        host: &Host,
        stem: &str,
        node: NodeId,
        roles: RoleSet,
    ) -> Result<Credentials, Failure> {
        if let Some(credentials) = self.usable(host, stem).await
            && credentials.identity().roles == roles
        {
            return Ok(credentials);
        }
        let identity = Identity { herd: self.herd().clone(), node, roles };
        let folder = self.root.join("certs");
        let issued = ca_folder::issue(&folder, &self.authority, &identity, host.env.unix_ms())?;
        let ca_pem = certificate_files::read(&self.certificates.ca())?;
        let trusted = Trusted { ca_pem: &ca_pem, crl_pem: None };
        let files = self.certificates.write_issued(stem, trusted, &issued, Existing::Replace)?;
        Ok(load_credentials(&host.env, &files).await?)
    }

    async fn usable(&self, host: &Host, stem: &str) -> Option<Credentials> {
        let credentials = load_credentials(&host.env, &self.certificates.identity(stem)).await.ok()?;
        let soon = Duration::from_millis(host.env.unix_ms()) + RENEWAL;
        let lasts = credentials.not_after_unix_s() > soon.as_secs();
        (lasts && credentials.identity().herd == *self.herd()).then_some(credentials)
    }

    /// Lets commands find the herd. The client's settings come last: once they are there, so is everything.
    pub(crate) async fn publish(&self, host: &Host, herd: &Herd) -> Result<(), Failure> {
        agents_file::write(&self.client_settings(), herd.agents())?;
        for (stem, role, file) in
            [(OPERATOR_STEM, Role::Operator, OPERATOR), (CLIENT_STEM, Role::Client, CLIENT)]
        {
            self.credentials(host, stem, self.host_name.clone(), role.into()).await?;
            let settings = self.settings(stem, herd).to_toml()?;
            let file = self.root.join(file);
            write_durable(&SystemDisk, &file, settings.as_bytes(), Mode::Private)
                .map_err(|error| Failure::of_file("write", &file, &error))?;
        }
        Ok(())
    }

    fn settings(&self, stem: &str, herd: &Herd) -> Config {
        Config {
            data_dir: self.root.clone(),
            identity: self.certificates.identity(stem),
            herd: herd.addresses().clone(),
            proxy: None,
            origin: None,
            build_index: None,
            tracker: None,
            agent: None,
            client: herd.agents().first().map(|agent| ClientConfig { agent: *agent }),
            admin: None,
            limits: Limits::default(),
            transport: Transport::default(),
            bandwidth: None,
        }
    }

    /// Lets nobody find the herd any more.
    pub(crate) fn withdraw(&self) {
        withdraw(&self.root);
    }
}

/// What is not there is as it should be.
fn withdraw(root: &Path) {
    for file in [CLIENT, OPERATOR, AGENTS] {
        let _ = std::fs::remove_file(root.join(file));
    }
}

async fn lock(root: &Path) -> Result<File, Failure> {
    let path = root.join(LOCK);
    let failed = |error| Failure::of_file("lock", &path, &error);
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(failed)?;
    let give_up = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() >= give_up => {
                let what = format!("a herd is up in {} already", root.display());
                return Err(Failure::new(Exit::Other, what).with_hint(
                    "use it as it is, stop it first, or give this one a folder of its own with --data",
                ));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
        }
    }
}

/// A name that no other herd is likely to have.
pub(crate) fn new_herd_id(host: &Host) -> HerdId {
    let number = host.env.random_u64() >> 32;
    format!("rdcq-{number:08x}").parse().expect("a word, a dash and hex digits name a herd")
}

/// This host's name, as a node's.
pub(crate) fn host_name() -> NodeId {
    let name = rustix::system::uname();
    node_name(&name.nodename().to_string_lossy())
}

/// What a node may be called that is as close as can be to `name`.
fn node_name(name: &str) -> NodeId {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().take(NodeId::MAX_LEN).map(|c| if legal(c) { c } else { '-' }).collect();
    name.parse().unwrap_or_else(|_| "localhost".parse().expect("letters name a node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_becomes_a_node_s_name() {
        assert_eq!(node_name("db-7.example.org").as_str(), "db-7.example.org");
        assert_eq!(node_name("交易 host").as_str(), "---host");
        assert_eq!(node_name("").as_str(), "localhost");
        assert_eq!(node_name("..").as_str(), "localhost");
        assert_eq!(node_name(&"x".repeat(200)).as_str().len(), NodeId::MAX_LEN);
    }

    #[tokio::test]
    async fn a_folder_is_one_herd_s_at_a_time_and_the_same_herd_s_ever_after() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::system();
        let first = UpFolder::open(&host, root.path()).await.unwrap();
        let herd = first.herd().clone();
        let second = UpFolder::open(&host, root.path()).await.err().unwrap();
        assert!(second.what.contains("already"), "{}", second.what);
        drop(first);
        assert_eq!(*UpFolder::open(&host, root.path()).await.unwrap().herd(), herd);
    }

    #[tokio::test]
    async fn certificates_are_issued_once_and_their_keys_are_private() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::system();
        let folder = UpFolder::open(&host, root.path()).await.unwrap();
        let seat = Seat::new(Role::Agent, 1);
        let first = folder.place(&host, seat).await.unwrap();
        let files = folder.certificates.identity("agent-1");
        let pem = std::fs::read(&files.cert).unwrap();
        let again = folder.place(&host, seat).await.unwrap();
        assert_eq!(std::fs::read(&files.cert).unwrap(), pem);
        assert_eq!(first.credentials.identity(), again.credentials.identity());
        assert_eq!(first.credentials.identity().node, host_name());
        crate::private_key::check(&files.key).unwrap();
        crate::private_key::check(&folder.certificates.ca_key()).unwrap();
    }

    #[tokio::test]
    async fn settings_whose_herd_was_killed_are_recognised() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::system();
        let folder = UpFolder::open(&host, root.path()).await.unwrap();
        let settings = folder.client_settings();
        check_running(&settings).unwrap();
        drop(folder);
        let failure = check_running(&settings).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.what.contains("no herd is running"));
    }

    #[tokio::test]
    async fn who_takes_a_folder_withdraws_what_a_killed_herd_left() {
        let root = tempfile::tempdir().unwrap();
        let left = [CLIENT, OPERATOR, AGENTS].map(|file| root.path().join(file));
        left.iter().for_each(|file| std::fs::write(file, "left").unwrap());
        let _folder = UpFolder::open(&Host::system(), root.path()).await.unwrap();
        assert!(!left.iter().any(|file| file.exists()));
    }

    #[test]
    fn settings_that_no_up_wrote_are_taken_as_they_are() {
        let root = tempfile::tempdir().unwrap();
        check_running(&root.path().join(CLIENT)).unwrap();
    }
}
