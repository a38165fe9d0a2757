//! `rdcq config check`.

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::console::Console;
use crate::failure::Failure;
use crate::settings;

/// Check settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a settings file can be used, and what runs with it.
    Check(Check),
}

#[derive(Debug, Args)]
#[command(after_help = example!("rdcq config check agent.toml"))]
pub(crate) struct Check {
    /// The settings file.
    file: PathBuf,
}

impl ConfigCommand {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let Self::Check(Check { file }) = self;
        let config = settings::read(&file)?;
        let roles = config.roles().iter().map(|role| role.name()).collect();
        console.result(None, &Sound { file: file.display().to_string(), roles })
    }
}

#[derive(Serialize)]
struct Sound {
    file: String,
    roles: Vec<&'static str>,
}

impl fmt::Display for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\tok\t{}", self.file, self.roles.join(","))
    }
}
