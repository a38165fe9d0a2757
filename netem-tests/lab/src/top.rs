//! What `rdcq top` shows, beside what the interface counts.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rdcq_wire::{ByteRate, Class};

use crate::counters::{self, Counter, Look};
use crate::herd::{Ask, Puller, Source};
use crate::namespaces::Network;
use crate::report::{Figure, print};

/// How long streams run before anything is read.
const BEFORE: Duration = Duration::from_secs(2);
/// Between the two readings of `rdcq top`.
const INTERVAL: Duration = Duration::from_secs(3);
/// How long the command may take to start and to ask.
const ASKING: Duration = Duration::from_secs(2);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The limit that the servers keep meanwhile.
    #[arg(long, default_value = "50Mbit/s")]
    rate: ByteRate,
    /// Streams that want more than there is.
    #[arg(long, default_value_t = 16)]
    streams: u32,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { rate, streams, size } = arguments;
    let folder = tempfile::Builder::new().prefix("rdcq-lab-").tempdir()?;
    let mut network = Network::new(2)?;
    let source = Source::start(folder.path(), &mut network, size)?;
    source.limit(&format!("[bandwidth.egress]\nlimit = \"{rate}\"\n"))?;
    let puller = Puller::new(&source, 1)?;
    let until = BEFORE + INTERVAL + ASKING;
    let ask = Ask { class: Class::Normal, streams, pieces: 32, from: BEFORE, until, rest: None };
    let pull = puller.pull(&network, &source, ask)?;
    tokio::time::sleep(BEFORE).await;
    let interval = format!("{}s", INTERVAL.as_secs());
    let origin = format!("origin={}", source.origin());
    let words = ["top", &origin, "--once", "--interval", &interval];
    let (watched, said) = tokio::try_join!(
        counters::watch(network.host(0), Counter::Sent, INTERVAL + ASKING / 2, Look::Counters),
        source.command(&network, &words),
    )?;
    pull.await??;
    let said: serde_json::Value = serde_json::from_str(&said).context(said)?;
    let egress = &said["nodes"][0]["egress"];
    let number = |key: &str| egress[key].as_f64().with_context(|| format!("no {key} in {said}"));
    let (shown, limit) = (number("bytes_per_second")?, number("limit_bytes_per_second")?);
    let (first, last) = watched.samples.first().zip(watched.samples.last()).context("no samples")?;
    let counted = counters::mean(&watched.samples, first.at, last.at).context("no samples")?;
    let figure = |variant: &str, value, unit, target| {
        print(&Figure { test: "top", variant: variant.into(), value, unit, target })
    };
    figure("egress, top by interface", (shown - counted) / counted * 100.0, "% off", 1.0)?;
    figure("limit, as shown", limit / rate.bytes_per_second() as f64, "of what was set", 1.0)
}
