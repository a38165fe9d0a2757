//! A process that is an agent to the herd, and lies.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Agent, Source, until_ready};
use crate::liar::Lie;
use crate::namespaces::Network;

/// An agent that says that it has the source's file, and sends wrong bytes.
pub(crate) struct Liar {
    pub(crate) name: String,
    log: PathBuf,
}

impl Liar {
    /// Starts one, which the tracker knows then. Its name is the only one of its kind.
    pub(crate) fn start(
        name: String,
        source: &Source,
        network: &mut Network,
        host: usize,
    ) -> anyhow::Result<Self> {
        let config = Agent::write_settings(&name, source, "")?.display().to_string();
        let log = source.herd.folder.join(format!("{name}.log"));
        let lab = std::env::current_exe()?.display().to_string();
        let file = &source.pushed[0];
        let about = ["--digest", &file.digest, "--manifest", &file.manifest];
        network.start(host, &[&[&*lab, "liar", "--config", &config], &about[..]].concat(), &log)?;
        until_ready(&log)?;
        Ok(Self { name, log })
    }

    /// What it has told wrong.
    pub(crate) fn lies(&self) -> anyhow::Result<Vec<Lie>> {
        let log = fs::read_to_string(&self.log)?;
        let lies = log.lines().filter(|line| line.starts_with('{'));
        lies.map(|line| serde_json::from_str(line).context(line.to_owned())).collect()
    }
}
