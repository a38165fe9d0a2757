//! `rdcq pull`.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use rdcq_client::pull::{self, Existing, PullProgress, Pulled};
use rdcq_client::{FileName, OperationError, ask};
use rdcq_wire::message::Selection;
use rdcq_wire::tag::Field;
use rdcq_wire::{Class, ErrorCode, NodeId, Record, TagQuery};
use serde::Serialize;

use super::completion::of_tags;
use super::inspect::Described;
use crate::agents_file::AgentChoice;
use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::flag_args::FlagArgs;
use crate::progress::Progress;

/// Pull a tag's file, or the file with a name, to this host.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq pull secu.txt --src-host 10.1.2.3 --dst-path /data/in"))]
pub(crate) struct Pull {
    /// The tag: KEY for the latest version, or KEY:VERSION. Or a file's name instead of KEY, where only one tag is of such a file.
    #[arg(value_name = "TAG|NAME", add = of_tags())]
    tag: TagQuery,
    /// Pull only what this host is the source of.
    #[arg(long, value_name = "HOST")]
    src_host: Option<NodeId>,
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
        let order = pull::Pull {
            existing,
            flag,
            ..pull::Pull::new(self.tag.clone(), self.dst_path.clone(), self.timeout)
        };
        let pulled = {
            let bar = Progress::new(console);
            caller.attend(self.pull(&caller, order, &|progress| bar.of_pull(progress))).await?
        };
        console.result(Some(caller.herd.as_str()), &Report::of(&pulled))
    }

    /// Most often a tag is given, so that is tried first, unless only one host's will do.
    async fn pull(
        &self,
        caller: &Caller,
        mut order: pull::Pull,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<Pulled, Failure> {
        let untold = match &self.src_host {
            Some(host) => match ask::resolve(&caller.session, &self.tag).await {
                Ok(record) if record.name.host == *host => None,
                Ok(record) => Some(self.of_other_host(&record, host)),
                Err(error) => Some(not_found(error)?),
            },
            None => {
                let session = caller.session_for(&order.query.key, self.class);
                match pull::pull(&session, &order, progress).await {
                    Ok(pulled) => return Ok(pulled),
                    Err(error) => Some(not_found(error)?),
                }
            }
        };
        if let Some(failure) = untold {
            order.query = self.by_name(caller).await?.ok_or(failure)?;
        }
        let session = caller.session_for(&order.query.key, self.class);
        Ok(pull::pull(&session, &order, progress).await?)
    }

    fn of_other_host(&self, record: &Record, host: &NodeId) -> Failure {
        let what = format!("{} comes from {}, not from {host}", record.tag(), record.name.host);
        Failure::new(Exit::NotFound, what)
            .with_hint("leave --src-host out, or give the host that it comes from")
    }

    /// The one tag whose latest version is of a file with the name that is asked for; more than one are refused.
    async fn by_name(&self, caller: &Caller) -> Result<Option<TagQuery>, Failure> {
        let Ok(file) = self.tag.key.as_str().parse::<Field>() else { return Ok(None) };
        let what = Selection::File(file, self.src_host.clone());
        let page = ask::list(&caller.session, what).next_page().await?.unwrap_or_default();
        match page.as_slice() {
            [] => Ok(None),
            [record] => Ok(Some(TagQuery { key: record.name.key.clone(), ..self.tag.clone() })),
            records => Err(self.ambiguous(records)),
        }
    }

    fn ambiguous(&self, records: &[Record]) -> Failure {
        /// More than a person looks through.
        const SHOWN: usize = 10;
        let mut keys = Vec::from_iter(records.iter().take(SHOWN).map(|record| record.name.key.to_string()));
        if records.len() > SHOWN {
            keys.push("others".to_owned());
        }
        let what = format!("more than one tag is of a file {}: {}", self.tag.key, keys.join(", "));
        Failure::new(Exit::Conflict, what).with_hint("give one of these tags, or --src-host")
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

/// The failure, if it is that there is no such thing; any other ends the command.
fn not_found(error: OperationError) -> Result<Failure, Failure> {
    let is_unknown = error.code == ErrorCode::NotFound;
    let failure = Failure::from(error);
    if is_unknown { Ok(failure) } else { Err(failure) }
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
