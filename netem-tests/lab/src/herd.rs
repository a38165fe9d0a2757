//! A herd whose servers are on one host, with a file to be pulled.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use rdcq_certs::{Authority, KeyKind};
use rdcq_env::Env;
use rdcq_wire::{Class, Identity, Role};
use tokio::task::JoinHandle;

use crate::namespaces::Network;
use crate::puller::Pulled;

/// Where the servers listen.
const PORTS: [(Role, u16); 4] =
    [(Role::Proxy, 7401), (Role::Origin, 7402), (Role::BuildIndex, 7403), (Role::Tracker, 7404)];
/// What is pushed.
const TAG: &str = "lab:1";
/// How long a node may take to start, and a file to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates and settings of a herd in a folder.
struct Herd {
    folder: PathBuf,
    authority: Authority,
    now_ms: u64,
    server: Ipv4Addr,
}

/// Servers on the first host of a network, with a file to be pulled.
pub(crate) struct Source {
    herd: Herd,
    /// The servers' settings but for their limits.
    settings: String,
    digest: String,
    manifest: String,
}

/// A node that pulls.
pub(crate) struct Puller {
    host: usize,
    config: String,
}

/// What a puller does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) class: Class,
    pub(crate) streams: u32,
    /// Pieces of each request: long ones keep a stream busy, and short ones leave the origin's memory to others.
    pub(crate) pieces: u32,
    /// When what comes begins to count.
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// Between which times it wants nothing.
    pub(crate) rest: Option<(Duration, Duration)>,
}

impl Herd {
    /// A herd whose servers are at `server`.
    fn new(folder: &Path, server: Ipv4Addr) -> anyhow::Result<Self> {
        let now_ms = Env::system().unix_ms();
        let authority = Authority::generate("lab".parse()?, KeyKind::P256, now_ms)?;
        fs::write(folder.join("ca.pem"), authority.cert_pem())?;
        Ok(Self { folder: folder.to_owned(), authority, now_ms, server })
    }

    /// Makes the certificate of a node, and returns the section of settings that names it.
    fn issue(&self, node: &str, roles: &[Role]) -> anyhow::Result<String> {
        let identity = Identity {
            herd: self.authority.herd().clone(),
            node: node.parse()?,
            roles: roles.iter().copied().collect(),
        };
        let issued = self.authority.issue(&identity, self.now_ms)?;
        let path = |end: &str| self.folder.join(format!("{node}.{end}"));
        fs::write(path("pem"), issued.cert_pem.as_bytes())?;
        let mut key = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path("key"))?;
        std::io::Write::write_all(&mut key, issued.key_pem.as_bytes())?;
        let herd = PORTS.map(|(role, port)| {
            let key = match role {
                Role::Proxy => "proxies",
                Role::Origin => "origins",
                Role::BuildIndex => "build_indexes",
                _ => "trackers",
            };
            format!("{key} = [\"{}:{port}\"]\n", self.server)
        });
        Ok(format!(
            "data_dir = {:?}\n[identity]\nca = {:?}\ncert = {:?}\nkey = {:?}\n[herd]\n{}",
            path("data"),
            self.folder.join("ca.pem"),
            path("pem"),
            path("key"),
            herd.concat()
        ))
    }

    fn origin(&self) -> SocketAddr {
        SocketAddr::from((self.server, 7402))
    }

    /// The settings file of the servers.
    fn servers_toml(&self) -> PathBuf {
        self.folder.join("servers.toml")
    }

    /// Writes the servers' settings with these limits, in place of what was there.
    fn write_servers(&self, settings: &str, bandwidth: &str) -> anyhow::Result<()> {
        let sections = PORTS.map(|(role, port)| {
            format!("[{}]\nlisten = \"{}:{port}\"\n", role.name().replace('-', "_"), self.server)
        });
        let limits = "[limits]\nmax_connections_per_node = 4096\n[transport]\nmax_datagram = 1452\n";
        let new = self.folder.join("servers.toml.new");
        fs::write(&new, format!("{settings}{}{limits}{bandwidth}", sections.concat()))?;
        Ok(fs::rename(new, self.servers_toml())?)
    }
}

impl Source {
    /// Starts the servers, and pushes `size` bytes.
    pub(crate) fn start(folder: &Path, network: &mut Network, size: u64) -> anyhow::Result<Self> {
        let herd = Herd::new(folder, network.host(0).ip)?;
        let settings =
            herd.issue("servers", &[Role::Proxy, Role::Origin, Role::BuildIndex, Role::Tracker])?;
        herd.write_servers(&settings, "")?;
        let (rdcq, servers) = (rdcq()?, herd.servers_toml().display().to_string());
        let log = folder.join("servers.log");
        network.start(0, &[&rdcq, "node", "--config", &servers], &log)?;
        let began = Instant::now();
        while !fs::read_to_string(&log)?.contains("ready") {
            ensure!(began.elapsed() < PATIENCE, "the servers do not start: {}", fs::read_to_string(&log)?);
            std::thread::sleep(Duration::from_millis(20));
        }
        let client = herd.issue("client", &[Role::Client, Role::Operator])?;
        let client_toml = folder.join("client.toml");
        fs::write(&client_toml, format!("{client}[client]\n"))?;
        let source = folder.join("source");
        write_random(&source, size)?;
        let (client, source) = (client_toml.display().to_string(), source.display().to_string());
        let host = network.host(0);
        let run = |command: &[&str]| {
            host.run(&[&[&*rdcq, "--output", "json", "--herd", &client], command].concat())
        };
        run(&["push", "--tag", TAG, &source])?;
        let text = run(&["inspect", TAG])?;
        let record: serde_json::Value = serde_json::from_str(&text).context(text)?;
        let text = |key: &str| {
            record[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {record}"))
        };
        let (digest, manifest) = (text("digest")?, text("manifest")?);
        Ok(Self { herd, settings, digest, manifest })
    }

    /// Saves other limits of the servers, which hold within a second.
    pub(crate) fn limit(&self, bandwidth: &str) -> anyhow::Result<()> {
        self.herd.write_servers(&self.settings, bandwidth)
    }
}

impl Puller {
    /// A node on a host.
    pub(crate) fn new(source: &Source, host: usize) -> anyhow::Result<Self> {
        let name = format!("agent-{host}");
        let path = source.herd.folder.join(format!("{name}.toml"));
        fs::write(&path, source.herd.issue(&name, &[Role::Agent])?)?;
        Ok(Self { host, config: path.display().to_string() })
    }

    /// Begins to pull.
    pub(crate) fn pull(
        &self,
        network: &Network,
        source: &Source,
        ask: Ask,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<Pulled>>> {
        let Ask { class, streams, pieces, from, until, rest } = ask;
        let ms = |time: Duration| time.as_millis().to_string();
        let lab = std::env::current_exe()?.display().to_string();
        let command = [
            &*lab,
            "puller",
            "--config",
            &self.config,
            "--origin",
            &source.herd.origin().to_string(),
            "--digest",
            &source.digest,
            "--manifest",
            &source.manifest,
            "--class",
            class.name(),
            "--pieces",
            &pieces.to_string(),
            "--streams",
            &streams.to_string(),
            "--from-ms",
            &ms(from),
            "--ms",
            &ms(until),
        ]
        .map(str::to_owned);
        let rest =
            rest.map_or_else(Vec::new, |(from, until)| vec!["--rest-ms".to_owned(), ms(from), ms(until)]);
        let command = [command.to_vec(), rest].concat();
        let host = network.host(self.host).clone();
        Ok(tokio::task::spawn_blocking(move || {
            let said = host.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
            serde_json::from_str(&said).context(said)
        }))
    }
}

/// The binary that was built beside this one.
pub(crate) fn rdcq() -> anyhow::Result<String> {
    let path = std::env::current_exe()?.with_file_name("rdcq");
    ensure!(path.exists(), "there is no {}; build it with this one, as the scripts do", path.display());
    Ok(path.display().to_string())
}

fn write_random(path: &Path, size: u64) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(size);
    let mut bytes = vec![0; usize::try_from(size)?];
    rng.fill_bytes(&mut bytes);
    Ok(fs::write(path, bytes)?)
}
