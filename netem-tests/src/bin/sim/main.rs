//! `sim`: what a policy of the swarm comes to, without a network.

mod invariants;
mod replay;
mod swarm;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "The swarm's scheduler under virtual time.")]
struct Sim {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A file that all agents want at once.
    Swarm(swarm::Swarm),
    /// Small swarms of every kind, in which what must always hold is asserted after every step.
    Invariants(invariants::Invariants),
    /// What real agents logged of their schedulers' steps, done again: the first decision that is another one now fails it.
    Replay(replay::Replay),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Sim::parse().command {
        Command::Swarm(swarm) => swarm.run(),
        Command::Invariants(invariants) => invariants.run(),
        Command::Replay(replay) => replay.run(),
    }
}
