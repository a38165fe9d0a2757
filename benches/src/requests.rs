//! `requests`: about 64 bytes each way, one and 64 at a time, and while files are pulled.
//!
//! Whoever answers and whoever asks have a core each, except while files are pulled.
//!
//! rdcq's request is one that costs an origin next to nothing, over a pool, as nodes ask each other. Bare asks and is
//! answered with as many bytes as that has, each on a stream of its own.

mod loaded;

use std::path::PathBuf;

use rdcq_wire::Role;

use crate::calling::Rate;
use crate::client::ask_lens;
use crate::cores::OneCore;
use crate::files::parse_size;
use crate::herd::{ETHERNET_DATAGRAM, Herd};
use crate::processes::Part;
use crate::report::{self, Line, Output};
use crate::turns::{self, Turn, figures};

/// Requests at once, where it is not one.
const IN_FLIGHT: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Measure how long requests take while files are pulled from the same origin.
    #[arg(long)]
    loaded: bool,
    /// Size of the files that are pulled.
    #[arg(long, default_value = "256MiB", value_parser = parse_size)]
    size: u64,
    /// Seconds for each run of each side: 0.2, for many short ones see the same noise on both sides; 2 with `--loaded`, where
    /// requests are fewer.
    #[arg(long)]
    seconds: Option<f64>,
    /// How many times each side is run, in turn: 100, and 15 with `--loaded`.
    #[arg(long)]
    runs: Option<usize>,
    /// Where files are made; a folder in memory keeps the disk's noise out.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Arguments {
    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.loaded { 2.0 } else { 0.2 })
    }

    fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.loaded { 15 } else { 100 })
    }
}

/// Where those that ask and those that answer run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// On a core each.
    Apart,
    /// Wherever the kernel has them.
    Any,
}

/// Who asks: an origin, or a bare server, which is kept here.
struct Askers {
    rdcq: Part,
    bare: Part,
    _server: Part,
}

/// The core of those that answer, and that of those that ask.
const ANSWERING: usize = 0;
const ASKING: usize = 1;

impl Askers {
    async fn start(herd: &Herd, cores: Placed) -> anyhow::Result<Self> {
        let keep = |core| (cores == Placed::Apart).then(|| OneCore::keep(core)).transpose();
        let asking = keep(ASKING)?;
        let (certs, addr) = (herd.certs(), herd.origin_addr().to_string());
        let (rdcq, _) = Part::start(&["caller", &certs, &addr, Role::Origin.name()]).await?;
        drop(asking);
        let (request, answer) = ask_lens()?;
        let (request, answer) = (request.to_string(), answer.to_string());
        let answering = keep(ANSWERING)?;
        let (server, addr) = Part::start(&["bare-server", "answer", &certs, "0", &request, &answer]).await?;
        drop(answering);
        let _asking = keep(ASKING)?;
        let (bare, _) = Part::start(&["bare-caller", &certs, &addr, "0", &request, &answer]).await?;
        Ok(Self { rdcq, bare, _server: server })
    }

    async fn ask(&mut self, turn: Turn, in_flight: usize, seconds: f64) -> anyhow::Result<Rate> {
        let asker = if turn == Turn::Variant { &mut self.rdcq } else { &mut self.bare };
        asker.ask(&format!("requests {in_flight} {seconds}")).await
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.loaded {
        return loaded::run(&arguments).await;
    }
    let folder = tempfile::Builder::new().prefix("rdcq-requests-").tempdir_in(&arguments.dir)?;
    let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, 0)?;
    let answering = OneCore::keep(ANSWERING)?;
    let _origin = herd.start_origin().await?;
    drop(answering);
    let mut askers = Askers::start(&herd, Placed::Apart).await?;
    let mut lines = Vec::new();
    for (name, in_flight) in [("sequential", 1), ("64-in-flight", IN_FLIGHT)] {
        let runs = turns::pairs(arguments.runs(), async |turn| {
            askers.ask(turn, in_flight, arguments.seconds()).await
        });
        let runs = runs.await?;
        let line = |variant, unit, figure: &dyn Fn(&Rate) -> f64| {
            Line::of("requests", format!("{name}{variant}"), unit, &figures(&runs, figure))
        };
        lines.push(line("", "requests/s", &|rate| rate.per_second));
        lines.push(line("-p50", "us", &|rate| rate.p50_us));
        lines.push(line("-p99", "us", &|rate| rate.p99_us));
    }
    report::print(arguments.output, &lines)
}
