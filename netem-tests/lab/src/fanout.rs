//! How long a file takes to many agents that pull it at once, by the least that their links allow.

mod beside;
mod case;
mod disturbed;
mod lies;
mod lines;
mod many;
mod meter;
mod swarm;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use rdcq_config::Congestion;
use rdcq_wire::ByteRate;

use self::beside::System;
use self::case::Case;
use self::disturbed::Disturbance;
use self::meter::Folder;
use self::swarm::Swarm;
use crate::herd::Tracker;

/// Runs of what is compared by medians.
const PAIRS: u32 = 5;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How many agents there are, one number after the other [4,8,16,32; 4 with --stop-one, 20 with --liars, 8 with others].
    #[arg(long, value_delimiter = ',')]
    agents: Vec<u8>,
    /// Bytes of the file; left out, 64 MiB for 4 agents, 32 for up to 16 and 16 for more.
    #[arg(long)]
    size: Option<u64>,
    /// What every host's link carries, up and down; left out, 200 Mbit/s by the agents, so that the machine keeps up.
    #[arg(long)]
    rate: Option<ByteRate>,
    /// How long a packet may wait for a link, in milliseconds.
    #[arg(long, default_value_t = 50)]
    queue: u64,
    /// How often each is done, each time with new servers and agents [1; 5 with --stop-one, --kill-trackers and --liars].
    #[arg(long)]
    runs: Option<u32>,
    /// The congestion controller of all.
    #[arg(long, default_value_t)]
    congestion: Congestion,
    /// Bytes of the largest datagram that rdcq's nodes try; 6500 is what they do without settings.
    #[arg(long, default_value_t = 6500)]
    datagram: u16,
    /// To how much of their links' rate rdcq's nodes limit what they send, in percent; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    egress_percent: u8,
    /// One agent in so many has links of a quarter of the rate.
    #[arg(long, default_value_t = 0)]
    slow_every: u8,
    /// One agent is stopped in the middle, as a machine that hangs.
    #[arg(long, conflicts_with = "kill_trackers")]
    stop_one: bool,
    /// The tracker is killed early on.
    #[arg(long)]
    kill_trackers: bool,
    /// So many of the agents only say that they have the file, and send wrong bytes; beside the others alone.
    #[arg(long, conflicts_with_all = ["slow_every", "stop_one", "kill_trackers"])]
    liars: Option<u8>,
    /// So many files of 16 KiB to 1 MiB, beside one file as large as all of them.
    #[arg(long, conflicts_with_all = ["size", "stop_one", "kill_trackers", "liars"])]
    files: Option<u32>,
    /// Other systems that fan the same file out over the same links.
    #[arg(long, value_delimiter = ',', num_args = 0.., default_missing_value = "star,aria2,libtorrent,uftp")]
    beside: Vec<System>,
    /// Where logs, settings and counters of the last run are left.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Three agents, 2 MiB and 10 Mbit/s.
    #[arg(long)]
    short: bool,
}

pub(crate) async fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    if arguments.short {
        arguments.agents = vec![3];
        arguments.size.get_or_insert(2 << 20);
        arguments.rate.get_or_insert("10Mbit/s".parse()?);
    }
    let disturbance = arguments.disturbance();
    if arguments.agents.is_empty() {
        arguments.agents = match disturbance {
            Some(Disturbance::StopOne) => vec![4],
            Some(Disturbance::KillTrackers) => vec![8],
            Some(Disturbance::Liars) => vec![20],
            None if arguments.slow_every > 0 || arguments.files.is_some() => vec![8],
            None => vec![4, 8, 16, 32],
        };
    }
    let folder = || Folder::new(arguments.keep.as_deref());
    for agents in &arguments.agents {
        let case = arguments.case(*agents)?;
        if let Some(what) = disturbance {
            disturbed::run(case, what, arguments.runs.unwrap_or(PAIRS), folder).await?;
            continue;
        }
        for _ in 0..arguments.runs.unwrap_or(1) {
            if let Some(files) = arguments.files {
                many::run(case, files, folder).await?;
                continue;
            }
            let own = folder()?;
            Swarm::start(case, Tracker::Usual, &own)?.measure("rdcq").await?;
            for system in &arguments.beside {
                beside::run(case, *system, &folder()?).await?;
            }
        }
    }
    Ok(())
}

impl Arguments {
    const fn disturbance(&self) -> Option<Disturbance> {
        match (self.stop_one, self.kill_trackers, self.liars) {
            (true, ..) => Some(Disturbance::StopOne),
            (_, true, _) => Some(Disturbance::KillTrackers),
            (.., Some(_)) => Some(Disturbance::Liars),
            _ => None,
        }
    }

    fn case(&self, agents: u8) -> anyhow::Result<Case> {
        let mib = match agents {
            0..=4 => 64,
            5..=16 => 32,
            _ => 16,
        };
        let rate = || format!("{}kbit/s", 200_000 / u32::from(agents.max(1))).parse();
        let liars = self.liars.unwrap_or(0);
        ensure!(liars == 0 || liars < agents, "of {agents} agents {liars} lie: nobody is left to pull");
        Ok(Case {
            agents: agents - liars,
            liars,
            bytes: self.size.unwrap_or(mib << 20),
            rate: self.rate.map_or_else(rate, Ok)?,
            slow_every: self.slow_every,
            queue: Duration::from_millis(self.queue),
            congestion: self.congestion,
            datagram: self.datagram,
            egress_percent: self.egress_percent,
        })
    }
}
