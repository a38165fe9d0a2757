//! The `rdcq` command.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How long file operations under way may hold up the end of the process. What was acknowledged is durable by then.
const LAST_WORK: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = rdcq::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return rdcq::refuse(format_args!("cannot start worker threads: {error}")),
    };
    let exit = runtime.block_on(rdcq::run(cli));
    runtime.shutdown_timeout(LAST_WORK);
    exit
}
