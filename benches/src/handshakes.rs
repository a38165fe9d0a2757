//! `handshakes`: connections opened and closed, 16 at a time.
//!
//! Both sides: full handshakes with certificates of both, X25519, no resumption; the server then says one message on a
//! stream of its own (rdcq its Hello, bare as many bytes), the client reads it and closes.

use std::path::PathBuf;

use rdcq_wire::Role;

use crate::calling::Rate;
use crate::client::Member;
use crate::herd::{ETHERNET_DATAGRAM, Herd};
use crate::processes::Part;
use crate::report::{self, Line, Output};
use crate::turns::{self, Turn, figures};

/// Seconds before the first measurement, in which everything that is done once is done.
const WARM_UP_S: f64 = 0.5;
/// Connections that are still being forgotten while new ones come: handshakes of a few seconds.
const LINGERING: usize = 20_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seconds for each run of each side.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
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

struct Run {
    per_second: f64,
    /// CPU milliseconds of the server and of the client for each handshake.
    cpu_ms: (f64, f64),
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("rdcq-handshakes-").tempdir_in(&arguments.dir)?;
    let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, LINGERING)?;
    let (certs, addr) = (herd.certs(), herd.tracker_addr().to_string());
    let node = herd.start_tracker().await?;
    let (mut caller, _) = Part::start(&["caller", &certs, &addr, Role::Tracker.name()]).await?;
    let hello = Member::load(certs.as_ref())?.hello_len()?.to_string();
    let (server, addr) = Part::start(&["bare-server", "greet", &certs, &hello, "0", "0"]).await?;
    let (mut bare, _) = Part::start(&["bare-caller", &certs, &addr, &hello, "0", "0"]).await?;
    shake(&node, &mut caller, WARM_UP_S).await?;
    shake(&server, &mut bare, WARM_UP_S).await?;
    let runs = turns::pairs(arguments.runs, async |turn| match turn {
        Turn::Variant => shake(&node, &mut caller, arguments.seconds).await,
        Turn::Baseline => shake(&server, &mut bare, arguments.seconds).await,
    });
    let runs = runs.await?;
    let line = |variant, unit, figure: &dyn Fn(&Run) -> f64| {
        Line::of("handshakes", variant, unit, &figures(&runs, figure))
    };
    report::print(
        arguments.output,
        &[
            line("rate", "handshakes/s", &|run| run.per_second),
            line("cpu-server", "CPU ms", &|run| run.cpu_ms.0),
            line("cpu-client", "CPU ms", &|run| run.cpu_ms.1),
        ],
    )
}

async fn shake(server: &Part, client: &mut Part, seconds: f64) -> anyhow::Result<Run> {
    let before = (server.cpu_seconds()?, client.cpu_seconds()?);
    let rate: Rate = client.ask(&format!("handshakes {seconds}")).await?;
    let cpu = (server.cpu_seconds()? - before.0, client.cpu_seconds()? - before.1);
    let each = 1e3 / rate.count as f64;
    Ok(Run { per_second: rate.per_second, cpu_ms: (cpu.0 * each, cpu.1 * each) })
}
