//! `flood`: pulls while strangers knock.
//!
//! Strangers of another CA begin handshakes with the origin and send garbage to it while an agent pulls from it; the
//! baseline is the same flood aimed at a socket that nobody reads, so that what the flood itself costs the machine's
//! cores is on both sides, but for the strangers' own part of handshakes that come to something.

pub(crate) mod flooder;

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use rdcq_wire::TagQuery;

use crate::files::parse_size;
use crate::herd::{ETHERNET_DATAGRAM, Herd, Run, Seeded};
use crate::processes::Part;
use crate::report::{self, Line, Output};
use crate::turns::{self, Turn, figures};

use flooder::Reached;

/// How long the flood runs before the pull begins.
const RISING: Duration = Duration::from_millis(500);
/// How long the origin rests after it, so that one run does not pay for another.
const FALLING: Duration = Duration::from_secs(1);
/// Pulls before the first that counts.
const WARM_UP: usize = 2;
/// How often memory is looked at during a pull.
const LOOK: Duration = Duration::from_millis(50);
const MIB: f64 = 1024.0 * 1024.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Handshakes begun a second.
    #[arg(long, default_value_t = 1000)]
    handshakes: u32,
    /// Datagrams of garbage a second.
    #[arg(long, default_value_t = 50_000)]
    garbage: u32,
    /// Size of what is pulled.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    size: u64,
    /// How many times each side is run, in turn.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Where files are made; a folder in memory keeps the disk's noise out.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// A pull beside a flood.
struct Beside {
    run: Run,
    reached: Reached,
    /// CPU seconds of the flooder for each second of the flood.
    flooder_cores: f64,
    /// Most bytes that the origin had resident during the flood, over the most before the first.
    growth: f64,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.size > 0, "--size must be at least 1");
    let folder = tempfile::Builder::new().prefix("rdcq-flood-").tempdir_in(&arguments.dir)?;
    let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, 0)?;
    let (certs, outsider) = (herd.certs(), herd.outsider()?);
    let seeded = Seeded::start(herd, arguments.size).await?;
    let (handshakes, garbage) = (arguments.handshakes.to_string(), arguments.garbage.to_string());
    let (mut flooder, _) = Part::start(&["flooder", &certs, &outsider, &handshakes, &garbage]).await?;
    let unread = UdpSocket::bind("127.0.0.1:0")?;
    let aims = (seeded.herd.origin_addr(), unread.local_addr()?);
    let opener = seeded.push_opener().await?;
    // What pulls take of memory beside a flood that the origin knows nothing of is no growth.
    let mut before = 0.0_f64;
    for _ in 0..WARM_UP {
        before = before.max(pull_beside(&seeded, &opener, &mut flooder, aims.1, 0.0).await?.growth);
    }
    let pairs = turns::pairs(arguments.runs, async |turn| {
        let aim = if turn == Turn::Variant { aims.0 } else { aims.1 };
        let beside = pull_beside(&seeded, &opener, &mut flooder, aim, before).await?;
        tokio::time::sleep(FALLING).await;
        Ok(beside)
    });
    let pairs = pairs.await?;
    let line = |variant, unit, figure: &dyn Fn(&Beside) -> f64| {
        Line::of("flood", variant, unit, &figures(&pairs, figure))
    };
    let gigabits = arguments.size as f64 * 8.0 / 1e9;
    report::print(
        arguments.output,
        &[
            line("throughput", "Gbit/s", &|beside| gigabits / beside.run.seconds),
            line("rss-growth", "MiB", &|beside| beside.growth / MIB),
            line("handshakes-begun", "1/s", &|beside| beside.reached.handshakes_per_s),
            line("handshakes-answered", "1/s", &|beside| beside.reached.answered_per_s),
            line("handshakes-skipped", "1/s", &|beside| beside.reached.skipped_per_s),
            line("garbage", "datagrams/s", &|beside| beside.reached.garbage_per_s),
            line("flooder-cpu", "cores", &|beside| beside.flooder_cores),
        ],
    )
}

async fn pull_beside(
    seeded: &Seeded,
    opener: &TagQuery,
    flooder: &mut Part,
    aim: SocketAddr,
    before: f64,
) -> anyhow::Result<Beside> {
    let agent = seeded.herd.start_agent().await?;
    // What a flood must not slow down is what is under way: the agent is connected before it begins.
    seeded.open_through(&agent, opener).await?;
    let used = flooder.cpu_seconds()?;
    let () = flooder.ask(&format!("aim {aim}")).await?;
    tokio::time::sleep(RISING).await;
    let mut most = 0.0_f64;
    let pull = seeded.pull_through(&agent);
    tokio::pin!(pull);
    let run = loop {
        tokio::select! {
            biased;
            run = &mut pull => break run?,
            () = tokio::time::sleep(LOOK) => most = most.max(seeded.origin.rss_bytes()?),
        }
    };
    most = most.max(seeded.origin.rss_bytes()?);
    let reached: Reached = flooder.ask("stop").await?;
    let flooder_cores = (flooder.cpu_seconds()? - used) / reached.seconds;
    Ok(Beside { run, reached, flooder_cores, growth: most - before })
}
