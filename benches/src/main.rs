//! What is fast, measured beside bare quinn in the same run.
//!
//! Machines that run this are shared: wall time moves by a factor of two between repeats. Each variant therefore takes
//! turns with its baseline, and what counts is the ratio within the run. A file is a bench; what they share is the herd
//! that is measured (`herd`), how it is called (`client`, `calling`), the baselines (`bare`), and how sides take turns
//! (`turns`) in processes of their own (`processes`) and are summed up (`report`).

mod bare;
mod bulk;
mod calling;
mod client;
mod connections;
mod cores;
mod files;
mod flood;
mod handshakes;
mod heap;
mod herd;
mod limits;
mod processes;
mod pulling;
mod report;
mod requests;
mod turns;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(name = "rdcq-benches", about = "Benchmarks of rdcq, each beside its baseline in the same run")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// One agent pulls one file from one origin; beside it a bare quinn client and server with the same crypto,
    /// SHA-256 and file write.
    Bulk(bulk::Arguments),
    /// One node holds many idle connections, beside a bare server with the lean profile; with `--active`, pulls while
    /// they are held, beside pulls while none are.
    Connections(connections::Arguments),
    /// Connections opened and closed, 16 at a time, beside a bare server that greets as a node does.
    Handshakes(handshakes::Arguments),
    /// Small requests, one and 64 at a time, beside bare streams of the same sizes; with `--loaded`, their times while
    /// files are pulled.
    Requests(requests::Arguments),
    /// Pulls while strangers shake hands and send garbage, beside the same flood elsewhere.
    Flood(flood::Arguments),
    /// Pulls under limits that are never reached, beside pulls without limits.
    Limits(limits::Arguments),
    #[command(flatten)]
    Part(Part),
}

/// The processes that benches consist of.
#[derive(Subcommand)]
enum Part {
    /// The roles of a settings file.
    #[command(hide = true)]
    Node {
        /// The settings file.
        config: PathBuf,
    },
    /// Calls a node.
    #[command(hide = true)]
    Caller(calling::Arguments),
    /// Pulls from an origin over many connections.
    #[command(hide = true)]
    Pullers(pulling::Arguments),
    /// Strangers.
    #[command(hide = true)]
    Flooder(flood::flooder::Arguments),
    /// A bare quinn server of one file.
    #[command(hide = true)]
    BareBulkServer(bare::bulk::ServerArguments),
    /// Fetches from it.
    #[command(hide = true)]
    BareBulkClient(bare::bulk::ClientArguments),
    /// A bare quinn server of connections.
    #[command(hide = true)]
    BareServer(bare::server::Arguments),
    /// Calls it.
    #[command(hide = true)]
    BareCaller(bare::client::Arguments),
}

/// Threads of bare quinn's bulk, as its recipe has it, whatever the machine.
const RECIPE_WORKERS: usize = 2;

fn main() -> anyhow::Result<()> {
    let bench = Arguments::parse().bench;
    let single = matches!(
        bench,
        Bench::Part(
            Part::Node { .. }
                | Part::Caller(_)
                | Part::BareCaller(_)
                | Part::BareServer(_)
                | Part::Flooder(_)
        )
    );
    // One thread where two would mostly wake each other: with it, bare quinn is at its fastest. A node answers on one, and
    // has threads of its own for data.
    let mut builder = if single { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = builder.worker_threads(RECIPE_WORKERS).enable_all().build()?;
    let done = runtime.block_on(async {
        match bench {
            Bench::Part(part) => run_part(part).await,
            // Dropped, a bench takes its processes and files with it.
            bench => tokio::select! {
                biased;
                interrupted = interrupted() => interrupted,
                done = run_bench(bench) => done,
            },
        }
    });
    // What still waits for peers that are gone is not waited for.
    runtime.shutdown_background();
    done
}

/// Waits for a signal to end.
async fn interrupted() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        biased;
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    anyhow::bail!("interrupted")
}

async fn run_bench(bench: Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Bulk(arguments) => bulk::run(arguments).await,
        Bench::Connections(arguments) => connections::run(arguments).await,
        Bench::Handshakes(arguments) => handshakes::run(arguments).await,
        Bench::Requests(arguments) => requests::run(arguments).await,
        Bench::Flood(arguments) => flood::run(arguments).await,
        Bench::Limits(arguments) => limits::run(arguments).await,
        Bench::Part(part) => run_part(part).await,
    }
}

async fn run_part(part: Part) -> anyhow::Result<()> {
    match part {
        Part::Node { config } => herd::run_node(&config).await,
        Part::Caller(arguments) => calling::run(calling::Rdcq::new(arguments)?).await,
        Part::Pullers(arguments) => pulling::run(arguments).await,
        Part::Flooder(arguments) => flood::flooder::run(arguments).await,
        Part::BareBulkServer(arguments) => bare::bulk::serve(arguments).await,
        Part::BareBulkClient(arguments) => bare::bulk::fetch(arguments).await,
        Part::BareServer(arguments) => bare::server::serve(arguments).await,
        Part::BareCaller(arguments) => calling::run(bare::client::Bare::new(arguments)?).await,
    }
}
