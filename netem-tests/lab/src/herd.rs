//! A herd whose servers are on one host, with a file to be pulled.

mod liar;

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
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::counters::now;
use crate::namespaces::{Host, Network, Running};
use crate::puller::Pulled;

pub(crate) use self::liar::Liar;

/// Where the servers listen.
const PORTS: [(Role, u16); 4] =
    [(Role::Proxy, 7401), (Role::Origin, 7402), (Role::BuildIndex, 7403), (Role::Tracker, 7404)];
/// Where agents listen, each on its host.
const AGENT_PORT: u16 = 7405;
/// Bytes of the largest datagram on Ethernet, below a header of IPv6.
const ETHERNET: u16 = 1452;
/// Settings of nodes that one other node may call very often at once.
const MANY_CONNECTIONS: &str = "[limits]\nmax_connections_per_node = 4096\n";
/// Settings of a tracker that forgets agents soon: the next one is not to look for those that were ended before it.
const FORGETFUL: &str = "peer_ttl = \"1s\"\n";
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
    plan: Plan,
}

/// What servers are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) congestion: Congestion,
    /// Bytes of the largest datagram that nodes try.
    pub(crate) datagram: u16,
    pub(crate) tracker: Tracker,
}

impl Default for Plan {
    fn default() -> Self {
        Self { congestion: Congestion::default(), datagram: ETHERNET, tracker: Tracker::default() }
    }
}

/// What the tracker is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tracker {
    /// It forgets agents soon, for agents that are started one after the other.
    #[default]
    Forgetful,
    /// It is as a herd has it that changes no settings.
    Usual,
    /// The same, in a process of its own.
    Apart,
}

/// Servers on the first host of a network, with a file to be pulled.
pub(crate) struct Source {
    herd: Herd,
    /// Where the servers run.
    host: usize,
    process: Running,
    /// The tracker, if it is a process of its own.
    tracker: Option<Running>,
    /// The servers' settings but for their limits.
    settings: String,
    /// What was pushed; the first is what all commands are about that know one file.
    pushed: Vec<Pushed>,
}

/// A file that the servers offer.
struct Pushed {
    tag: String,
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
    name: String,
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

/// A pull that has ended well.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// When its command ended, by the machine's monotonic clock.
    pub(crate) at: Duration,
    pub(crate) report: PullReport,
}

/// What the command said.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PullReport {
    /// From the request to the agent to the last verified byte.
    pub(crate) fetch_ms: u64,
    pub(crate) bytes_from: BytesFrom,
}

/// Where the bytes came from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BytesFrom {
    pub(crate) origins: u64,
    pub(crate) duplicate: u64,
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
    fn new(folder: &Path, server: Ipv4Addr, plan: Plan) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let now_ms = Env::system().unix_ms();
        let authority = Authority::generate("lab".parse()?, KeyKind::P256, now_ms)?;
        fs::write(folder.join("ca.pem"), authority.cert_pem())?;
        Ok(Self { folder: folder.to_owned(), authority, now_ms, server, plan })
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

    /// The section of settings for links.
    fn transport(&self) -> String {
        let Plan { congestion, datagram, .. } = self.plan;
        format!("[transport]\nmax_datagram = {datagram}\ncongestion = \"{congestion}\"\n")
    }

    fn origin(&self) -> SocketAddr {
        SocketAddr::from((self.server, 7402))
    }

    /// The settings file of the servers.
    fn servers_toml(&self) -> PathBuf {
        self.folder.join("servers.toml")
    }

    /// The section of settings of a server.
    fn section(&self, role: Role, port: u16) -> String {
        let forgetful = role == Role::Tracker && self.plan.tracker == Tracker::Forgetful;
        let rest = if forgetful { FORGETFUL } else { "" };
        format!("[{}]\nlisten = \"{}:{port}\"\n{rest}", role.name().replace('-', "_"), self.server)
    }

    /// Starts the tracker as a process of its own.
    fn start_tracker(&self, host: usize, network: &mut Network) -> anyhow::Result<Running> {
        let [.., (role, port)] = PORTS;
        let (config, log) = (self.folder.join("tracker.toml"), self.folder.join("tracker.log"));
        let settings = self.issue("tracker", &[role])?;
        fs::write(&config, format!("{settings}{}{}", self.section(role, port), self.transport()))?;
        let config = config.display().to_string();
        let process = network.start(host, &[&rdcq()?, "node", "--config", &config], &log)?;
        until_ready(&log)?;
        Ok(process)
    }

    /// The settings file of an operator.
    fn client_toml(&self) -> PathBuf {
        self.folder.join("client.toml")
    }

    /// Pushes `size` bytes that no other tag has.
    fn push(&self, host: &Host, number: usize, size: u64) -> anyhow::Result<Pushed> {
        let (tag, file) = (format!("lab-{number}:1"), self.folder.join(format!("source-{number}")));
        write_random(&file, size, number)?;
        let (rdcq, client, source) = (rdcq()?, self.client_toml(), file.display().to_string());
        let client = client.display().to_string();
        let run = |command: &[&str]| {
            host.run(&[&[&*rdcq, "--output", "json", "--herd", &client], command].concat())
        };
        run(&["push", "--tag", &tag, &source])?;
        let text = run(&["inspect", &tag])?;
        let record: serde_json::Value = serde_json::from_str(&text).context(text)?;
        let text = |key: &str| {
            record[key].as_str().map(str::to_owned).with_context(|| format!("no {key} in {record}"))
        };
        let (digest, manifest) = (text("digest")?, text("manifest")?);
        Ok(Pushed { tag, file, digest, manifest })
    }

    /// Writes the servers' settings with these limits, in place of what was there.
    fn write_servers(&self, settings: &str, bandwidth: &str) -> anyhow::Result<()> {
        let apart = |role| role == Role::Tracker && self.plan.tracker == Tracker::Apart;
        let here = PORTS.into_iter().filter(|(role, _)| !apart(*role));
        let sections: Vec<_> = here.map(|(role, port)| self.section(role, port)).collect();
        let limits = format!("{MANY_CONNECTIONS}{}", self.transport());
        let new = self.folder.join("servers.toml.new");
        fs::write(&new, format!("{settings}{}{limits}{bandwidth}", sections.concat()))?;
        Ok(fs::rename(new, self.servers_toml())?)
    }
}

/// Certificates of nodes that are none of rdcq's.
pub(crate) struct Certificates(Herd);

impl Certificates {
    /// A herd that is nothing but its authority.
    pub(crate) fn new(folder: &Path, server: Ipv4Addr) -> anyhow::Result<Self> {
        Ok(Self(Herd::new(folder, server, Plan::default())?))
    }

    /// Writes a certificate, and settings that name it.
    pub(crate) fn write(&self, node: &str) -> anyhow::Result<()> {
        let settings = self.0.issue(node, &[Role::Agent, Role::Origin])?;
        Ok(fs::write(self.0.folder.join(format!("{node}.toml")), settings)?)
    }
}

impl Source {
    /// Starts the servers on the first host, and pushes `size` bytes.
    pub(crate) fn start(folder: &Path, network: &mut Network, size: u64) -> anyhow::Result<Self> {
        Self::start_on(0, folder, network, &[size], Plan::default())
    }

    /// Starts such servers on a host, and pushes a file of each of these sizes.
    pub(crate) fn start_on(
        host: usize,
        folder: &Path,
        network: &mut Network,
        sizes: &[u64],
        plan: Plan,
    ) -> anyhow::Result<Self> {
        let herd = Herd::new(folder, network.host(host).ip, plan)?;
        let settings =
            herd.issue("servers", &[Role::Proxy, Role::Origin, Role::BuildIndex, Role::Tracker])?;
        herd.write_servers(&settings, "")?;
        let (rdcq, servers) = (rdcq()?, herd.servers_toml().display().to_string());
        let log = folder.join("servers.log");
        let process = network.start(host, &[&rdcq, "node", "--config", &servers], &log)?;
        until_ready(&log)?;
        let apart = plan.tracker == Tracker::Apart;
        let tracker = apart.then(|| herd.start_tracker(host, network)).transpose()?;
        let client = herd.issue("client", &[Role::Client, Role::Operator])?;
        fs::write(herd.client_toml(), format!("{client}[client]\n"))?;
        let push = |(number, size): (usize, &u64)| herd.push(network.host(host), number, *size);
        let pushed = sizes.iter().enumerate().map(push).collect::<anyhow::Result<_>>()?;
        Ok(Self { herd, host, process, tracker, settings, pushed })
    }

    /// Kills the tracker that is a process of its own.
    pub(crate) fn kill_tracker(&self, network: &mut Network) -> anyhow::Result<()> {
        network.stop(self.tracker.as_ref().context("the tracker is no process of its own")?)
    }

    /// The process of the servers.
    pub(crate) const fn process(&self) -> &Running {
        &self.process
    }

    /// Where the origin listens.
    pub(crate) fn origin(&self) -> SocketAddr {
        self.herd.origin()
    }

    /// Runs a command of an operator on the servers' host, and returns its JSON.
    pub(crate) async fn command(&self, network: &Network, words: &[&str]) -> anyhow::Result<String> {
        let (rdcq, client) = (rdcq()?, self.herd.client_toml().display().to_string());
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
        Self::start_limited(name, source, network, host, "")
    }

    /// The same with limits of its own.
    pub(crate) fn start_limited(
        name: &str,
        source: &Source,
        network: &mut Network,
        host: usize,
        bandwidth: &str,
    ) -> anyhow::Result<Self> {
        let herd = &source.herd;
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, AGENT_PORT));
        let path = |end: &str| herd.folder.join(format!("{name}{end}"));
        let config = Self::write_settings(name, source, bandwidth)?.display().to_string();
        let client = herd.issue(&format!("{name}-client"), &[Role::Client])?;
        fs::write(path("-client.toml"), format!("{client}[client]\nagent = \"{here}\"\n"))?;
        let (rdcq, log) = (rdcq()?, path(".log"));
        let process = network.start(host, &[&rdcq, "node", "--config", &config], &log)?;
        until_ready(&log)?;
        let client = path("-client.toml").display().to_string();
        let (target, data) = (path(".out"), path(".data"));
        Ok(Self { name: name.to_owned(), host, process, client, target, data, log })
    }

    /// Makes an agent's certificate and settings, and returns where these are.
    fn write_settings(name: &str, source: &Source, bandwidth: &str) -> anyhow::Result<PathBuf> {
        let herd = &source.herd;
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, AGENT_PORT));
        let settings = herd.issue(name, &[Role::Agent])?;
        let own =
            format!("[agent]\nlisten = \"{listen}\"\n{MANY_CONNECTIONS}{}{bandwidth}", herd.transport());
        let path = herd.folder.join(format!("{name}.toml"));
        fs::write(&path, format!("{settings}{own}"))?;
        Ok(path)
    }

    /// Pulls the source's file through it, unless that takes longer than `patience`.
    pub(crate) fn pull(
        &self,
        network: &Network,
        source: &Source,
        patience: Duration,
    ) -> JoinHandle<anyhow::Result<Option<Fetched>>> {
        let host = network.host(self.host).clone();
        let (client, target) = (self.client.clone(), self.target.display().to_string());
        let tag = source.pushed[0].tag.clone();
        tokio::task::spawn_blocking(move || {
            let seconds = format!("{}s", patience.as_secs());
            let command = [
                &*rdcq()?,
                "--output",
                "json",
                "--herd",
                &client,
                "pull",
                &tag,
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

    /// Pulls the source's file through it however long that takes, but gives up to reach the herd after `patience`.
    pub(crate) fn pull_whole(
        &self,
        network: &Network,
        source: &Source,
        patience: Duration,
    ) -> JoinHandle<anyhow::Result<Delivered>> {
        let host = network.host(self.host).clone();
        let (client, target) = (self.client.clone(), self.target.display().to_string());
        let tag = source.pushed[0].tag.clone();
        tokio::task::spawn_blocking(move || {
            let (rdcq, seconds) = (rdcq()?, format!("{}s", patience.as_secs()));
            let whose = [&*rdcq, "--output", "json", "--herd", &client, "pull", &tag];
            let how = ["--dst-path", &target, "--timeout", &seconds];
            let said = host.run(&[&whose[..], &how].concat())?;
            let at = now();
            Ok(Delivered { at, report: serde_json::from_str(&said).context(said)? })
        })
    }

    /// Pulls all that the source has at once, with one client.
    pub(crate) fn pull_all(
        &self,
        network: &Network,
        source: &Source,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<Delivered>>> {
        fs::create_dir_all(&self.target)?;
        let lab = std::env::current_exe()?.display().to_string();
        let (client, target) = (self.client.clone(), self.target.display().to_string());
        let how = [&*lab, "pull-all", "--config", &client, "--folder", &target].map(str::to_owned);
        let tags: Vec<String> = source.pushed.iter().map(|pushed| pushed.tag.clone()).collect();
        let (host, command) = (network.host(self.host).clone(), [how.to_vec(), tags].concat());
        Ok(tokio::task::spawn_blocking(move || {
            let said = host.run(&command.iter().map(String::as_str).collect::<Vec<_>>())?;
            let at = now();
            Ok(Delivered { at, report: serde_json::from_str(&said).context(said)? })
        }))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub(crate) const fn process(&self) -> &Running {
        &self.process
    }

    /// Whether it has delivered what was pushed.
    pub(crate) fn is_right(&self, source: &Source) -> anyhow::Result<bool> {
        let is_right = |delivered: &Path, pushed: &Pushed| {
            Ok(delivered.exists() && fs::read(delivered)? == fs::read(&pushed.file)?)
        };
        if !self.target.is_dir() {
            return is_right(&self.target, &source.pushed[0]);
        }
        let all = source.pushed.iter().enumerate();
        let mut right = all.map(|(number, pushed)| is_right(&self.target.join(number.to_string()), pushed));
        right.try_fold(true, |all, one: anyhow::Result<bool>| Ok(all && one?))
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
            &source.pushed[0].digest,
            "--manifest",
            &source.pushed[0].manifest,
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

/// Writes bytes that no file of another number has.
pub(crate) fn write_random(path: &Path, size: u64, number: usize) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(number as u64);
    let mut bytes = vec![0; usize::try_from(size)?];
    rng.fill_bytes(&mut bytes);
    Ok(fs::write(path, bytes)?)
}
