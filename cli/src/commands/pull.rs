//! `rdcq pull`.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use rdcq_client::FileName;
use rdcq_client::pull::{self, Existing, Pulled};
use rdcq_wire::{Class, TagQuery};
use serde::Serialize;

use super::inspect::Described;
use crate::agents_file::AgentChoice;
use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::duration;
use crate::failure::Failure;
use crate::flag_args::FlagArgs;
use crate::progress::Progress;

/// Pull a tag's file to this host.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// The tag: KEY for the latest version, or KEY:VERSION.
    tag: TagQuery,
    /// The file to write, or a folder to write it into under its own name.
    #[arg(long, value_name = "PATH", default_value = ".")]
    dst_path: PathBuf,
    /// Whether a file that is there already is replaced. If not, it is left, and the new one is called as --new-name says, else NAME.1,
    /// NAME.2 or the first of these that is free.
    #[arg(long, value_name = "true|false", action = ArgAction::Set, default_value_t = true)]
    is_cover: bool,
    /// With --is-cover false: what to call the new file, in the same folder, if there is one already.
    #[arg(long, value_name = "NAME")]
    new_name: Option<FileName>,
    #[command(flatten)]
    flag: FlagArgs,
    /// Pull through another agent than the settings name: its address, or its number in a herd of `rdcq up`.
    #[arg(long, value_name = "IP:PORT|N")]
    agent: Option<AgentChoice>,
    /// How long to go on trying while the herd cannot be reached.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::patience, allow_hyphen_values = true)]
    timeout: Duration,
    /// How much it matters beside others: urgent, normal or background. Left out, as the settings say of the tag's group, else
    /// normal.
    #[arg(long)]
    class: Option<Class>,
}

impl Pull {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let (existing, flag) = (self.existing()?, self.flag.flag()?);
        let caller = Caller::open(console, herd, Rights::Client, self.agent).await?;
        let order = pull::Pull { existing, flag, ..pull::Pull::new(self.tag, self.dst_path, self.timeout) };
        let pulled = {
            let bar = Progress::new(console);
            let show = |progress| bar.of_pull(progress);
            let session = caller.session_for(&order.query.key, self.class);
            let work = async { Ok(pull::pull(&session, &order, &show).await?) };
            caller.attend(work).await?
        };
        console.result(Some(caller.herd.as_str()), &Report::of(&pulled))
    }

    fn existing(&self) -> Result<Existing, Failure> {
        match (self.is_cover, &self.new_name) {
            (false, name) => Ok(Existing::Left { name: name.clone() }),
            (true, None) => Ok(Existing::Replaced),
            (true, Some(_)) => {
                Err(Failure::usage("--new-name is for a file that is left, and this one is replaced")
                    .with_hint("give --is-cover false, too; --dst-path names the file to write in any case"))
            }
        }
    }
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    what: Described,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<String>,
    fetch_ms: u64,
    bytes_from: BytesFrom,
    delivered: ByWay,
}

/// How bytes came from the agent to the file.
#[derive(Debug, Clone, Copy, Serialize)]
struct ByWay {
    /// Read from the agent's own file.
    lent: u64,
    /// Sent by the agent over QUIC.
    sent: u64,
}

/// Where the bytes came from.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct BytesFrom {
    pub(crate) origins: u64,
    pub(crate) agents: u64,
    /// This host, which had them already.
    pub(crate) held: u64,
    /// Bytes that came twice.
    pub(crate) duplicate: u64,
}

impl BytesFrom {
    pub(crate) fn of(pulled: &Pulled) -> Self {
        let rdcq_wire::message::Sources { origins, agents, held, duplicate } = pulled.sources;
        Self { origins, agents, held, duplicate }
    }
}

impl Report {
    fn of(pulled: &Pulled) -> Self {
        Self {
            what: Described::of(&pulled.record),
            target: pulled.target.display().to_string(),
            flag: pulled.flag.as_ref().map(|flag| flag.display().to_string()),
            fetch_ms: u64::try_from(pulled.fetched_in.as_millis()).unwrap_or(u64::MAX),
            bytes_from: BytesFrom::of(pulled),
            delivered: ByWay { lent: pulled.delivered.lent, sent: pulled.delivered.sent },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BytesFrom { origins, agents, held, .. } = self.bytes_from;
        write!(f, "{}\t{}\torigins={origins} agents={agents} held={held}", self.what, self.target)
    }
}
