//! `connections`: what idle connections cost the node that holds them, and those that pull meanwhile.

mod active;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdcq_wire::Role;

use crate::calling::Alive;
use crate::files::parse_size;
use crate::herd::{ETHERNET_DATAGRAM, Herd};
use crate::processes::Part;
use crate::report::{self, Line, Output};
use crate::turns::{Turn, figures};

/// What opening leaves behind is gone by then: acknowledgements, tasks of handshakes.
const SETTLE_OPEN: Duration = Duration::from_secs(3);
/// What closing leaves behind is gone by then: quinn keeps a closed connection for three probe timeouts.
const SETTLE_CLOSED: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many connections are held.
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Seconds for which they are held in the first round.
    #[arg(long, default_value_t = 300)]
    hold: u64,
    /// How often they are opened and closed.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// How many clients pull while the connections are held; then that is what is measured.
    #[arg(long)]
    active: Option<usize>,
    /// Size of what each of them pulls.
    #[arg(long, default_value = "8MiB", value_parser = parse_size)]
    size: u64,
    /// How many times each side is run: 1, or 15 with --active, unless said otherwise.
    #[arg(long)]
    runs: Option<usize>,
    /// Where files are made; a folder in memory keeps the disk's noise out.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.count > 0 && arguments.rounds > 0, "--count and --rounds must be at least 1");
    if let Some(clients) = arguments.active {
        return active::run(&arguments, clients).await;
    }
    let runs = arguments.runs.unwrap_or(1);
    anyhow::ensure!(runs > 0, "--runs must be at least 1");
    let mut pairs = Vec::new();
    for run in 0..runs {
        pairs.push(hold_both(&arguments, run).await?);
    }
    report::print(arguments.output, &lines(&arguments, &pairs))
}

/// A server and who holds connections to it, with what was seen of it.
struct Held {
    server: Part,
    caller: Part,
    seen: Seen,
}

/// What was seen of a server.
#[derive(Default)]
struct Seen {
    /// Bytes resident before the first connection.
    rss_before: f64,
    /// Bytes resident with all connections, in each round.
    rss_held: Vec<f64>,
    /// Live bytes of the heap before the first connection, with all, and after the last.
    heap: [Option<f64>; 3],
    opened_in_s: f64,
    idle_cpu_percent: f64,
    alive: Vec<Alive>,
}

/// Both sides in new processes: both hold their connections at the same time.
async fn hold_both(arguments: &Arguments, run: usize) -> anyhow::Result<(Seen, Seen)> {
    let folder = tempfile::Builder::new().prefix("rdcq-connections-").tempdir_in(&arguments.dir)?;
    let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, arguments.count)?;
    let (mut rdcq, mut bare) = (start_rdcq(&herd).await?, start_bare(&herd).await?);
    // One connection, so that what is allocated once is there before anything is compared.
    for side in [&mut rdcq, &mut bare] {
        let _: f64 = side.caller.ask("open 1").await?;
        let _: Alive = side.caller.ask("alive").await?;
        let () = side.caller.ask("close").await?;
    }
    tokio::time::sleep(SETTLE_CLOSED).await;
    let _: usize = bare.server.ask("purge").await?;
    for side in [&mut rdcq, &mut bare] {
        side.seen.rss_before = side.server.rss_bytes()?;
        side.seen.heap[0] = side.heap().await?;
    }
    for round in 0..arguments.rounds {
        for turn in Turn::order(run + round) {
            let side = if turn == Turn::Variant { &mut rdcq } else { &mut bare };
            side.open(arguments.count).await?;
        }
        let hold = if round == 0 { Duration::from_secs(arguments.hold) } else { Duration::ZERO };
        idle([&mut rdcq, &mut bare], hold).await?;
        for side in [&mut rdcq, &mut bare] {
            let () = side.caller.ask("close").await?;
        }
        tokio::time::sleep(SETTLE_CLOSED).await;
        let _: usize = bare.server.ask("purge").await?;
    }
    for side in [&mut rdcq, &mut bare] {
        side.seen.heap[2] = side.heap().await?;
    }
    Ok((rdcq.seen, bare.seen))
}

async fn start_rdcq(herd: &Herd) -> anyhow::Result<Held> {
    let server = herd.start_tracker().await?;
    let addr = herd.tracker_addr().to_string();
    let (caller, _) = Part::start(&["caller", &herd.certs(), &addr, Role::Tracker.name()]).await?;
    Ok(Held { server, caller, seen: Seen::default() })
}

async fn start_bare(herd: &Herd) -> anyhow::Result<Held> {
    let (server, addr) = Part::start(&["bare-server", "hold", &herd.certs(), "0", "0", "0"]).await?;
    let (caller, _) = Part::start(&["bare-caller", &herd.certs(), &addr, "0", "0", "0"]).await?;
    Ok(Held { server, caller, seen: Seen::default() })
}

/// Lets both sides be for a while, and looks what that costs them and whether all is still well afterwards.
async fn idle(sides: [&mut Held; 2], hold: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    let before = [sides[0].server.cpu_seconds()?, sides[1].server.cpu_seconds()?];
    tokio::time::sleep(hold).await;
    let elapsed = started.elapsed().as_secs_f64();
    for (side, before) in sides.into_iter().zip(before) {
        let used = side.server.cpu_seconds()? - before;
        if !hold.is_zero() {
            side.seen.idle_cpu_percent = used / elapsed * 100.0;
        }
        side.seen.alive.push(side.caller.ask("alive").await?);
    }
    Ok(())
}

impl Held {
    async fn open(&mut self, count: usize) -> anyhow::Result<()> {
        self.seen.opened_in_s = self.caller.ask(&format!("open {count}")).await?;
        tokio::time::sleep(SETTLE_OPEN).await;
        self.seen.rss_held.push(self.server.rss_bytes()?);
        self.seen.heap[1] = self.heap().await?;
        Ok(())
    }

    async fn heap(&mut self) -> anyhow::Result<Option<f64>> {
        self.server.ask("heap").await
    }
}

fn lines(arguments: &Arguments, pairs: &[(Seen, Seen)]) -> Vec<Line> {
    let count = arguments.count as f64;
    let line = |variant, unit, pairs: &[(f64, f64)]| Line::of("connections", variant, unit, pairs);
    let kib = |seen: &Seen| (seen.rss_held[0] - seen.rss_before) / count / 1024.0;
    let over: Vec<_> = pairs.iter().map(|(rdcq, bare)| (kib(rdcq) - kib(bare), kib(bare))).collect();
    let usable = |seen: &Seen| seen.alive.iter().map(|alive| alive.usable).min().unwrap_or(0) as f64;
    let alive: Vec<_> = pairs.iter().map(|(rdcq, _)| (usable(rdcq), count)).collect();
    let answered = |seen: &Seen| seen.alive.iter().map(|alive| alive.answered).min().unwrap_or(0) as f64;
    let sample = |seen: &Seen| seen.alive.first().map_or(0, |alive| alive.sample) as f64;
    let answers: Vec<_> = pairs.iter().map(|(rdcq, _)| (answered(rdcq), sample(rdcq))).collect();
    let mut lines = vec![
        line("kib-per-connection", "KiB", &figures(pairs, kib)),
        line("over-bare", "KiB", &over),
        line("idle-cpu-percent", "% of a core", &figures(pairs, |seen| seen.idle_cpu_percent)),
        line("alive", "connections", &alive),
        line("answered", "of a sample", &answers),
        line("opened", "connections/s", &figures(pairs, |seen| count / seen.opened_in_s)),
    ];
    if arguments.rounds > 1 {
        let again = |seen: &Seen| seen.rss_held[seen.rss_held.len() - 1] / seen.rss_held[0];
        lines.push(line("rss-second-round", "x the first's", &figures(pairs, again)));
    }
    if pairs.iter().all(|(rdcq, _)| rdcq.heap[0].is_some()) {
        let at = |seen: &Seen, when: usize| seen.heap[when].unwrap_or(f64::NAN);
        let each = |seen: &Seen| (at(seen, 1) - at(seen, 0)) / count / 1024.0;
        let left = |seen: &Seen| (at(seen, 2) - at(seen, 0)) / (at(seen, 1) - at(seen, 0));
        lines.extend([
            line("heap-per-connection", "KiB", &figures(pairs, each)),
            line("heap-left-of-growth", "share", &figures(pairs, left)),
            line("heap-after-close", "x before", &figures(pairs, |seen| at(seen, 2) / at(seen, 0))),
        ]);
    }
    lines
}
