//! Servers on one host and agents on others, over limited links.

use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::case::Case;
use super::lines::{Came, Told, show};
use super::meter::{Folder, Meter, Run};
use crate::herd::{Agent, Delivered, Liar, Plan, Source, Tracker};
use crate::namespaces::Network;
use crate::report::Rounded;

/// How long agents may take to reach the servers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of a log is shown with an error.
const LAST_LINES: usize = 5;

/// Servers that offer a file, and agents that have nothing yet.
pub(super) struct Swarm<'a> {
    // In this order: what runs in the network ends before its folder goes.
    pub(super) network: Network,
    pub(super) source: Source,
    pub(super) agents: Vec<Agent>,
    pub(super) liars: Vec<Liar>,
    pub(super) case: Case,
    pub(super) folder: &'a Folder,
    /// How many files the bytes are.
    files: usize,
}

/// Pulls under way.
pub(super) struct Pulls {
    pub(super) meter: Meter,
    pulls: Vec<JoinHandle<anyhow::Result<Delivered>>>,
}

/// Pulls that have ended.
pub(super) struct Ended {
    pub(super) run: Run,
    /// In the agents' order, in seconds from the start.
    pub(super) seconds: Vec<f64>,
    ends: Vec<Delivered>,
}

impl<'a> Swarm<'a> {
    /// Starts everything, and limits the links.
    pub(super) fn start(case: Case, tracker: Tracker, folder: &'a Folder) -> anyhow::Result<Self> {
        Self::start_with(&[case.bytes], case, tracker, folder)
    }

    /// The same with several files, which one client an agent pulls at once.
    pub(super) fn start_with(
        sizes: &[u64],
        case: Case,
        tracker: Tracker,
        folder: &'a Folder,
    ) -> anyhow::Result<Self> {
        let mut network = Network::new(1 + case.agents + case.liars)?;
        let plan = Plan { congestion: case.congestion, datagram: case.datagram, tracker };
        let source = Source::start_on(0, folder.path(), &mut network, sizes, plan)?;
        let hosts = 1..=usize::from(case.agents);
        let start = |host| {
            let limits = case.limits_of(host)?;
            Agent::start_limited(&format!("agent-{host}"), &source, &mut network, host, &limits)
        };
        let agents = hosts.map(start).collect::<anyhow::Result<_>>()?;
        let hosts = (1 + usize::from(case.agents)..).take(case.liars.into());
        let start = |host| Liar::start(format!("liar-{host}"), &source, &mut network, host);
        let liars = hosts.map(start).collect::<anyhow::Result<_>>()?;
        source.limit(&case.limits_of(0)?)?;
        for host in 0..network.hosts() {
            network.limit(host, case.rate_of(host)?, case.queue)?;
        }
        Ok(Self { network, source, agents, liars, case, folder, files: sizes.len() })
    }

    /// Has all agents pull at once.
    pub(super) fn pull(&mut self) -> anyhow::Result<Pulls> {
        let receivers = self.agents.iter().map(|agent| self.network.pid(agent.process())).collect();
        let source = vec![self.network.pid(self.source.process())];
        let meter = Meter::start(&mut self.network, self.folder.path(), receivers, source)?;
        let pull = |agent: &Agent| match self.files {
            1 => Ok(agent.pull_whole(&self.network, &self.source, PATIENCE)),
            _ => agent.pull_all(&self.network, &self.source),
        };
        Ok(Pulls { meter, pulls: self.agents.iter().map(pull).collect::<anyhow::Result<_>>()? })
    }

    /// Waits for all pulls but those of agents that are left out, which have this number or a higher one.
    pub(super) async fn end(&mut self, pulls: Pulls, left_out: usize) -> anyhow::Result<Ended> {
        let mut ends = Vec::new();
        for (agent, pull) in self.agents.iter().zip(pulls.pulls).take(left_out) {
            let log =
                || format!("the agent logged at last: {}", last_lines(&agent.log().unwrap_or_default()));
            ends.push(pull.await?.with_context(log)?);
        }
        let seconds = ends.iter().map(|end| (end.at - pulls.meter.began).as_secs_f64()).collect();
        Ok(Ended { run: pulls.meter.stop(&mut self.network)?, seconds, ends })
    }

    /// Whether the first agents have delivered what was pushed.
    pub(super) fn are_right(&self, agents: usize) -> anyhow::Result<bool> {
        let right = self.agents.iter().take(agents).map(|agent| agent.is_right(&self.source));
        Ok(right.collect::<anyhow::Result<Vec<_>>>()?.into_iter().all(|right| right))
    }

    /// Pulls once, and prints what came of it.
    pub(super) async fn measure(&mut self, system: &str) -> anyhow::Result<Ended> {
        let pulls = self.pull()?;
        let ended = self.end(pulls, usize::MAX).await?;
        let right = self.are_right(usize::MAX)?;
        let told = Some(ended.told(&self.case));
        show(&self.case, &ended.run, Came { system, seconds: ended.seconds.clone(), right, told })?;
        anyhow::ensure!(right, "agents delivered another file than was pushed");
        Ok(ended)
    }
}

/// The end of a log.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

impl Ended {
    /// When the last had the file.
    pub(super) fn last(&self) -> f64 {
        self.seconds.iter().copied().fold(0.0, f64::max)
    }

    pub(super) fn told(&self, case: &Case) -> Told {
        let reports = || self.ends.iter().map(|end| &end.report);
        let bytes = case.bytes as f64;
        let fetched = reports().map(|one| one.fetch_ms).max().unwrap_or(0) as f64 / 1e3;
        let origin = reports().map(|one| one.bytes_from.origins).sum::<u64>() as f64;
        let twice = reports().map(|one| one.bytes_from.duplicate).sum::<u64>() as f64;
        Told {
            fetched_seconds: Rounded(fetched),
            from_origin: Rounded(origin / bytes),
            duplicate: Rounded(twice / (bytes * f64::from(case.agents))),
        }
    }
}
