//! `sim replay`: what real agents logged of their swarms, done again here.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::PathBuf;

use clap::Args;
use rdcq_runtime::swarm_log::{Replayed, TARGET, replay};
use serde::Serialize;

#[derive(Args)]
pub(super) struct Replay {
    /// Logs of nodes that ran with `RDCQ_LOG=info,rdcq::swarm_steps=trace`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// What came of one log.
#[derive(Serialize)]
struct Done<'a> {
    file: &'a PathBuf,
    #[serde(flatten)]
    replayed: Replayed,
}

impl Replay {
    /// Fails on the first decision that is another one now, and on a log in which no swarm begins.
    pub(super) fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        for file in &self.files {
            let named = |error: String| format!("{}: {error}", file.display());
            let log = File::open(file).map_err(|error| named(error.to_string()))?;
            let replayed = replay(BufReader::new(log)).map_err(|error| named(error.to_string()))?;
            if replayed.swarms == 0 {
                return Err(named(format!("nothing in it is of {TARGET}")).into());
            }
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&Done { file, replayed })?)?;
        }
        Ok(())
    }
}
