//! `requests --loaded`: how long a request takes while bulk transfers use the cores.
//!
//! Two agents pull from the origin that is asked, over and over, a new one whenever one is done; both because between
//! two pulls of one agent the cores would rest. The bare request goes to a process of its own, in slices of time between
//! those of rdcq's, under the same pulls.

use std::time::Duration;

use super::{Arguments, Askers, Placed};
use crate::calling::Rate;
use crate::herd::{ETHERNET_DATAGRAM, Herd, Seeded};
use crate::report::{self, Line};
use crate::turns::{self, figures};

/// How long pulls run before the first request.
const WARM_UP: Duration = Duration::from_secs(1);

struct Slice {
    rate: Rate,
    /// Percent of the machine's cores that were in use.
    busy_percent: f64,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.size > 0, "--size must be at least 1");
    let folder = tempfile::Builder::new().prefix("rdcq-loaded-").tempdir_in(&arguments.dir)?;
    let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, 0)?;
    let seeded = Seeded::start(herd, arguments.size).await?;
    let mut askers = Askers::start(&seeded.herd, Placed::Any).await?;
    let slices = async {
        tokio::time::sleep(WARM_UP).await;
        let slices = turns::pairs(arguments.runs(), async |turn| {
            let before = Cores::now()?;
            let rate = askers.ask(turn, 1, arguments.seconds()).await?;
            Ok(Slice { rate, busy_percent: Cores::now()?.busy_percent_since(before) })
        });
        slices.await
    };
    let slices = tokio::select! {
        biased;
        failed = pull_on(&seeded) => return Err(failed.context("a pull failed")),
        failed = pull_on(&seeded) => return Err(failed.context("a pull failed")),
        slices = slices => slices?,
    };
    let line = |variant, unit, figure: &dyn Fn(&Slice) -> f64| {
        Line::of("requests", variant, unit, &figures(&slices, figure))
    };
    report::print(
        arguments.output,
        &[
            line("loaded-p50", "us", &|slice| slice.rate.p50_us),
            line("loaded-p99", "us", &|slice| slice.rate.p99_us),
            line("loaded", "requests/s", &|slice| slice.rate.per_second),
            line("loaded-cores", "% in use", &|slice| slice.busy_percent),
        ],
    )
}

/// Pulls until that fails.
async fn pull_on(seeded: &Seeded) -> anyhow::Error {
    loop {
        if let Err(error) = seeded.pull().await {
            return error;
        }
    }
}

/// What the machine's cores have done so far, in ticks.
#[derive(Clone, Copy)]
struct Cores {
    idle: f64,
    all: f64,
}

impl Cores {
    fn now() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted as users.
        Ok(Self { idle: ticks.iter().skip(3).take(2).sum(), all: ticks.iter().take(8).sum() })
    }

    fn busy_percent_since(self, before: Self) -> f64 {
        100.0 - (self.idle - before.idle) / (self.all - before.all) * 100.0
    }
}
