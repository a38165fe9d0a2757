//! One limit, and what leaves the host's interface.

use std::time::Duration;

use clap::Args;
use rdcq_wire::{ByteRate, Class};

use crate::counters::{self, Counter, Look, Rates, Sample, Watched};
use crate::herd::{Ask, Puller, Source};
use crate::namespaces::Network;
use crate::report::{Figure, print};

/// How long streams run before anything counts.
const BEFORE: Duration = Duration::from_secs(2);
/// Bytes of two packets, which an interface may be off by at any moment.
const TWO_PACKETS: f64 = 2.0 * 1494.0;
/// Bytes of two send batches.
const TWO_BATCHES: f64 = 2.0 * 64.0 * 1024.0;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Limits to be kept, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1Mbit/s,10Mbit/s,100Mbit/s,500Mbit/s,1Gbit/s")]
    rates: Vec<ByteRate>,
    /// Streams that want more than there is.
    #[arg(long, value_delimiter = ',', default_value = "1,16,1000")]
    streams: Vec<u32>,
    /// How long each is watched, in seconds.
    #[arg(long, default_value_t = 11)]
    seconds: u64,
    /// How long each packet is looked at after that, in seconds.
    #[arg(long, default_value_t = 3)]
    burst_seconds: u64,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("rdcq-lab-").tempdir()?;
    let mut network = Network::new(3)?;
    let source = Source::start(folder.path(), &mut network, arguments.size)?;
    // Two of them, so that both of the origin's data sockets are in use.
    let pullers = [1, 2].map(|host| Puller::new(&source, host));
    let pullers = pullers.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    for rate in &arguments.rates {
        source.limit(&format!("[bandwidth.egress]\nlimit = \"{rate}\"\n"))?;
        for streams in &arguments.streams {
            let (watched, packets) = load(&network, &source, &pullers, *streams, &arguments).await?;
            judge(&watched, &packets, *rate, *streams)?;
        }
    }
    Ok(())
}

/// Has so many streams pull, and watches the servers' interface meanwhile: its counters, and then its packets, as looking at
/// each of them takes a part of a machine that may be full.
async fn load(
    network: &Network,
    source: &Source,
    pullers: &[Puller],
    streams: u32,
    arguments: &Arguments,
) -> anyhow::Result<(Watched, Vec<Sample>)> {
    let [time, burst] = [arguments.seconds, arguments.burst_seconds].map(Duration::from_secs);
    let count = u32::try_from(pullers.len())?;
    let ask = |own| Ask {
        class: Class::Normal,
        streams: own,
        pieces: if streams > 100 { 4 } else { 32 },
        from: BEFORE,
        until: BEFORE + time + burst + Duration::from_secs(1),
        rest: None,
    };
    let pulls = (0..).zip(pullers).filter_map(|(number, puller)| {
        let own = streams / count + u32::from(number < streams % count);
        (own > 0).then(|| puller.pull(network, source, ask(own)))
    });
    let pulls: Vec<_> = pulls.collect::<anyhow::Result<_>>()?;
    tokio::time::sleep(BEFORE).await;
    let watch = |time, look| counters::watch(network.host(0), Counter::Sent, time, look);
    let watched = watch(time, Look::Counters).await?;
    let packets = watch(burst, Look::Packets).await?.checked_packets()?;
    for pull in pulls {
        let pulled = pull.await??;
        anyhow::ensure!(pulled.sum() > 0, "a puller got nothing");
        anyhow::ensure!(pulled.failed == 0, "{} requests failed", pulled.failed);
    }
    Ok((watched, packets))
}

fn judge(watched: &Watched, packets: &[Sample], rate: ByteRate, streams: u32) -> anyhow::Result<()> {
    let limit = rate.bytes_per_second() as f64;
    let figure = |variant: &str, value, unit, target| {
        let variant = format!("{variant}, {rate}, {streams} streams");
        print(&Figure { test: "accuracy", variant, value, unit, target })
    };
    for (length, part) in [(1, 0.01_f64), (10, 0.002)] {
        let time = Duration::from_secs(length);
        let Some(Rates { least, least_awake, most }) = watched.rates(time, limit) else { continue };
        let off = |rate: f64| (rate - limit) / limit * 100.0;
        let target = 100.0 * part.max(TWO_PACKETS / limit / time.as_secs_f64());
        figure(&format!("least over {length} s"), off(least), "% off", target)?;
        let variant = format!("least over {length} s, had stops cost all that was due");
        figure(&variant, off(least_awake), "% off", target)?;
        figure(&format!("most over {length} s"), off(most), "% off", target)?;
    }
    let [begin, .., end] = &*watched.samples else { anyhow::bail!("nothing was seen") };
    let stopped = watched.stopped(begin.at, end.at).as_secs_f64() / (end.at - begin.at).as_secs_f64();
    figure("a processor stood still", stopped * 100.0, "% of the time", 0.0)?;
    let target = (limit * 0.02).max(TWO_BATCHES);
    figure("burst", counters::burst(packets, limit), "bytes", target)
}
