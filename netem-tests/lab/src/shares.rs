//! Who has how much of a limit: streams, peers and classes.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rdcq_wire::{ByteRate, Class};

use crate::counters::{self, Counter, Look};
use crate::herd::{Ask, Puller, Source};
use crate::namespaces::Network;
use crate::puller::Pulled;
use crate::report::{Figure, print};

/// How long streams run before anything counts.
const BEFORE: Duration = Duration::from_secs(3);
/// Over which a class is seen to be idle or not.
const MOMENT: Duration = Duration::from_millis(10);
/// Over which a rate is measured while shares change hands; a grant or two are a tenth of what moves in it.
const STRETCH: Duration = Duration::from_millis(40);
/// What of a rate counts as all of it within a stretch.
const NEARLY: f64 = 0.9;
/// What of its share a class that is idle has at most.
const IDLE: f64 = 0.1;
/// Peers that share, the first with one stream, each with twelve more than the one before.
const PEERS: u32 = 10;
/// Peers that share the streams that are alike.
const ALIKE: u32 = 4;

#[derive(Args)]
pub(crate) struct Fairness {
    /// The limit that is shared.
    #[arg(long, default_value = "1Gbit/s")]
    rate: ByteRate,
    /// Equal streams, of four peers: one connection has 256 at most.
    #[arg(long, default_value_t = 1000)]
    streams: u32,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
}

#[derive(Args)]
pub(crate) struct Classes {
    /// The limit that is shared.
    #[arg(long, default_value = "200Mbit/s")]
    rate: ByteRate,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
}

/// Equal streams, then peers with one stream to many.
pub(crate) async fn fairness(arguments: Fairness) -> anyhow::Result<()> {
    let Fairness { rate, streams, size } = arguments;
    let second = Duration::from_secs(1);
    let lab = Shared::start(rate, size, PEERS)?;
    let asks: Vec<_> = (1..=ALIKE)
        .map(|peer| (peer as usize, Class::Normal, streams / ALIKE + u32::from(peer <= streams % ALIKE)))
        .filter(|(_, _, streams)| *streams > 0)
        .collect();
    let figure = |variant: String, value, unit, target| {
        print(&Figure { test: "fairness", variant, value, unit, target })
    };
    let bytes: Vec<_> = lab.pull(&asks, second).await?.into_iter().flat_map(|pulled| pulled.bytes).collect();
    figure(format!("{streams} streams over a second"), jain(&bytes), "Jain", 0.99)?;
    figure(format!("{streams} streams: payload"), per_second(&bytes, rate), "of the limit", 1.0)?;
    let asks: Vec<_> = (1..=PEERS).map(|peer| (peer as usize, Class::Normal, 1 + (peer - 1) * 11)).collect();
    let bytes: Vec<_> = lab.pull(&asks, second).await?.iter().map(Pulled::sum).collect();
    let most = asks[asks.len() - 1].2;
    figure(format!("{PEERS} peers with 1 to {most} streams over a second"), jain(&bytes), "Jain", 0.99)?;
    figure(format!("{PEERS} peers: payload"), per_second(&bytes, rate), "of the limit", 1.0)
}

/// What of a rate came within a second.
fn per_second(bytes: &[u64], rate: ByteRate) -> f64 {
    bytes.iter().sum::<u64>() as f64 / rate.bytes_per_second() as f64
}

/// Three classes that want more than there is, weighing 8, 4 and 1.
pub(crate) async fn classes(arguments: Classes) -> anyhow::Result<()> {
    let lab = Shared::start(arguments.rate, arguments.size, 3)?;
    let asks = [(1, Class::Urgent, 16), (2, Class::Normal, 16), (3, Class::Background, 16)];
    let bytes: Vec<_> = lab.pull(&asks, Duration::from_secs(5)).await?.iter().map(Pulled::sum).collect();
    let sum: u64 = bytes.iter().sum();
    for (((_, class, _), weight), bytes) in asks.into_iter().zip([8.0, 4.0, 1.0]).zip(bytes) {
        let value = (bytes as f64 / sum as f64 / (weight / 13.0) - 1.0) * 100.0;
        let variant = format!("{class} of 8:4:1 at {}", arguments.rate);
        print(&Figure { test: "classes", variant, value, unit: "% off its share", target: 2.0 })?;
    }
    let HandOver { taken, given_back } = lab.hand_over(&asks, arguments.rate, 8.0 / 13.0).await?;
    for (variant, time) in [("taken", taken), ("given back", given_back)] {
        let (variant, value) = (format!("a share that is idle, {variant}"), time.as_secs_f64() * 1000.0);
        print(&Figure { test: "classes", variant, value, unit: "ms", target: 100.0 })?;
    }
    Ok(())
}

/// How fast a share changes hands.
struct HandOver {
    /// From when a class wants nothing any more until the others have nearly all there is.
    taken: Duration,
    /// From when it has something again until it has nearly its share.
    given_back: Duration,
}

/// A limited source, and nodes that pull from it.
struct Shared {
    // In this order: what runs in the network ends before its folder goes.
    network: Network,
    source: Source,
    pullers: Vec<Puller>,
    _folder: tempfile::TempDir,
}

impl Shared {
    fn start(rate: ByteRate, size: u64, peers: u32) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rdcq-lab-").tempdir()?;
        let mut network = Network::new(u8::try_from(peers + 1)?)?;
        let source = Source::start(folder.path(), &mut network, size)?;
        source.limit(&format!("[bandwidth.egress]\nlimit = \"{rate}\"\n"))?;
        let pullers =
            (1..=peers as usize).map(|host| Puller::new(&source, host)).collect::<anyhow::Result<_>>()?;
        Ok(Self { network, source, pullers, _folder: folder })
    }

    /// Pulls on these hosts, and says what came within the same time.
    async fn pull(&self, asks: &[(usize, Class, u32)], time: Duration) -> anyhow::Result<Vec<Pulled>> {
        let pulls = asks.iter().map(|&(host, class, streams)| {
            // Few streams ask for much, so that they always want something.
            let pieces = (256 / streams).clamp(4, 32);
            let ask = Ask { class, streams, pieces, from: BEFORE, until: BEFORE + time, rest: None };
            self.pullers[host - 1].pull(&self.network, &self.source, ask)
        });
        let pulls = pulls.collect::<anyhow::Result<Vec<_>>>()?;
        let mut pulled = Vec::new();
        for pull in pulls {
            pulled.push(pull.await??);
        }
        Ok(pulled)
    }
}

impl Shared {
    /// Has the first of those who ask, whose share is known, rest for a second while the others go on.
    async fn hand_over(
        &self,
        asks: &[(usize, Class, u32)],
        rate: ByteRate,
        share: f64,
    ) -> anyhow::Result<HandOver> {
        let second = Duration::from_secs(1);
        let until = BEFORE + second * 3;
        let pulls = (0..).zip(asks).map(|(number, &(host, class, streams))| {
            let rest = (number == 0).then_some((BEFORE + second, BEFORE + second * 2));
            let ask = Ask { class, streams, pieces: 16, from: BEFORE, until, rest };
            self.pullers[host - 1].pull(&self.network, &self.source, ask)
        });
        let pulls = pulls.collect::<anyhow::Result<Vec<_>>>()?;
        tokio::time::sleep(BEFORE).await;
        let (all, first) = tokio::try_join!(
            counters::watch(self.network.host(0), Counter::Sent, second * 3, Look::Counters),
            counters::watch(self.network.host(asks[0].0), Counter::Received, second * 3, Look::Counters),
        )?;
        for pull in pulls {
            pull.await??;
        }
        let limit = rate.bytes_per_second() as f64;
        let share = limit * share;
        let nearly = |whole: f64| move |rate: f64| rate >= whole * NEARLY;
        let when = |found: Option<Duration>, what: &str| {
            found.with_context(|| format!("the class was never {what}"))
        };
        let begun = when(counters::first(&first.samples, Duration::ZERO, STRETCH, nearly(share)), "busy")?;
        let idle = |rate: f64| rate < share * IDLE;
        let rests = when(counters::first(&first.samples, begun, MOMENT, idle), "idle")? - MOMENT;
        let taken = when(counters::first(&all.samples, rests, STRETCH, nearly(limit)), "replaced")? - rests;
        let back = counters::first(&first.samples, rests + second / 2, MOMENT, |rate| !idle(rate));
        let back = when(back, "back")? - MOMENT;
        let given_back =
            when(counters::first(&first.samples, back, STRETCH, nearly(share)), "served again")? - back;
        Ok(HandOver { taken, given_back })
    }
}

/// How even a division is: 1 if all have the same, 1/n if one has all (Jain, Chiu and Hawe, 1984).
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}
