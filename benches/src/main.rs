//! What is fast, measured beside bare quinn in the same run.
//!
//! Machines that run this are shared: wall time moves by a factor of two between repeats. Each variant therefore takes
//! turns with its baseline, and what counts is the ratio within the run.

mod bare;
mod bulk;
mod processes;
mod report;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
    /// A bare quinn server, for `bulk`.
    #[command(hide = true)]
    BareServer(bare::ServerArguments),
    /// A bare quinn client, for `bulk`.
    #[command(hide = true)]
    BareClient(bare::ClientArguments),
    /// The roles of a settings file, for `bulk`.
    #[command(hide = true)]
    Node {
        /// The settings file.
        config: PathBuf,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Bulk(arguments) => bulk::run(arguments).await,
        Bench::BareServer(arguments) => bare::serve(arguments).await,
        Bench::BareClient(arguments) => bare::fetch(arguments).await,
        Bench::Node { config } => processes::run_node(&config).await,
    }
}
