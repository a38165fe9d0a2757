//! `limits`: what it costs that bandwidth is limited, as long as there is enough of it.

use std::path::{Path, PathBuf};

use crate::files::parse_size;
use crate::herd::{Counts, ETHERNET_DATAGRAM, Herd, Run, Seeded};
use crate::report::{self, Line, Output};
use crate::turns::{self, Turn, figures};

/// Limits in both directions that no machine reaches.
const AMPLE: &str = "[bandwidth.egress]\nlimit = \"40Gbit/s\"\n[bandwidth.ingress]\nlimit = \"40Gbit/s\"\n";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Size of the file, for example 1GiB or 64MiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// How many times each side is run, in turn.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Counts instructions with valgrind's callgrind instead of taking times; a size of 32MiB takes a minute a run.
    #[arg(long)]
    instructions: bool,
    /// Where files are made; a folder in memory keeps the disk's noise out.
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How results are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.size > 0, "--size must be at least 1");
    let lines =
        if arguments.instructions { instructions(&arguments).await? } else { times(&arguments).await? };
    report::print(arguments.output, &lines)
}

const fn sections(turn: Turn) -> &'static str {
    match turn {
        Turn::Variant => AMPLE,
        Turn::Baseline => "",
    }
}

fn folder(dir: &Path) -> anyhow::Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("rdcq-limits-").tempdir_in(dir)?)
}

async fn times(arguments: &Arguments) -> anyhow::Result<Vec<Line>> {
    let folders = (folder(&arguments.dir)?, folder(&arguments.dir)?);
    let start = async |folder: &tempfile::TempDir, turn| {
        let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, 0)?.with(sections(turn), Counts::Nothing);
        Seeded::start(herd, arguments.size).await
    };
    let limited = start(&folders.0, Turn::Variant).await?;
    let free = start(&folders.1, Turn::Baseline).await?;
    let pull = async |turn| match turn {
        Turn::Variant => limited.pull().await,
        Turn::Baseline => free.pull().await,
    };
    let runs = turns::pairs(arguments.runs, pull).await?;
    let gigabytes = arguments.size as f64 / 1e9;
    let line = |variant, unit, figure: &dyn Fn(&Run) -> f64| {
        Line::of("limits", variant, unit, &figures(&runs, figure))
    };
    Ok(vec![
        line("throughput", "Gbit/s", &|run| gigabytes * 8.0 / run.seconds),
        line("cpu-both", "CPU seconds per GB", &|run| (run.cpu.0 + run.cpu.1) / gigabytes),
    ])
}

async fn instructions(arguments: &Arguments) -> anyhow::Result<Vec<Line>> {
    let count = async |turn| {
        let folder = folder(&arguments.dir)?;
        let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, 0)?.with(sections(turn), Counts::Instructions);
        let seeded = Seeded::start(herd, arguments.size).await?;
        seeded.count_pull().await
    };
    let runs = turns::pairs(arguments.runs, count).await?;
    let mebibytes = arguments.size as f64 / f64::from(1 << 20);
    let line = |variant, figure: &dyn Fn(&(f64, f64)) -> f64| {
        Line::of("limits", variant, "instructions per MiB", &figures(&runs, |run| figure(run) / mebibytes))
    };
    Ok(vec![
        line("instructions-both", &|run| run.0 + run.1),
        line("instructions-sender", &|run| run.0),
        line("instructions-receiver", &|run| run.1),
    ])
}
