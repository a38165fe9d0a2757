//! The `rdcq` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    rdcq::answer_shell();
    rdcq::main(rdcq::Cli::parse_from(rdcq::in_todays_words(std::env::args_os())))
}
