//! The roles that are measured: settings files, the processes that run them, and content to pull.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rdcq_certs::{Authority, Credentials, KeyKind};
use rdcq_client::{Session, pull, push};
use rdcq_config::{Config, HerdAddresses};
use rdcq_runtime::Host;
use rdcq_wire::{Digest, Identity, Name, Record, Role, RoleSet, TagQuery};

use crate::files::{make_file, write_private};
use crate::processes::{self, Part};

/// Largest datagram on plain Ethernet, in bytes.
pub(crate) const ETHERNET_DATAGRAM: u16 = 1452;
/// Bytes of a file that is pulled only to open connections; one piece.
const OPENER: u64 = 10_000;
/// How long nodes may take to meet whose instructions are counted.
const COUNTED_HANDSHAKES: Duration = Duration::from_secs(60);
/// Room for whatever a bench holds, and for those who ask beside.
const CONNECTIONS_BESIDE: usize = 1000;

/// Certificates, addresses and folders of a herd of which nothing runs yet.
pub(crate) struct Herd {
    folder: PathBuf,
    certs: PathBuf,
    credentials: Credentials,
    addresses: HerdAddresses,
    datagram: u16,
    max_connections: usize,
    /// Sections of settings that all nodes have beside their own.
    sections: &'static str,
    counts: Counts,
}

/// Whether a herd's instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// No.
    Nothing,
    /// Those of origin and agents, which makes them fifty times as slow.
    Instructions,
}

impl Herd {
    /// A herd in `folder`, whose nodes send datagrams of at most `datagram` bytes and take `connections` and some more.
    pub(crate) fn new(folder: &Path, datagram: u16, connections: usize) -> anyhow::Result<Self> {
        let certs = folder.join("certs");
        let credentials = issue(&certs)?;
        let ports = free_ports(4)?;
        let addresses = HerdAddresses {
            proxies: vec![ports[0]],
            origins: vec![ports[1]],
            build_indexes: vec![ports[2]],
            trackers: vec![ports[3]],
        };
        let max_connections = connections + CONNECTIONS_BESIDE;
        Ok(Self {
            folder: folder.to_owned(),
            certs,
            credentials,
            addresses,
            datagram,
            max_connections,
            sections: "",
            counts: Counts::Nothing,
        })
    }

    /// Has all nodes begin with these sections of settings.
    pub(crate) const fn with(mut self, sections: &'static str, counts: Counts) -> Self {
        (self.sections, self.counts) = (sections, counts);
        self
    }

    /// The folder with every node's certificate: ca.pem, node.pem, node.key.
    pub(crate) fn certs(&self) -> String {
        self.certs.display().to_string()
    }

    pub(crate) fn origin_addr(&self) -> SocketAddr {
        self.addresses.origins[0]
    }

    pub(crate) fn tracker_addr(&self) -> SocketAddr {
        self.addresses.trackers[0]
    }

    /// The folder with certificates of a herd of the same name under another CA.
    pub(crate) fn outsider(&self) -> anyhow::Result<String> {
        let folder = self.folder.join("outsider");
        issue(&folder)?;
        Ok(folder.display().to_string())
    }

    pub(crate) fn session(&self) -> anyhow::Result<Session> {
        Ok(Session::open(&Host::system(), &self.credentials, self.addresses.clone(), None)?)
    }

    pub(crate) async fn start_origin(&self) -> anyhow::Result<Part> {
        self.start_counted("origin", &format!("[origin]\nlisten = \"{}\"\n", self.origin_addr())).await
    }

    pub(crate) async fn start_tracker(&self) -> anyhow::Result<Part> {
        self.start("tracker", &format!("[tracker]\nlisten = \"{}\"\n", self.tracker_addr())).await
    }

    /// Proxy, build-index and tracker in one process.
    pub(crate) async fn start_servers(&self) -> anyhow::Result<Part> {
        let sections = format!(
            "[proxy]\nlisten = \"{}\"\n[build_index]\nlisten = \"{}\"\n[tracker]\nlisten = \"{}\"\n",
            self.addresses.proxies[0], self.addresses.build_indexes[0], self.addresses.trackers[0]
        );
        self.start("servers", &sections).await
    }

    /// An agent with an empty store.
    pub(crate) async fn start_agent(&self) -> anyhow::Result<Agent> {
        let listen = free_ports(1)?[0];
        let name = format!("agent-{}", listen.port());
        let part = self.start_counted(&name, &format!("[agent]\nlisten = \"{listen}\"\n")).await?;
        Ok(Agent { part, listen, folder: self.folder.join(name) })
    }

    async fn start(&self, name: &str, sections: &str) -> anyhow::Result<Part> {
        let path = self.write_settings(name, sections)?;
        Ok(Part::start(&["node", &path]).await?.0)
    }

    /// Starts a node whose instructions are counted if any are.
    async fn start_counted(&self, name: &str, sections: &str) -> anyhow::Result<Part> {
        if self.counts == Counts::Nothing {
            return self.start(name, sections).await;
        }
        let path = self.write_settings(name, sections)?;
        let counts = self.folder.join(format!("{name}.callgrind"));
        Ok(Part::start_counted(&["node", &path], counts).await?.0)
    }

    fn write_settings(&self, name: &str, sections: &str) -> anyhow::Result<String> {
        fs::create_dir_all(self.folder.join(name))?;
        let text = self.settings(name, sections);
        Config::parse(&text, name)?;
        let path = self.folder.join(format!("{name}.toml"));
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn settings(&self, name: &str, sections: &str) -> String {
        let list = |addrs: &[SocketAddr]| format!("[\"{}\"]", addrs[0]);
        let HerdAddresses { proxies, origins, build_indexes, trackers } = &self.addresses;
        let (connections, datagram) = (self.max_connections, self.datagram);
        let file = if name.starts_with("agent") { "agent" } else { "node" };
        format!(
            "data_dir = {:?}\n[identity]\nca = {:?}\ncert = {:?}\nkey = {:?}\n[herd]\nproxies = {}\norigins = {}\n\
             build_indexes = {}\ntrackers = {}\n[limits]\nmax_connections = {connections}\nmax_connections_per_node = {connections}\n\
             [transport]\nmax_datagram = {datagram}\n{}{sections}",
            self.folder.join(name),
            self.certs.join("ca.pem"),
            self.certs.join(format!("{file}.pem")),
            self.certs.join(format!("{file}.key")),
            list(proxies),
            list(origins),
            list(build_indexes),
            list(trackers),
            self.sections,
        )
    }
}

/// An agent in a process of its own; dropped, it and its store are gone.
pub(crate) struct Agent {
    pub(crate) part: Part,
    listen: SocketAddr,
    folder: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.part.end();
        // What cannot be removed goes with the bench's folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A herd that runs and holds one file, to be pulled.
pub(crate) struct Seeded {
    pub(crate) herd: Herd,
    pub(crate) session: Session,
    pub(crate) origin: Part,
    /// The file that was pushed.
    pub(crate) source: PathBuf,
    pub(crate) record: Record,
    tag: TagQuery,
    _servers: Part,
}

/// What one pull took.
pub(crate) struct Run {
    pub(crate) seconds: f64,
    /// CPU seconds of the sender and of the receiver, from when both were ready.
    pub(crate) cpu: (f64, f64),
}

impl Seeded {
    pub(crate) async fn start(herd: Herd, size: u64) -> anyhow::Result<Self> {
        let source = herd.folder.join("source");
        let digest = make_file(&source, size)?;
        let (origin, servers) = (herd.start_origin().await?, herd.start_servers().await?);
        let session = herd.session()?;
        let record = push_file(&session, &source, "source", digest).await?;
        let tag = record.tag().parse()?;
        Ok(Self { herd, session, origin, source, record, tag, _servers: servers })
    }

    pub(crate) const fn digest(&self) -> Digest {
        self.record.digest
    }

    /// Pushes another file, so small that pulling it takes a connection and hardly more.
    pub(crate) async fn push_opener(&self) -> anyhow::Result<TagQuery> {
        let path = self.herd.folder.join("opener");
        let digest = make_file(&path, OPENER)?;
        Ok(push_file(&self.session, &path, "opener", digest).await?.tag().parse()?)
    }

    /// Has an agent open its connections, by pulling what [`Self::push_opener`] pushed.
    pub(crate) async fn open_through(&self, agent: &Agent, opener: &TagQuery) -> anyhow::Result<()> {
        pull::fetch_only(&self.session.with_agent(agent.listen), opener).await?;
        Ok(())
    }

    /// The instructions of origin and agent for one pull over connections that are open, in a herd that counts them; it ends
    /// with that.
    pub(crate) async fn count_pull(mut self) -> anyhow::Result<(f64, f64)> {
        let (opener, mut agent) = (self.push_opener().await?, self.herd.start_agent().await?);
        let began = Instant::now();
        // A handshake that is counted may take longer than callers wait.
        while let Err(error) = self.open_through(&agent, &opener).await {
            anyhow::ensure!(began.elapsed() < COUNTED_HANDSHAKES, "{error}");
        }
        self.origin.forget_instructions()?;
        agent.part.forget_instructions()?;
        self.pull_through(&agent).await?;
        Ok((self.origin.instructions()?, agent.part.instructions()?))
    }

    /// A new agent with an empty store pulls; what it fetched stays in its store, as a file, while the agent lives.
    pub(crate) async fn pull(&self) -> anyhow::Result<Run> {
        let agent = self.herd.start_agent().await?;
        self.pull_through(&agent).await
    }

    pub(crate) async fn pull_through(&self, agent: &Agent) -> anyhow::Result<Run> {
        let before = (self.origin.cpu_seconds()?, agent.part.cpu_seconds()?);
        let started = Instant::now();
        let (record, _) = pull::fetch_only(&self.session.with_agent(agent.listen), &self.tag).await?;
        let seconds = started.elapsed().as_secs_f64();
        anyhow::ensure!(record.digest == self.digest(), "the agent pulled another digest");
        let cpu = (self.origin.cpu_seconds()? - before.0, agent.part.cpu_seconds()? - before.1);
        Ok(Run { seconds, cpu })
    }
}

async fn push_file(session: &Session, path: &Path, name: &str, digest: Digest) -> anyhow::Result<Record> {
    let name = Name::conventional("bench".parse()?, "/", name)?;
    let push = push::Push::new(path.to_owned(), name, None, Duration::from_secs(30));
    let record = push::push(session, &push, &|_| ()).await?.record;
    anyhow::ensure!(record.digest == digest, "the push named another digest");
    Ok(record)
}

/// Runs the roles of a settings file, and tells of its heap when asked.
pub(crate) async fn run_node(path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)?;
    let config = Config::parse(&text, &path.display().to_string())?;
    let mut orders = processes::orders();
    // As `rdcq node` does.
    let threads = rdcq::DataThreads::start()?;
    let _node = rdcq::Node::start(&threads.host(), config).await?;
    processes::say("ready")?;
    while let Some(order) = orders.recv().await {
        anyhow::ensure!(order == "heap", "a node is told {order:?}");
        processes::answer(&crate::heap::live_bytes())?;
    }
    Ok(())
}

/// Makes a CA and, under it, certificates for every role at once, one for agents and one for all others, in a new folder.
fn issue(folder: &Path) -> anyhow::Result<Credentials> {
    fs::create_dir_all(folder)?;
    let now = Host::system().env.unix_ms();
    let ca = Authority::generate("bench".parse()?, KeyKind::P256, now)?;
    let roles: RoleSet = Role::ALL.into_iter().collect();
    fs::write(folder.join("ca.pem"), ca.cert_pem())?;
    // What a node sends to itself is no traffic, and not limited.
    for (file, node) in [("node", "bench"), ("agent", "bench-agent")] {
        let identity = Identity { herd: "bench".parse()?, node: node.parse()?, roles };
        let issued = ca.issue(&identity, now)?;
        fs::write(folder.join(format!("{file}.pem")), &issued.cert_pem)?;
        write_private(&folder.join(format!("{file}.key")), &issued.key_pem)?;
    }
    credentials(folder)
}

/// Reads what [`issue`] wrote.
pub(crate) fn credentials(folder: &Path) -> anyhow::Result<Credentials> {
    let read = |name: &str| fs::read_to_string(folder.join(name));
    let (ca, cert, key) = (read("ca.pem")?, read("node.pem")?, read("node.key")?);
    Ok(Credentials::from_pem(&ca, &cert, &key, rdcq_certs::system_time())?)
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, std::io::Error>>()?;
    sockets.iter().map(|socket| Ok(socket.local_addr()?)).collect()
}
