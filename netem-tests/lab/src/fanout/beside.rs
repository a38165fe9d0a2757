//! The same file over the same links by other systems.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::case::{Case, Kind};
use super::lines::{Came, show};
use super::meter::{Folder, Meter};
use crate::counters::now;
use crate::herd::{Certificates, write_random};
use crate::namespaces::Network;
use crate::report::print;

/// How often it is looked whether a file is there.
const LOOK: Duration = Duration::from_millis(5);
/// By how much a system may miss the least time.
const PATIENCE: f64 = 6.0;
/// How long a source may take to be ready.
const READY: Duration = Duration::from_secs(3);
/// Pieces of a torrent: as small as trackers and clients like it, so that peers can share soon.
const PIECES: u64 = 256;
/// What uftp sends of the links' rate: more of it, and what it loses takes longer than what it gains.
const MULTICAST_PERCENT: u64 = 93;
/// Where its packages are unpacked by `fanout.sh`.
const TOOLS: &str = ".tools/beside/root";
/// Where trackers and servers listen.
const PORT: u16 = 6969;

/// Another system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum System {
    /// Bare quinn from the source to each, with an N-th of the file so that it takes as long: what QUIC costs.
    Star,
    /// BitTorrent by aria2.
    Aria2,
    /// BitTorrent by libtorrent, over TCP.
    Libtorrent,
    /// IP multicast.
    Uftp,
}

#[derive(Serialize)]
struct Skipped<'a> {
    test: &'a str,
    system: &'a str,
    agents: u8,
    skipped: String,
}

/// Hosts with a file on the first of them.
struct Stage<'a> {
    network: Network,
    case: Case,
    folder: &'a Path,
    file: PathBuf,
    /// Seconds that it may take.
    most: f64,
}

/// Processes on the source, and on the others.
struct Cast {
    source: Vec<u32>,
    receivers: Vec<u32>,
}

/// Runs a system, and prints what came of it, or why it cannot be run here.
pub(super) async fn run(mut case: Case, system: System, folder: &Folder) -> anyhow::Result<()> {
    let most = case.bound(Kind::Slow) * PATIENCE + READY.as_secs_f64();
    if system == System::Star {
        case.bytes /= u64::from(case.agents);
    }
    let skip =
        |skipped| print(&Skipped { test: "fanout", system: system.name(), agents: case.agents, skipped });
    let missing: Vec<_> =
        system.needs().iter().filter(|path| !Path::new(TOOLS).join(path).exists()).collect();
    if !missing.is_empty() {
        return skip(format!("not in {TOOLS}: {missing:?}; fanout.sh fetches what apt has"));
    }
    match measure(case, system, most, folder).await {
        // What keeps another system from ending is its own, and the others are still to be measured.
        Err(error) => skip(format!("{error:#}")),
        Ok(()) => Ok(()),
    }
}

async fn measure(case: Case, system: System, most: f64, folder: &Folder) -> anyhow::Result<()> {
    let file = folder.path().join("payload");
    write_random(&file, case.bytes, 0)?;
    let network = Network::new(case.agents + 1)?;
    for host in 0..network.hosts() {
        network.limit(host, case.rate_of(host)?, case.queue)?;
    }
    let mut stage = Stage { network, case, folder: folder.path(), file, most };
    let cast = stage.prepare(system)?;
    tokio::time::sleep(READY).await;
    let mut meter = Meter::start(&mut stage.network, folder.path(), cast.receivers, cast.source)?;
    let marks = stage.begin(system, &mut meter)?;
    let seconds = stage.wait(&marks, meter.began).await?;
    let run = meter.stop(&mut stage.network)?;
    let payload = fs::read(&stage.file)?;
    let delivered = (1..=usize::from(case.agents)).map(|host| fs::read(stage.delivered(host)));
    let right = delivered.into_iter().all(|bytes| bytes.is_ok_and(|bytes| bytes == payload));
    show(&case, &run, Came { system: system.name(), seconds, right, told: None })
}

impl System {
    const fn name(self) -> &'static str {
        match self {
            Self::Star => "quinn star, an N-th of the file",
            Self::Aria2 => "aria2",
            Self::Libtorrent => "libtorrent",
            Self::Uftp => "uftp",
        }
    }

    const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Star => &[],
            Self::Aria2 => &["usr/bin/aria2c", "usr/bin/opentracker"],
            Self::Libtorrent => &["usr/lib/python3/dist-packages/libtorrent.egg-info", "usr/bin/opentracker"],
            Self::Uftp => &["usr/bin/uftp", "usr/bin/uftpd"],
        }
    }
}

impl Stage<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder of an agent.
    fn own(&self, host: usize) -> PathBuf {
        self.path(&format!("own-{host}"))
    }

    fn delivered(&self, host: usize) -> PathBuf {
        self.own(host).join("payload")
    }

    fn start(&mut self, host: usize, name: &str, command: &[&str]) -> anyhow::Result<u32> {
        let root = fs::canonicalize(TOOLS).unwrap_or_default().display().to_string();
        let libraries = format!("LD_LIBRARY_PATH={root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib");
        let modules = format!("PYTHONPATH={root}/usr/lib/python3/dist-packages");
        let path = format!("PATH={root}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let command = [&["env", &libraries, &modules, &path], command].concat();
        let running = self.network.start(host, &command, &self.path(&format!("{name}-{host}.log")))?;
        Ok(self.network.pid(&running))
    }

    /// Starts what runs before anybody wants the file.
    fn prepare(&mut self, system: System) -> anyhow::Result<Cast> {
        let mut cast = Cast { source: Vec::new(), receivers: Vec::new() };
        for host in 1..=usize::from(self.case.agents) {
            fs::create_dir_all(self.own(host))?;
        }
        let file = self.file.display().to_string();
        match system {
            System::Star => {
                let certificates = Certificates::new(self.folder, self.network.host(0).ip)?;
                certificates.write("source")?;
                for host in 1..=usize::from(self.case.agents) {
                    certificates.write(&format!("own-{host}"))?;
                }
                let (lab, config) = (lab()?, self.path("source.toml").display().to_string());
                let listen = self.at(0);
                let words = [&*lab, "star-serve", "--config", &config, "--listen", &listen, "--file", &file];
                cast.source.push(self.start(0, "star", &words)?);
            }
            System::Aria2 | System::Libtorrent => {
                cast.source.push(self.start_tracker()?);
                let seed = self.share(system, 0)?;
                cast.source.push(self.start_words(0, &seed)?);
            }
            System::Uftp => {
                for host in 1..=usize::from(self.case.agents) {
                    let own = self.own(host).display().to_string();
                    // What it receives gets its name when it is whole.
                    let words = ["uftpd", "-d", "-t", "-I", "eth0", "-D", &own, "-B", "4194304"];
                    cast.receivers.push(self.start(host, "uftpd", &words)?);
                }
            }
        }
        Ok(cast)
    }

    /// Has all agents want the file, and returns what appears when each has it.
    fn begin(&mut self, system: System, meter: &mut Meter) -> anyhow::Result<Vec<PathBuf>> {
        let hosts = 1..=usize::from(self.case.agents);
        if system == System::Uftp {
            let rate = self.case.rate.bytes_per_second() * 8 / 1000 * MULTICAST_PERCENT / 100;
            let [a, b, c, _] = self.network.host(0).ip.octets();
            let identifier = |host: usize| format!("0x{a:02X}{b:02X}{c:02X}{:02X}", host + 1);
            let all = hosts.clone().map(identifier).collect::<Vec<_>>().join(",");
            let (rate, file) = (rate.to_string(), self.file.display().to_string());
            let words = ["uftp", "-R", &rate, "-I", "eth0", "-H", &all, "-B", "4194304", &file];
            meter.add_source(self.start(0, "uftp", &words)?);
            return Ok(hosts.map(|host| self.delivered(host)).collect());
        }
        let mut marks = Vec::new();
        for host in hosts {
            let words = match system {
                System::Star => {
                    let (lab, server) = (lab()?, self.at(0));
                    let config = self.path(&format!("own-{host}.toml")).display().to_string();
                    let (file, done) = (self.delivered(host), self.done(host));
                    // The shell ends a mark after it, and goes on as the command would.
                    let fetch = format!(
                        "{lab} star-fetch --config {config} --server {server} --file {} && touch {}",
                        file.display(),
                        done.display()
                    );
                    vec!["sh".to_owned(), "-c".to_owned(), fetch]
                }
                _ => self.share(system, host)?,
            };
            meter.add_receiver(self.start_words(host, &words)?);
            marks.push(self.done(host));
        }
        Ok(marks)
    }

    fn start_words(&mut self, host: usize, words: &[String]) -> anyhow::Result<u32> {
        self.start(host, "share", &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn at(&self, host: usize) -> String {
        format!("{}:{PORT}", self.network.host(host).ip)
    }

    /// What appears when a host has the file.
    fn done(&self, host: usize) -> PathBuf {
        self.path(&format!("done-{host}"))
    }

    /// Makes a torrent, and starts a tracker that knows it.
    fn start_tracker(&mut self) -> anyhow::Result<u32> {
        let address = self.at(0);
        let (file, torrent) = (self.file.display().to_string(), self.path("torrent").display().to_string());
        let piece = (self.case.bytes / PIECES).next_power_of_two().max(16 << 10).to_string();
        let announce = format!("http://{address}/announce");
        let words = ["python3", &script()?, "make", &file, &piece, &announce, &torrent];
        let hash = self.network.host(0).run(&words)?;
        let (root, settings) = (self.path("tracker"), self.path("opentracker.conf"));
        // It does not run as root, and sees nothing but this folder.
        fs::create_dir_all(&root)?;
        fs::set_permissions(&root, Permissions::from_mode(0o755))?;
        fs::write(root.join("whitelist"), hash)?;
        let root = root.display();
        let text = format!("access.whitelist whitelist\ntracker.rootdir {root}\ntracker.user nobody\n");
        fs::write(&settings, format!("listen.tcp_udp {address}\n{text}"))?;
        let settings = settings.display().to_string();
        self.start(0, "opentracker", &["opentracker", "-f", &settings])
    }

    /// The command that shares the torrent on a host until it is killed; number 0 has all of it.
    fn share(&self, system: System, host: usize) -> anyhow::Result<Vec<String>> {
        let shown = |path: &Path| path.display().to_string();
        let folder = if host == 0 { shown(self.folder) } else { shown(&self.own(host)) };
        let (torrent, done) = (shown(&self.path("torrent")), shown(&self.done(host)));
        let address = self.network.host(host).ip.to_string();
        if system == System::Libtorrent {
            let role = if host == 0 { "seed" } else { "fetch" };
            let words = ["/usr/bin/python3", &script()?, "share", &torrent, &folder, &address, &done, role];
            return Ok(words.map(str::to_owned).to_vec());
        }
        let hook = self.path(&format!("hook-{host}"));
        fs::write(&hook, format!("#!/bin/sh\ntouch {done}\n"))?;
        fs::set_permissions(&hook, Permissions::from_mode(0o700))?;
        let (dir, hook) = (format!("--dir={folder}"), format!("--on-bt-download-complete={}", shown(&hook)));
        let own = ["aria2c", "--no-conf", &dir, &hook, &torrent];
        let words = [
            "--listen-port=6881",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
            "--seed-ratio=0",
            "--file-allocation=none",
            "--summary-interval=0",
            "--console-log-level=warn",
            "--bt-max-peers=0",
        ];
        let whole = if host == 0 { "--check-integrity=true" } else { "--check-integrity=false" };
        Ok(own.into_iter().chain(words).chain([whole]).map(str::to_owned).collect())
    }

    /// Waits until all marks are there, and returns when each came, in seconds from `began`.
    async fn wait(&self, marks: &[PathBuf], began: Duration) -> anyhow::Result<Vec<f64>> {
        let mut seconds: Vec<Option<f64>> = vec![None; marks.len()];
        while seconds.iter().any(Option::is_none) {
            let since = (now() - began).as_secs_f64();
            for (mark, seconds) in marks.iter().zip(&mut seconds).filter(|(_, seconds)| seconds.is_none()) {
                *seconds = mark.exists().then_some(since);
            }
            ensure!(since < self.most, "not all had the file after {since:.0} s: {seconds:?}");
            tokio::time::sleep(LOOK).await;
        }
        seconds.into_iter().collect::<Option<_>>().context("all marks are there")
    }
}

/// This program.
fn lab() -> anyhow::Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}

/// The script that knows torrents.
fn script() -> anyhow::Result<String> {
    let path = fs::canonicalize("netem-tests/torrent.py");
    Ok(path.context("this runs in the project's folder")?.display().to_string())
}
