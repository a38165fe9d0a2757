//! `lab`: real nodes in network namespaces, with the counters of their interfaces read beside them.
//!
//! What each subcommand shows and how to run it stands in `netem-tests/README.md`; the scripts beside it build what is needed.

mod accuracy;
mod counters;
mod herd;
mod namespaces;
mod puller;
mod reload;
mod report;
mod shares;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Real nodes in network namespaces.")]
struct Lab {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How exactly a limit is kept, as the interface of its host counts.
    Accuracy(accuracy::Arguments),
    /// Whether streams and peers have the same of a limit.
    Fairness(shares::Fairness),
    /// Whether classes share by weight.
    Classes(shares::Classes),
    /// Whether settings saved a hundred times a second, half of them garbage, disturb anything.
    Reload(reload::Arguments),
    /// Used by the others: prints an interface's counters.
    #[command(hide = true)]
    Count(counters::Arguments),
    /// Used by the others: a node that asks an origin for pieces on many streams.
    #[command(hide = true)]
    Puller(puller::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Lab::parse().command {
        Command::Count(arguments) => counters::run(&arguments),
        Command::Puller(arguments) => run(puller::run(arguments)),
        Command::Accuracy(arguments) => run(until_interrupted(accuracy::run(arguments))),
        Command::Fairness(arguments) => run(until_interrupted(shares::fairness(arguments))),
        Command::Reload(arguments) => run(until_interrupted(reload::run(arguments))),
        Command::Classes(arguments) => run(until_interrupted(shares::classes(arguments))),
    }
}

/// Does the work of a command. What other threads still wait for ends with the namespaces.
fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// Ends on a signal as if the work had failed, so that namespaces and processes are cleaned up.
async fn until_interrupted(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
        _ = terminate.recv() => anyhow::bail!("terminated"),
        done = work => done,
    }
}
