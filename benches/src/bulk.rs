//! `bulk`: one file, one origin, one agent.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use rdcq_certs::{Authority, KeyKind};
use rdcq_client::{Session, pull, push};
use rdcq_config::{Config, HerdAddresses};
use rdcq_runtime::Host;
use rdcq_wire::{Digest, HerdId, Identity, Name, Role, RoleSet, TagQuery};

use crate::processes::Part;
use crate::report::{self, Line, Output};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Size of the file, for example 1GiB or 64MiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// How many times each side is run, in turn.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where files are made; a folder in memory keeps the disk's noise out.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// What one side took for one run.
struct Run {
    seconds: f64,
    /// CPU seconds of the sender and of the receiver, from when both were ready.
    cpu: (f64, f64),
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.runs > 0 && arguments.size > 0, "--runs and --size must be at least 1");
    let folder = tempfile::Builder::new().prefix("rdcq-bulk-").tempdir_in(&arguments.dir)?;
    let source = folder.path().join("source");
    let digest = make_file(&source, arguments.size)?;
    let herd = Herd::start(folder.path())?;
    let tag = herd.push(&source, digest).await?;
    let mut runs = Vec::new();
    for round in 0..arguments.runs {
        // Whoever goes first finds other caches than whoever goes second.
        let pair = if round % 2 == 0 {
            let bare = run_bare(&herd, &source, folder.path(), digest)?;
            (herd.run_agent(&tag, digest).await?, bare)
        } else {
            let rdcq = herd.run_agent(&tag, digest).await?;
            (rdcq, run_bare(&herd, &source, folder.path(), digest)?)
        };
        runs.push(pair);
    }
    report::print(arguments.output, &lines(&runs, arguments.size))
}

fn lines(runs: &[(Run, Run)], size: u64) -> Vec<Line> {
    let gigabytes = size as f64 / 1e9;
    let line = |variant, unit, value: &dyn Fn(&Run) -> f64| {
        let pairs: Vec<(f64, f64)> = runs.iter().map(|(rdcq, bare)| (value(rdcq), value(bare))).collect();
        Line::of("bulk", variant, unit, &pairs)
    };
    vec![
        line("throughput", "Gbit/s", &|run| gigabytes * 8.0 / run.seconds),
        line("cpu-both", "CPU seconds per GB", &|run| (run.cpu.0 + run.cpu.1) / gigabytes),
        line("cpu-sender", "CPU seconds per GB", &|run| run.cpu.0 / gigabytes),
        line("cpu-receiver", "CPU seconds per GB", &|run| run.cpu.1 / gigabytes),
    ]
}

fn run_bare(herd: &Herd, source: &Path, folder: &Path, digest: Digest) -> anyhow::Result<Run> {
    let certs = herd.certs.display().to_string();
    let target = folder.join("bare-target");
    let mut server = Part::start(&["bare-server", &certs, &source.display().to_string()])?;
    let addr = server.line()?;
    let mut client = Part::start(&["bare-client", &certs, &addr, &target.display().to_string()])?;
    anyhow::ensure!(client.line()? == "ready", "the bare client did not start");
    let before = (server.cpu_seconds()?, client.cpu_seconds()?);
    client.go_on()?;
    let line = client.line()?;
    let cpu = (server.cpu_seconds()? - before.0, client.cpu_seconds()? - before.1);
    let (seconds, got) = line.split_once(' ').context("seconds and digest")?;
    anyhow::ensure!(got.parse::<Digest>()? == digest, "the bare client received other bytes");
    fs::remove_file(target)?;
    Ok(Run { seconds: seconds.parse()?, cpu })
}

/// An origin in a process of its own, and the rest of a herd in another.
struct Herd {
    folder: PathBuf,
    certs: PathBuf,
    session: Session,
    addresses: HerdAddresses,
    origin: Part,
    _servers: Part,
}

impl Herd {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let host = Host::system();
        let certs = folder.join("certs");
        fs::create_dir_all(&certs)?;
        let herd: HerdId = "bench".parse()?;
        let ca = Authority::generate(herd.clone(), KeyKind::P256, host.env.unix_ms())?;
        let roles: RoleSet = Role::ALL.into_iter().collect();
        let identity = Identity { herd, node: "bench".parse()?, roles };
        let issued = ca.issue(&identity, host.env.unix_ms())?;
        fs::write(certs.join("ca.pem"), ca.cert_pem())?;
        fs::write(certs.join("node.pem"), &issued.cert_pem)?;
        write_private(&certs.join("node.key"), &issued.key_pem)?;
        let ports = free_ports(4)?;
        let addresses = HerdAddresses {
            proxies: vec![ports[0]],
            origins: vec![ports[1]],
            build_indexes: vec![ports[2]],
            trackers: vec![ports[3]],
        };
        let origin = format!("[origin]\nlisten = \"{}\"\n", ports[1]);
        let servers = format!(
            "[proxy]\nlisten = \"{}\"\n[build_index]\nlisten = \"{}\"\n[tracker]\nlisten = \"{}\"\n",
            ports[0], ports[2], ports[3]
        );
        let origin = start_node(folder, "origin", &certs, &addresses, &origin)?;
        let servers = start_node(folder, "servers", &certs, &addresses, &servers)?;
        let credentials = rdcq_certs::Credentials::from_pem(
            ca.cert_pem(),
            &issued.cert_pem,
            &issued.key_pem,
            rdcq_certs::system_time(),
        )?;
        let session = Session::open(&host, &credentials, addresses.clone(), None)?;
        Ok(Self { folder: folder.to_owned(), certs, session, addresses, origin, _servers: servers })
    }

    async fn push(&self, source: &Path, digest: Digest) -> anyhow::Result<TagQuery> {
        let push = push::Push {
            path: source.to_owned(),
            name: Name::conventional("bench".parse()?, "/", "source")?,
            version: None,
            patience: Duration::from_secs(30),
        };
        let pushed = push::push(&self.session, &push, &|_| ()).await?;
        anyhow::ensure!(pushed.record.digest == digest, "the push named another digest");
        Ok(pushed.record.tag().parse()?)
    }

    /// A new agent with an empty store pulls; what it fetched stays in its store, as a file.
    async fn run_agent(&self, tag: &TagQuery, digest: Digest) -> anyhow::Result<Run> {
        let listen = free_ports(1)?[0];
        let section = format!("[agent]\nlisten = \"{listen}\"\n");
        let agent = start_node(&self.folder, "agent", &self.certs, &self.addresses, &section)?;
        let before = (self.origin.cpu_seconds()?, agent.cpu_seconds()?);
        let started = Instant::now();
        let (record, _) = pull::fetch_only(&self.session.with_agent(listen), tag).await?;
        let seconds = started.elapsed().as_secs_f64();
        anyhow::ensure!(record.digest == digest, "the agent pulled another digest");
        let cpu = (self.origin.cpu_seconds()? - before.0, agent.cpu_seconds()? - before.1);
        drop(agent);
        fs::remove_dir_all(self.folder.join("agent"))?;
        Ok(Run { seconds, cpu })
    }
}

fn start_node(
    folder: &Path,
    name: &str,
    certs: &Path,
    herd: &HerdAddresses,
    sections: &str,
) -> anyhow::Result<Part> {
    let data = folder.join(name);
    fs::create_dir_all(&data)?;
    let list = |addrs: &[SocketAddr]| format!("[\"{}\"]", addrs[0]);
    let text = format!(
        "data_dir = {data:?}\n[identity]\nca = {:?}\ncert = {:?}\nkey = {:?}\n[herd]\nproxies = {}\norigins = {}\n\
         build_indexes = {}\ntrackers = {}\n{sections}",
        certs.join("ca.pem"),
        certs.join("node.pem"),
        certs.join("node.key"),
        list(&herd.proxies),
        list(&herd.origins),
        list(&herd.build_indexes),
        list(&herd.trackers),
    );
    Config::parse(&text, name)?;
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text)?;
    let mut part = Part::start(&["node", &path.display().to_string()])?;
    anyhow::ensure!(part.line()? == "ready", "{name} did not start");
    Ok(part)
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<_, std::io::Error>>()?;
    sockets.iter().map(|socket| Ok(socket.local_addr()?)).collect()
}

/// A file of bytes that nothing can compress, the same for the same size.
fn make_file(path: &Path, size: u64) -> anyhow::Result<Digest> {
    let mut rng = StdRng::seed_from_u64(size);
    let mut file = fs::File::create(path)?;
    let mut hasher = rdcq_wire::Hasher::default();
    let mut block = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let len = usize::try_from(left)?.min(block.len());
        rng.fill_bytes(&mut block[..len]);
        hasher.update(&block[..len]);
        file.write_all(&block[..len])?;
        left -= len as u64;
    }
    Ok(hasher.finish())
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}; use B, KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size; write for example 64MiB"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"))
}
