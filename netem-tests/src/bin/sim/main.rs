//! `sim`: what a policy of the swarm comes to, without a network.

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
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Sim::parse().command {
        Command::Swarm(swarm) => swarm.run(),
    }
}
