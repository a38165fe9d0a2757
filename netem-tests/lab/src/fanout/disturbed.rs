//! Swarms to which something happens, beside the same undisturbed.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;
use serde::Serialize;

use super::case::{Case, Kind};
use super::lies::Lies;
use super::lines::{Came, show};
use super::meter::Folder;
use super::swarm::Swarm;
use crate::herd::Tracker;
use crate::report::{Rounded, median, print};

/// After which part of the least time an agent is stopped.
const MIDDLE: f64 = 0.5;
/// After which part of it the tracker is killed.
const EARLY: f64 = 0.3;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disturbance {
    /// The last agent is stopped in the middle, as a machine that hangs.
    StopOne,
    /// The tracker, which is a process of its own, is killed early on.
    KillTrackers,
    /// Some say that they have the file, and send wrong bytes.
    Liars,
}

/// One pair of runs.
#[derive(Serialize)]
struct Pair {
    test: &'static str,
    /// Those that pull.
    agents: u8,
    bytes: u64,
    /// Until the last agent had the file, with nothing done to it.
    undisturbed_seconds: Rounded,
    /// The same of the agents that were not stopped, when it happened.
    disturbed_seconds: Rounded,
    /// How much later that was.
    extra_seconds: Rounded,
    ratio: Rounded,
    /// How much of the machine was in use without it and with it, from 0 to 1.
    busy: [Rounded; 2],
    #[serde(flatten)]
    lies: Option<Lies>,
}

/// What the pairs came to.
#[derive(Serialize)]
struct Median {
    test: String,
    agents: u8,
    runs: usize,
    extra_seconds: Rounded,
    ratio: Rounded,
}

/// One run of a pair.
struct Half {
    /// Until the last agent that is not stopped had the file.
    seconds: f64,
    busy: f64,
    lies: Option<Lies>,
}

impl Disturbance {
    const fn name(self) -> &'static str {
        match self {
            Self::StopOne => "fanout, one stopped",
            Self::KillTrackers => "fanout, trackers killed",
            Self::Liars => "fanout, liars",
        }
    }
}

/// Measures pairs, and prints each and the one in the middle.
pub(super) async fn run(
    case: Case,
    what: Disturbance,
    runs: u32,
    folder: impl Fn() -> anyhow::Result<Folder>,
) -> anyhow::Result<()> {
    let (mut extras, mut ratios) = (Vec::new(), Vec::new());
    for number in 0..runs {
        // Each goes first in turn, or what the machine does in the long run would look like the disturbance.
        let [undisturbed, disturbed] = if number % 2 == 0 {
            let undisturbed = once(case, what, None, &folder()?).await?;
            [undisturbed, once(case, what, Some(what), &folder()?).await?]
        } else {
            let disturbed = once(case, what, Some(what), &folder()?).await?;
            [once(case, what, None, &folder()?).await?, disturbed]
        };
        let extra = disturbed.seconds - undisturbed.seconds;
        let ratio = disturbed.seconds / undisturbed.seconds;
        print(&Pair {
            test: what.name(),
            agents: case.agents,
            bytes: case.bytes,
            undisturbed_seconds: Rounded(undisturbed.seconds),
            disturbed_seconds: Rounded(disturbed.seconds),
            extra_seconds: Rounded(extra),
            ratio: Rounded(ratio),
            busy: [undisturbed.busy, disturbed.busy].map(Rounded),
            lies: disturbed.lies,
        })?;
        extras.push(extra);
        ratios.push(ratio);
    }
    print(&Median {
        test: format!("{}, median", what.name()),
        agents: case.agents,
        runs: extras.len(),
        extra_seconds: Rounded(median(extras)),
        ratio: Rounded(median(ratios)),
    })
}

/// Runs one of a pair. The tracker is the same with and without the disturbance.
async fn once(
    case: Case,
    pair: Disturbance,
    what: Option<Disturbance>,
    folder: &Folder,
) -> anyhow::Result<Half> {
    let tracker = if pair == Disturbance::KillTrackers { Tracker::Apart } else { Tracker::Usual };
    let liars = if what == Some(Disturbance::Liars) { case.liars } else { 0 };
    let mut swarm = Swarm::start(Case { liars, ..case }, tracker, folder)?;
    let pulls = swarm.pull()?;
    let after = |part: f64| tokio::time::sleep(Duration::from_secs_f64(case.bound(Kind::Fast) * part));
    let mut awaited = swarm.agents.len();
    match what {
        // Liars are there from the start.
        None | Some(Disturbance::Liars) => {}
        Some(Disturbance::StopOne) => {
            after(MIDDLE).await;
            awaited -= 1;
            swarm.network.signal(swarm.agents[awaited].process(), Signal::STOP)?;
        }
        Some(Disturbance::KillTrackers) => {
            after(EARLY).await;
            swarm.source.kill_tracker(&mut swarm.network)?;
        }
    }
    let ended = swarm.end(pulls, awaited).await?;
    ensure!(swarm.are_right(awaited)?, "agents delivered another file than was pushed");
    if pair == Disturbance::Liars {
        let system = if liars > 0 { "rdcq, liars" } else { "rdcq" };
        let (seconds, told) = (ended.seconds.clone(), Some(ended.told(&case)));
        show(&case, &ended.run, Came { system, seconds, right: true, told })?;
    }
    let lies = (liars > 0).then(|| Lies::of(&swarm)).transpose()?;
    Ok(Half { seconds: ended.last(), busy: ended.run.busy, lies })
}
