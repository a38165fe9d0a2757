//! A herd whose servers are on one host, with a file to be pulled.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use rdcq_certs::{Authority, KeyKind};
use rdcq_config::Congestion;
use rdcq_env::Env;
use rdcq_wire::{Class, Identity, Role};
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::namespaces::{Network, Running};
use crate::puller::Pulled;

/// Where the servers listen.
const PORTS: [(Role, u16); 4] =
    [(Role::Proxy, 7401), (Role::Origin, 7402), (Role::BuildIndex, 7403), (Role::Tracker, 7404)];
/// What is pushed.
const TAG: &str = "lab:1";
/// A tracker of the lab forgets agents soon: the next one is not to look for those that were ended before it.
const TRACKER: &str = "peer_ttl = \"1s\"\n";
/// When it has.
pub(crate) const FORGOTTEN: Duration = Duration::from_millis(2500);
/// How long a node may take to start, and a file to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Certificates and settings of a herd in a folder.
struct Herd {
    folder: PathBuf,
    authority: Authority,
    now_ms: u64,
    server: Ipv4Addr,
    congestion: Congestion,
}

/// Servers on the first host of a network, with a file to be pulled.
pub(crate) struct Source {
    herd: Herd,
    /// Where the servers run.
    host: usize,
    process: Running,
    /// The servers' settings but for their limits.
    settings: String,
    /// What was pushed.
    file: PathBuf,
    digest: String,
    manifest: String,
}

/// A node that pulls.
pub(crate) struct Puller {
    host: usize,
    config: String,
}

/// A node through which a file is pulled.
pub(crate) struct Agent {
    host: usize,
    process: Running,
    client: String,
    target: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

/// How long a pull took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetched {
    /// From the last request to the agent to the last verified byte.
    pub(crate) seconds: f64,
    /// From the command's start to its end.
    pub(crate) command_seconds: f64,
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
    fn new(folder: &Path, server: Ipv4Addr, congestion: Congestion) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let now_ms = Env::system().unix_ms();
        let authority = Authority::generate("lab".parse()?, KeyKind::P256, now_ms)?;
        fs::write(folder.join("ca.pem"), authority.cert_pem())?;
        Ok(Self { folder: folder.to_owned(), authority, now_ms, server, congestion })
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

    /// The section of settings for links of Ethernet.
    fn transport(&self) -> String {
        format!("[transport]\nmax_datagram = 1452\ncongestion = \"{}\"\n", self.congestion)
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
            let rest = if role == Role::Tracker { TRACKER } else { "" };
            format!("[{}]\nlisten = \"{}:{port}\"\n{rest}", role.name().replace('-', "_"), self.server)
        });
        let limits = format!("[limits]\nmax_connections_per_node = 4096\n{}", self.transport());
        let new = self.folder.join("servers.toml.new");
        fs::write(&new, format!("{settings}{}{limits}{bandwidth}", sections.concat()))?;
        Ok(fs::rename(new, self.servers_toml())?)
    }
}

impl Source {
    /// Starts the servers on the first host, and pushes `size` bytes.
    pub(crate) fn start(folder: &Path, network: &mut Network, size: u64) -> anyhow::Result<Self> {
        Self::start_on(0, folder, network, size, Congestion::default())
    }

    /// Starts servers with this congestion controller on a host, and pushes `size` bytes.
    pub(crate) fn start_on(
        host: usize,
        folder: &Path,
        network: &mut Network,
        size: u64,
        congestion: Congestion,
    ) -> anyhow::Result<Self> {
        let herd = Herd::new(folder, network.host(host).ip, congestion)?;
        let settings =
            herd.issue("servers", &[Role::Proxy, Role::Origin, Role::BuildIndex, Role::Tracker])?;
        herd.write_servers(&settings, "")?;
        let (rdcq, servers) = (rdcq()?, herd.servers_toml().display().to_string());
        let log = folder.join("servers.log");
        let process = network.start(host, &[&rdcq, "node", "--config", &servers], &log)?;
        until_ready(&log)?;
        let client = herd.issue("client", &[Role::Client, Role::Operator])?;
        let client_toml = folder.join("client.toml");
        fs::write(&client_toml, format!("{client}[client]\n"))?;
        let file = folder.join("source");
        write_random(&file, size)?;
        let (client, source) = (client_toml.display().to_string(), file.display().to_string());
        let run = |command: &[&str]| {
            network.host(host).run(&[&[&*rdcq, "--output", "json", "--herd", &client], command].concat())
        };
        run(&["push", "--tag", TAG, &source])?;
        let text = run(&["inspect", TAG])?;
        let record: serde_json::Value = serde_json::from_str(&text).context(text)?;
        let text = |key: &str| {
            record[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {record}"))
        };
        let (digest, manifest) = (text("digest")?, text("manifest")?);
        Ok(Self { herd, host, process, settings, file, digest, manifest })
    }

    /// Where the origin listens.
    pub(crate) fn origin(&self) -> SocketAddr {
        self.herd.origin()
    }

    /// Runs a command of an operator on the servers' host, and returns its JSON.
    pub(crate) async fn command(&self, network: &Network, words: &[&str]) -> anyhow::Result<String> {
        let (rdcq, client) = (rdcq()?, self.herd.folder.join("client.toml").display().to_string());
        let command = [&[&*rdcq, "--output", "json", "--herd", &client], words].concat();
        let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
        let host = network.host(self.host).clone();
        let run = move || host.run(&command.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await?
    }

    /// Has the servers read their settings at once.
    pub(crate) fn reload(&self, network: &Network) -> anyhow::Result<()> {
        network.signal(&self.process, Signal::HUP)
    }

    /// Saves other limits of the servers, which hold within a second.
    pub(crate) fn limit(&self, bandwidth: &str) -> anyhow::Result<()> {
        self.herd.write_servers(&self.settings, bandwidth)
    }
}

impl Agent {
    /// Starts a node that has nothing yet. Its name is the only one of its kind.
    pub(crate) fn start(
        name: &str,
        source: &Source,
        network: &mut Network,
        host: usize,
    ) -> anyhow::Result<Self> {
        let (herd, folder) = (&source.herd, &source.herd.folder);
        let listen = SocketAddr::from((network.host(host).ip, 7405));
        let path = |end: &str| folder.join(format!("{name}{end}"));
        let settings = herd.issue(name, &[Role::Agent])?;
        fs::write(path(".toml"), format!("{settings}[agent]\nlisten = \"{listen}\"\n{}", herd.transport()))?;
        let client = herd.issue(&format!("{name}-client"), &[Role::Client])?;
        fs::write(path("-client.toml"), format!("{client}[client]\nagent = \"{listen}\"\n"))?;
        let (rdcq, config, log) = (rdcq()?, path(".toml").display().to_string(), path(".log"));
        let process = network.start(host, &[&rdcq, "node", "--config", &config], &log)?;
        until_ready(&log)?;
        let client = path("-client.toml").display().to_string();
        Ok(Self { host, process, client, target: path(".out"), data: path(".data"), log })
    }

    /// Pulls the source's file through it, unless that takes longer than `patience`.
    pub(crate) fn pull(
        &self,
        network: &Network,
        patience: Duration,
    ) -> JoinHandle<anyhow::Result<Option<Fetched>>> {
        let host = network.host(self.host).clone();
        let (client, target) = (self.client.clone(), self.target.display().to_string());
        tokio::task::spawn_blocking(move || {
            let seconds = format!("{}s", patience.as_secs());
            let command = [
                &*rdcq()?,
                "--output",
                "json",
                "--herd",
                &client,
                "pull",
                TAG,
                "--dst-path",
                &target,
                "--timeout",
                &seconds,
            ];
            let began = Instant::now();
            let Some(said) = host.run_within(&command, patience)? else { return Ok(None) };
            let command_seconds = began.elapsed().as_secs_f64();
            let report: serde_json::Value = serde_json::from_str(&said).context(said)?;
            let ms = report["fetch_ms"].as_u64().with_context(|| format!("no fetch_ms in {report}"))?;
            Ok(Some(Fetched { seconds: ms as f64 / 1e3, command_seconds }))
        })
    }

    /// Whether it has delivered what was pushed.
    pub(crate) fn is_right(&self, source: &Source) -> anyhow::Result<bool> {
        Ok(self.target.exists() && fs::read(&self.target)? == fs::read(&source.file)?)
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Ends it and drops what it has.
    pub(crate) fn stop(self, network: &mut Network) -> anyhow::Result<()> {
        network.stop(&self.process)?;
        fs::remove_dir_all(&self.data)?;
        if self.target.exists() {
            fs::remove_file(&self.target)?;
        }
        Ok(())
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

/// Waits until a node serves.
fn until_ready(log: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    while !fs::read_to_string(log)?.contains("ready") {
        ensure!(began.elapsed() < PATIENCE, "the node does not start: {}", fs::read_to_string(log)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
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
