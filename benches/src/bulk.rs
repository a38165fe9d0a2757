//! `bulk`: one file, one origin, one agent.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bare::bulk::Received;
use crate::files::parse_size;
use crate::herd::{ETHERNET_DATAGRAM, Herd, Run, Seeded};
use crate::processes::Part;
use crate::report::{self, Line, Output};
use crate::turns::{self, Turn, figures};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Size of the file, for example 1GiB or 64MiB.
    #[arg(long, default_value = "1GiB", value_parser = parse_size)]
    size: u64,
    /// Bytes in a full datagram; may be given several times.
    #[arg(long, default_values_t = [ETHERNET_DATAGRAM, 6500])]
    datagram: Vec<u16>,
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

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.size > 0, "--size must be at least 1");
    let mut lines = Vec::new();
    for datagram in &arguments.datagram {
        lines.extend(compare(&arguments, *datagram).await?);
    }
    report::print(arguments.output, &lines)
}

async fn compare(arguments: &Arguments, datagram: u16) -> anyhow::Result<Vec<Line>> {
    let folder = tempfile::Builder::new().prefix("rdcq-bulk-").tempdir_in(&arguments.dir)?;
    let seeded = Seeded::start(Herd::new(folder.path(), datagram, 0)?, arguments.size).await?;
    let runs = turns::pairs(arguments.runs, async |turn| match turn {
        Turn::Variant => seeded.pull().await,
        Turn::Baseline => run_bare(&seeded, datagram, &folder.path().join("bare-target")).await,
    });
    let runs = runs.await?;
    let gigabytes = arguments.size as f64 / 1e9;
    let line = |variant, unit, figure: &dyn Fn(&Run) -> f64| {
        Line::of("bulk", format!("{variant}-{datagram}"), unit, &figures(&runs, figure))
    };
    Ok(vec![
        line("throughput", "Gbit/s", &|run| gigabytes * 8.0 / run.seconds),
        line("cpu-both", "CPU seconds per GB", &|run| (run.cpu.0 + run.cpu.1) / gigabytes),
        line("cpu-sender", "CPU seconds per GB", &|run| run.cpu.0 / gigabytes),
        line("cpu-receiver", "CPU seconds per GB", &|run| run.cpu.1 / gigabytes),
    ])
}

async fn run_bare(seeded: &Seeded, datagram: u16, target: &Path) -> anyhow::Result<Run> {
    let (certs, datagram) = (seeded.herd.certs(), datagram.to_string());
    let source = seeded.source.display().to_string();
    let (server, addr) = Part::start(&["bare-bulk-server", &certs, &source, &datagram]).await?;
    let arguments = ["bare-bulk-client", &certs, &addr, &target.display().to_string(), &datagram];
    let (mut client, _) = Part::start(&arguments).await?;
    let before = (server.cpu_seconds()?, client.cpu_seconds()?);
    let Received { seconds, digest } = client.ask("fetch").await?;
    let cpu = (server.cpu_seconds()? - before.0, client.cpu_seconds()? - before.1);
    anyhow::ensure!(digest == seeded.digest(), "the bare client received other bytes");
    fs::remove_file(target)?;
    Ok(Run { seconds, cpu })
}
