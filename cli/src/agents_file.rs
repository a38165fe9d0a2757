//! The file in which a herd that is kept up lists its agents, for commands to choose one.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use rdcq_env::disk::write_durable;
use rdcq_env::{Disk, Mode, SystemDisk};
use serde::{Deserialize, Serialize};

use crate::console::FORMAT;
use crate::failure::{Exit, Failure};

/// The file's name, beside the settings.
pub(crate) const AGENTS: &str = "agents.json";
/// Longest file read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Agents {
    format: u32,
    agents: Vec<SocketAddr>,
}

/// Writes down where the agents beside these settings are.
pub(crate) fn write(settings: &Path, agents: &[SocketAddr]) -> Result<(), Failure> {
    let file = settings.with_file_name(AGENTS);
    let json = serde_json::to_string(&Agents { format: FORMAT, agents: agents.to_vec() });
    let json = json.map_err(|error| Failure::other(format!("cannot write {}: {error}", file.display())))?;
    let written = write_durable(&SystemDisk, &file, json.as_bytes(), Mode::Shared);
    written.map_err(|error| Failure::of_file("write", &file, &error))
}

fn read(settings: &Path) -> Result<Vec<SocketAddr>, Failure> {
    let file = settings.with_file_name(AGENTS);
    let failed = |error: std::io::Error| Failure::of_file("read the list of agents", &file, &error);
    let bytes = SystemDisk.read(&file, MAX_BYTES).map_err(failed)?;
    let list: Agents = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
    if list.format != FORMAT {
        let why = format!("{} has format {}; this rdcq reads {FORMAT}", file.display(), list.format);
        return Err(Failure::other(why));
    }
    Ok(list.agents)
}

/// Which agent to pull through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AgentChoice {
    /// The one at this address.
    At(SocketAddr),
    /// The one of this number, from 1, in a herd that `rdcq up` keeps.
    Number(usize),
}

impl AgentChoice {
    /// The address of the agent, given the settings that the command uses.
    pub(crate) fn addr(self, settings: &Path) -> Result<SocketAddr, Failure> {
        let number = match self {
            Self::At(addr) => return Ok(addr),
            Self::Number(number) => number,
        };
        let agents = read(settings).map_err(|failure| {
            failure
                .with_hint("numbers name the agents of a herd that `rdcq up` keeps; give IP:port elsewhere")
        })?;
        let agent = number.checked_sub(1).and_then(|index| agents.get(index)).copied();
        agent.ok_or_else(|| {
            let what = format!("there is no agent {number}; this herd has agents 1 to {}", agents.len());
            Failure::new(Exit::NotFound, what)
        })
    }
}

impl FromStr for AgentChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().map(Self::Number);
        number
            .or_else(|_| text.parse().map(Self::At))
            .map_err(|_| "write the agent's IP:port, or its number in a herd that `rdcq up` keeps".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_chooses_from_the_list_beside_the_settings_and_an_address_itself() {
        let folder = tempfile::tempdir().unwrap();
        let settings = folder.path().join("client.toml");
        let agents: Vec<SocketAddr> = vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()];
        write(&settings, &agents).unwrap();
        let choose = |text: &str| text.parse::<AgentChoice>().unwrap().addr(&settings);
        assert_eq!(choose("1").unwrap(), agents[0]);
        assert_eq!(choose("2").unwrap(), agents[1]);
        assert_eq!(choose("10.0.0.1:7405").unwrap(), "10.0.0.1:7405".parse().unwrap());
        assert_eq!(choose("0").unwrap_err().exit, Exit::NotFound);
        assert_eq!(choose("3").unwrap_err().exit, Exit::NotFound);
        assert!("agent".parse::<AgentChoice>().is_err());
    }
}
