//! Settings that are saved a hundred times a second, half of them garbage.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rdcq_wire::{ByteRate, Class};

use crate::counters::{self, Counter, Look};
use crate::herd::{Ask, Puller, Source};
use crate::namespaces::Network;
use crate::report::{Figure, print};

/// How long streams run before anything is saved.
const BEFORE: Duration = Duration::from_secs(2);
/// Between two saves.
const EVERY: Duration = Duration::from_millis(10);
/// How long the good values of a row say the same; each such row begins with a change of the rate.
const ROW: Duration = Duration::from_secs(1);
/// Within which a new rate holds.
const EFFECTIVE: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Limits that follow one another, each for a second.
    #[arg(long, value_delimiter = ',', default_value = "40Mbit/s,80Mbit/s,60Mbit/s")]
    rates: Vec<ByteRate>,
    /// How long settings are saved, in seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Streams that want more than there is.
    #[arg(long, default_value_t = 16)]
    streams: u32,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
}

/// When a rate was saved for the first time of a row, and which.
struct Row {
    at: Duration,
    rate: ByteRate,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(!arguments.rates.is_empty() && arguments.seconds > 0, "nothing is to be saved");
    let folder = tempfile::Builder::new().prefix("rdcq-lab-").tempdir()?;
    let mut network = Network::new(2)?;
    let source = Source::start(folder.path(), &mut network, arguments.size)?;
    source.limit(&settings(arguments.rates[0], 0))?;
    let puller = Puller::new(&source, 1)?;
    let saving = ROW * arguments.seconds;
    let ask = Ask {
        class: Class::Normal,
        streams: arguments.streams,
        pieces: 32,
        from: Duration::ZERO,
        until: BEFORE + saving + ROW,
        rest: None,
    };
    let pull = puller.pull(&network, &source, ask)?;
    tokio::time::sleep(BEFORE).await;
    let watching = counters::watch(network.host(0), Counter::Sent, saving + ROW / 2, Look::Counters);
    let (watched, rows) = tokio::try_join!(watching, save(&network, &source, &arguments))?;
    let pulled = pull.await??;
    let figure = |variant: &str, value, unit, target| {
        let variant = variant.to_owned();
        print(&Figure { test: "reload", variant, value, unit, target })
    };
    let (mut least, mut least_awake, mut most) = (0.0_f64, 0.0_f64, 0.0_f64);
    for Row { at, rate } in &rows {
        // Within a second of which most is at the new rate.
        let (from, until) = (*at + EFFECTIVE, *at + ROW);
        let mean = counters::mean(&watched.samples, from, until).context("a limit was not measured")?;
        let limit = rate.bytes_per_second() as f64;
        let off = (mean - limit) / limit * 100.0;
        let excused = watched.stopped(from, until).as_secs_f64() / (until - from).as_secs_f64() * 100.0;
        (least, most) = (least.min(off), most.max(off));
        least_awake = least_awake.min(off + excused);
    }
    figure("least of all good values", least, "% off", 2.0)?;
    figure("least of all good values, had stops cost all that was due", least_awake, "% off", 2.0)?;
    figure("most of all good values", most, "% off", 2.0)?;
    figure("requests that failed", pulled.failed as f64, "requests", 0.0)?;
    figure("limits that followed one another", rows.len() as f64, "limits", f64::from(arguments.seconds))
}

/// Saves good and bad settings in turn, and has the servers read each of them at once.
async fn save(network: &Network, source: &Source, arguments: &Arguments) -> anyhow::Result<Vec<Row>> {
    let (mut rows, mut number) = (Vec::new(), 0);
    let mut tick = tokio::time::interval(EVERY);
    for rate in arguments.rates.iter().cycle().take(arguments.seconds as usize) {
        let row = Row { at: counters::now(), rate: *rate };
        while counters::now() < row.at + ROW {
            for text in [settings(*rate, number), garbage(*rate, number)] {
                source.limit(&text)?;
                source.reload(network)?;
                tick.tick().await;
            }
            number += 1;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Settings that differ from one number to the next, so that none is left out as known.
fn settings(rate: ByteRate, number: u32) -> String {
    let weight = 1 + number % 7;
    format!("[bandwidth.egress]\nlimit = \"{rate}\"\nclasses.background.weight = {weight}\n")
}

/// Settings of which nothing may hold, though each names a rate that would be seen.
fn garbage(rate: ByteRate, number: u32) -> String {
    let limit = "[bandwidth.egress]\nlimit = \"10Gbit/s\"\n";
    match number % 6 {
        0 => format!("{limit}classes.hurried.weight = 1\n"),
        1 => format!("{limit}classes.normal.minimum = \"11Gbit/s\"\n"),
        2 => "[bandwidth.egress]\nlimit = \"10Gb".to_owned(),
        3 => format!("[bandwidth.egress]\nlimit = \"{}\"\n", rate.bytes_per_second() * 100),
        4 => format!("{limit}classes.normal.ceiling = \"0\"\n"),
        _ => format!("{limit}\u{0}\n[[[\n"),
    }
}
