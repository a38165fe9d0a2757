//! How long a pull takes over long and lossy links.

use std::time::Duration;

use clap::Args;
use rdcq_config::Congestion;
use rdcq_wire::ByteRate;
use serde::Serialize;

use crate::means::Means;
use crate::path::{Bottleneck, Outcome, Path};
use crate::report::{Rounded, median, print};

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    bottleneck: Bottleneck,
    /// Round trips, in milliseconds.
    #[arg(long, value_delimiter = ',', default_value = "1,20,100")]
    rtts: Vec<u64>,
    /// Packets lost each way, in percent.
    #[arg(long, value_delimiter = ',', default_value = "0,0.1,1,5")]
    losses: Vec<f64>,
    /// Controllers that take turns.
    #[arg(long, value_delimiter = ',', default_value = "tolerant-cubic,cubic,new-reno,bbr")]
    controllers: Vec<Congestion>,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
    /// How often each is done.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// How long a pull may take, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// A file of 2 MiB once with cubic and bbr, at 20 ms without loss and with 1 %.
    #[arg(long)]
    short: bool,
}

/// One pull.
#[derive(Serialize)]
struct Pulled {
    test: &'static str,
    means: Means,
    #[serde(flatten)]
    cell: Cell,
    /// Until the last verified byte; none if that was not in time.
    seconds: Option<Rounded>,
    /// Those by what the file takes at the link's rate.
    ratio: Option<Rounded>,
    /// With the command's start, and with the file written.
    command_seconds: Option<Rounded>,
    sent_bytes: u64,
    right: bool,
    busy: Rounded,
}

/// What the pulls of a cell came to.
#[derive(Serialize)]
struct Median {
    test: &'static str,
    #[serde(flatten)]
    cell: Cell,
    runs: usize,
    /// None if half of them were not in time.
    ratio: Option<Rounded>,
    /// Sent by the source for each byte of the file.
    sent: Rounded,
    right: bool,
}

#[derive(Serialize, Clone, Copy)]
struct Cell {
    #[serde(serialize_with = "crate::report::shown")]
    congestion: Congestion,
    #[serde(serialize_with = "crate::report::shown")]
    rate: ByteRate,
    rtt_ms: u64,
    loss_percent: f64,
    queue_ms: u64,
    bytes: u64,
}

pub(crate) async fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    if arguments.short {
        (arguments.rtts, arguments.losses, arguments.runs) = (vec![20], vec![0.0, 1.0], 1);
        arguments.size = 2 << 20;
        arguments.controllers = vec![Congestion::Cubic, Congestion::Bbr];
    }
    let mut path = Path::start(&arguments.controllers, arguments.size, arguments.bottleneck.means)?;
    for rtt in &arguments.rtts {
        for loss in &arguments.losses {
            measure(&arguments, &mut path, *rtt, *loss).await?;
        }
    }
    Ok(())
}

/// All controllers on one link, in turns.
async fn measure(
    arguments: &Arguments,
    path: &mut Path,
    rtt_ms: u64,
    loss_percent: f64,
) -> anyhow::Result<()> {
    let Arguments { size: bytes, runs, patience, .. } = *arguments;
    let Bottleneck { rate, queue: queue_ms, .. } = arguments.bottleneck;
    let link = arguments.bottleneck.link(rtt_ms, loss_percent / 100.0);
    let bound = bytes as f64 / rate.bytes_per_second() as f64;
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); path.sources.len()];
    let cell = |congestion| Cell { congestion, rate, rtt_ms, loss_percent, queue_ms, bytes };
    for _ in 0..runs {
        for (number, outcomes) in outcomes.iter_mut().enumerate() {
            let patience = Duration::from_secs(patience);
            let (outcome, _) = path.pull(number, link, patience, async |_: &Path| Ok(())).await?;
            let Outcome { fetched, right, sent_bytes, busy } = outcome;
            print(&Pulled {
                test: "links",
                means: path.network.means(),
                cell: cell(path.sources[number].0),
                seconds: fetched.map(|fetched| Rounded(fetched.seconds)),
                ratio: fetched.map(|fetched| Rounded(fetched.seconds / bound)),
                command_seconds: fetched.map(|fetched| Rounded(fetched.command_seconds)),
                sent_bytes,
                right,
                busy: Rounded(busy),
            })?;
            outcomes.push(outcome);
        }
    }
    for ((congestion, _), outcomes) in path.sources.iter().zip(outcomes) {
        let took = outcomes.iter().map(|one| one.fetched.map_or(f64::INFINITY, |fetched| fetched.seconds));
        let took = median(took.collect());
        let sent = median(outcomes.iter().map(|one| one.sent_bytes as f64).collect());
        print(&Median {
            test: "links, median",
            cell: cell(*congestion),
            runs: outcomes.len(),
            ratio: took.is_finite().then_some(Rounded(took / bound)),
            sent: Rounded(sent / bytes as f64),
            right: outcomes.iter().all(|one| one.right),
        })?;
    }
    Ok(())
}
