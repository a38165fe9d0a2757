//! What links carried and what was used while a file was fanned out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::counters::now;
use crate::namespaces::Network;
use crate::ports::{self, Carried, Look, Watch};
use crate::usage::{self, Cpu};

/// The folder of a run, if there is one: in memory, as a disk's moods are not to be measured.
const MEMORY: &str = "/dev/shm";

/// A folder that goes with the run; its logs and settings may be kept.
pub(super) struct Folder {
    own: tempfile::TempDir,
    kept: Option<PathBuf>,
}

impl Folder {
    pub(super) fn new(kept: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("rdcq-lab-");
        let own = builder.tempdir_in(MEMORY).or_else(|_| builder.tempdir())?;
        Ok(Self { own, kept: kept.map(Path::to_owned) })
    }

    pub(super) fn path(&self) -> &Path {
        self.own.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(kept) = &self.kept else { return };
        // Best effort: who looks for a log finds that it is not there.
        let _ = fs::create_dir_all(kept);
        for entry in fs::read_dir(self.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "log" || end == "toml") {
                let _ = fs::copy(&path, kept.join(entry.file_name()));
            }
        }
    }
}

/// What is read before the pulls begin.
pub(super) struct Meter {
    watch: Watch,
    pub(super) began: Duration,
    cpu: Cpu,
    receivers: Vec<u32>,
    source: Vec<u32>,
    used: Used,
}

/// Seconds of processor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// Of processes that receive and go on.
    pub(super) receivers: f64,
    pub(super) source: f64,
    /// Of commands that have ended meanwhile.
    pub(super) commands: f64,
}

/// What links carried and what was used, from the start until all had ended.
pub(super) struct Run {
    looks: Vec<Look>,
    began: Duration,
    pub(super) used: Used,
    /// Packets that did not fit a link's queue, of what each host sent and of what was sent to it.
    pub(super) dropped: Vec<[u64; 2]>,
    /// How much of the machine was in use, from 0 to 1.
    pub(super) busy: f64,
}

impl Meter {
    /// Begins to measure; `receivers` and `source` are processes that already run.
    pub(super) fn start(
        network: &mut Network,
        folder: &Path,
        receivers: Vec<u32>,
        source: Vec<u32>,
    ) -> anyhow::Result<Self> {
        let watch = Watch::start(network, &folder.join("ports.log"))?;
        let used = Used::now(&receivers, &source)?;
        let cpu = Cpu::now()?;
        Ok(Self { watch, began: now(), cpu, receivers, source, used })
    }

    /// A process that was started since.
    pub(super) fn add_source(&mut self, pid: u32) {
        self.source.push(pid);
    }

    /// The same on an agent's host.
    pub(super) fn add_receiver(&mut self, pid: u32) {
        self.receivers.push(pid);
    }

    pub(super) fn stop(self, network: &mut Network) -> anyhow::Result<Run> {
        let (busy, after) = (self.cpu.busy_since()?, Used::now(&self.receivers, &self.source)?);
        let used = Used {
            receivers: after.receivers - self.used.receivers,
            source: after.source - self.used.source,
            commands: after.commands - self.used.commands,
        };
        let dropped =
            (0..network.hosts()).map(|host| network.dropped(host)).collect::<anyhow::Result<_>>()?;
        Ok(Run { looks: self.watch.stop(network)?, began: self.began, used, dropped, busy })
    }
}

impl Used {
    fn now(receivers: &[u32], source: &[u32]) -> anyhow::Result<Self> {
        // One that was killed meanwhile has used what nobody can read.
        let sum = |pids: &[u32]| pids.iter().filter_map(|pid| usage::of_process(*pid).ok()).sum();
        Ok(Self { receivers: sum(receivers), source: sum(source), commands: usage::of_ended_children()? })
    }
}

impl Run {
    /// What hosts carried until a time after the start.
    pub(super) fn until(&self, time: Duration) -> anyhow::Result<Vec<Carried>> {
        let at = |time| ports::at(&self.looks, time).context("nobody looked at the ports");
        let (first, last) = (at(self.began)?, at(self.began + time)?);
        Ok(last.hosts.iter().zip(&first.hosts).map(|(last, first)| last.since(*first)).collect())
    }

    /// What hosts carried in all.
    pub(super) fn carried(&self) -> anyhow::Result<Vec<Carried>> {
        self.until(Duration::from_secs(24 * 3600))
    }

    /// Seconds until all agents together had received so many bytes.
    pub(super) fn received_at(&self, bytes: u64) -> anyhow::Result<f64> {
        let first = ports::at(&self.looks, self.began).context("nobody looked at the ports")?;
        let received = |look: &Look| look.hosts.iter().skip(1).map(|host| host.received).sum::<u64>();
        let look = self.looks.iter().find(|look| received(look) >= received(first) + bytes);
        Ok(look.map_or(f64::NAN, |look| (look.at.saturating_sub(self.began)).as_secs_f64()))
    }
}

/// What several hosts sent and received together.
pub(super) fn sum(hosts: &[Carried]) -> Carried {
    hosts.iter().fold(Carried::default(), |all, one| all.and(*one))
}
