//! The `rdcq` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    rdcq::main(rdcq::Cli::parse())
}
