//! `lab`: real nodes in network namespaces, with the counters of their interfaces read beside them.
//!
//! What each subcommand shows and how to run it stands in `netem-tests/README.md`; the scripts beside it build what is needed.

mod accuracy;
mod beside_tcp;
mod counters;
mod fabric;
mod fanout;
mod faults;
mod herd;
mod liar;
mod link;
mod links;
mod means;
mod namespaces;
mod packets;
mod path;
mod ports;
mod pull_all;
mod puller;
mod reload;
mod report;
mod shares;
mod star;
mod switch;
mod tcp;
mod top;
mod usage;
mod wire;

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
    /// Whether `rdcq top` shows what the interface counts.
    Top(top::Arguments),
    /// How long a pull takes over long and lossy links, for each congestion controller.
    Links(links::Arguments),
    /// What a pull leaves to a TCP flow on the same link, and has itself.
    BesideTcp(beside_tcp::Arguments),
    /// Whether a pull ends right across whatever a network does to packets.
    Faults(faults::Arguments),
    /// How long a file takes to many agents at once, by the least that their links allow.
    Fanout(fanout::Arguments),
    /// Used by the others: prints what all hosts have carried.
    #[command(hide = true)]
    Ports(ports::Arguments),
    /// Used by the others: prints an interface's counters.
    #[command(hide = true)]
    Count(counters::Arguments),
    /// Used by the others: a node that asks an origin for pieces on many streams.
    #[command(hide = true)]
    Puller(puller::Arguments),
    /// Used by the others: an agent that sends wrong bytes.
    #[command(hide = true)]
    Liar(liar::Arguments),
    /// Used by the others: pulls many tags at once.
    #[command(hide = true)]
    PullAll(pull_all::Arguments),
    /// Used by the others: serves a file by bare quinn.
    #[command(hide = true)]
    StarServe(star::Serve),
    /// Used by the others: fetches it.
    #[command(hide = true)]
    StarFetch(star::Fetch),
    /// Used by the others: sends over TCP.
    #[command(hide = true)]
    TcpSend(tcp::Send),
    /// Used by the others: receives over TCP.
    #[command(hide = true)]
    TcpReceive(tcp::Receive),
}

fn main() -> anyhow::Result<()> {
    match Lab::parse().command {
        Command::Count(arguments) => counters::run(&arguments),
        Command::Ports(arguments) => ports::run(&arguments),
        Command::Puller(arguments) => run(puller::run(arguments)),
        Command::Liar(arguments) => run(liar::run(arguments)),
        Command::PullAll(arguments) => run(pull_all::run(arguments)),
        Command::StarServe(arguments) => run(star::serve(arguments)),
        Command::StarFetch(arguments) => run(star::fetch(arguments)),
        Command::TcpSend(arguments) => tcp::send(&arguments),
        Command::TcpReceive(arguments) => tcp::receive(&arguments),
        Command::Top(arguments) => run(until_interrupted(top::run(arguments))),
        Command::Links(arguments) => run(until_interrupted(links::run(arguments))),
        Command::BesideTcp(arguments) => run(until_interrupted(beside_tcp::run(arguments))),
        Command::Faults(arguments) => run(until_interrupted(faults::run(arguments))),
        Command::Fanout(arguments) => run(until_interrupted(fanout::run(arguments))),
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
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            anyhow::bail!("interrupted")
        }
        _ = hangup.recv() => anyhow::bail!("hung up"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
        done = work => done,
    }
}
