//! `rdcq demo`.

mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::future::try_join_all;
use rdcq_certs::{Authority, KeyKind};
use rdcq_client::pull::{self, Pull};
use rdcq_client::push::{self, Push};
use rdcq_client::{OperationError, Session};
use rdcq_runtime::Host;
use rdcq_wire::{ErrorCode, Identity, Record, Role, TagQuery};
use tempfile::TempDir;
use tokio::time::Instant;

use super::push::Source;
use crate::console::Console;
use crate::data_threads::data_threads;
use crate::failure::{Exit, Failure};
use crate::herd::{self, Herd, HerdPlan};
use crate::progress::Progress;
use crate::signals::{Hangup, Signals};
use crate::up_folder::{host_name, new_herd_id};

use report::{AgentRow, Report};

/// Enough agents to serve each other.
const AGENTS: u32 = 4;
/// How long anything here is tried: the herd is in this very process.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody waits for a herd whose files go with it.
const GRACE: Duration = Duration::from_millis(500);
/// Bytes compared at once.
const BLOCK: usize = 1024 * 1024;
/// A write that was under way may put a file back while the folder goes.
const CLEANING_TRIES: u32 = 20;
const CLEANING_PAUSE: Duration = Duration::from_millis(50);

/// Push a file to a throw-away herd in this process, pull it with several agents at once, and verify it.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq demo secu.txt"))]
pub(crate) struct Demo {
    /// The file; left out, this program's own.
    path: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self, console: &Console) -> Result<(), Failure> {
        let mut signals = Signals::listen(Hangup::Ends)?;
        let path = self.path.map_or_else(own_executable, Ok)?;
        let source = Source::find(&path)?;
        let folder = TempDir::with_prefix("rdcq-demo-")
            .map_err(|error| Failure::of_file("create a folder in", &std::env::temp_dir(), &error))?;
        let threads = data_threads()?;
        let host = threads.host();
        let authority = Authority::generate(new_herd_id(&host), KeyKind::P256, host.env.unix_ms())?;
        let plan = HerdPlan::with_agents(AGENTS);
        let herd = Herd::start_here(&host, &folder.path().join("nodes"), &authority, plan).await?;
        console.note(format_args!(
            "herd {} (for this demo, in {})",
            authority.herd(),
            folder.path().display()
        ));

        let show = Show { console, host: &host, herd: &herd, authority: &authority, folder: folder.path() };
        let outcome = signals.or(show.run(&path, &source)).await;
        signals.hurry(herd.drain(GRACE)).await;
        clean(folder).await;
        let report = outcome.map_err(|failure| match failure.exit {
            Exit::Interrupted => Failure { hint: None, ..failure },
            _ => failure,
        })?;
        console.result(Some(authority.herd().as_str()), &report)
    }
}

fn own_executable() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        Failure::other(format!("cannot find this program's own file: {error}"))
            .with_hint("name a file to push")
    })
}

async fn clean(folder: TempDir) {
    let path = folder.keep();
    for _ in 0..CLEANING_TRIES {
        if std::fs::remove_dir_all(&path).is_ok() || !path.exists() {
            return;
        }
        tokio::time::sleep(CLEANING_PAUSE).await;
    }
}

/// One demonstration.
struct Show<'a> {
    console: &'a Console,
    host: &'a Host,
    herd: &'a Herd,
    authority: &'a Authority,
    folder: &'a Path,
}

impl Show<'_> {
    async fn run(&self, path: &Path, source: &Source) -> Result<Report, Failure> {
        let (record, push_time) = self.push(path, source).await?;
        let begin = Instant::now();
        let rows = (1..=AGENTS).map(|number| self.pull(number, &record, path));
        let agents = try_join_all(rows).await?;
        Ok(Report::new(&record, push_time, begin.elapsed(), agents))
    }

    async fn push(&self, path: &Path, source: &Source) -> Result<(Record, Duration), Failure> {
        let session = self.session(1)?;
        let (name, version) = source.name(session.identity().node.clone(), None)?;
        let order = Push::new(path.to_owned(), name, version, PATIENCE);
        let bar = Progress::new(self.console);
        let begin = Instant::now();
        let pushed = push::push(&session, &order, &|progress| bar.of_push(progress)).await?;
        session.close();
        Ok((pushed.record, begin.elapsed()))
    }

    /// Pulls into a folder of the agent's own, and compares the file with the source byte for byte.
    async fn pull(&self, number: u32, record: &Record, source: &Path) -> Result<AgentRow, Failure> {
        let agent = format!("agent-{number}");
        let target = self.folder.join("delivered").join(&agent);
        std::fs::create_dir_all(&target).map_err(|error| Failure::of_file("create", &target, &error))?;
        let session = self.session(number)?;
        let query = TagQuery { key: record.name.key.clone(), version: Some(record.version.clone()) };
        let order = Pull::new(query, target, PATIENCE);
        let begin = Instant::now();
        let pulled = pull::pull(&session, &order, &|_| ()).await?;
        let time = begin.elapsed();
        session.close();
        let (source, delivered) = (source.to_owned(), pulled.target.clone());
        let compared = self.host.env.blocking(move || same_bytes(&source, &delivered)).await;
        match compared.map_err(|error| Failure::of_file("compare", &pulled.target, &error))? {
            true => Ok(AgentRow::new(agent, &pulled, time)),
            false => {
                let what = format!("{agent} delivered other bytes than were pushed");
                Err(Failure::new(Exit::Integrity, what))
            }
        }
    }

    fn session(&self, agent: u32) -> Result<Session, Failure> {
        let (herd, node) = (self.authority.herd().clone(), host_name());
        let identity = Identity { herd, node, roles: Role::Client.into() };
        let credentials = herd::issue(self.authority, &identity, self.host.env.unix_ms())?;
        let missing = |_| OperationError::new(ErrorCode::Internal, format!("there is no agent {agent}"));
        let agent = usize::try_from(agent).map_err(missing)?;
        Ok(self.herd.session(self.host, &credentials, agent)?)
    }
}

/// Whether two files hold the same bytes.
fn same_bytes(one: &Path, other: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let (mut one, mut other) = (std::fs::File::open(one)?, std::fs::File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(BLOCK as u64).read_to_end(&mut left)?;
        other.by_ref().take(BLOCK as u64).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_same_only_if_every_byte_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let long = vec![7; BLOCK + 1];
        let mut changed = long.clone();
        changed[BLOCK] = 8;
        let (one, twin) = (write("one", &long), write("twin", &long));
        assert!(same_bytes(&one, &twin).unwrap());
        assert!(!same_bytes(&one, &write("changed", &changed)).unwrap());
        assert!(!same_bytes(&one, &write("shorter", &long[1..])).unwrap());
        assert!(same_bytes(&write("empty", b""), &write("void", b"")).unwrap());
    }
}
