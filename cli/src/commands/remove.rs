//! `rdcq remove`.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, BufRead, IsTerminal};

use clap::Args;
use rdcq_client::ask;
use rdcq_wire::TagQuery;
use serde::Serialize;

use super::completion::of_tags;
use super::inspect::Described;
use crate::caller::{Caller, Rights};
use crate::console::{Console, Notes, Output};
use crate::failure::{Exit, Failure};

/// Remove a version; files that were delivered stay.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq remove 10.1.2.3-/data/ref-secu.txt:2026-11-22 --dry-run"))]
pub(crate) struct Remove {
    /// The tag: KEY for the latest version, or KEY:VERSION.
    #[arg(add = of_tags())]
    tag: TagQuery,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// Only show what would be removed.
    #[arg(long)]
    dry_run: bool,
}

impl Remove {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        if !self.dry_run && !self.yes && !io::stdin().is_terminal() {
            return Err(Failure::usage("nobody is there to confirm the removal")
                .with_hint("give --yes, or --dry-run to see what would go"));
        }
        let caller = Caller::open(console, herd, Rights::Operator, None).await?;
        let work = async {
            if self.dry_run {
                return Ok(ask::resolve(&caller.session, &self.tag).await?);
            }
            let query = if self.yes { self.tag } else { confirm(&caller, &self.tag).await? };
            ask::remove(&caller.session, &query).await.map_err(denied_to_clients)
        };
        let record = caller.attend(work).await?;
        if self.dry_run {
            console.note("nothing was removed; delivered files would stay, too");
        }
        let report = Report { what: Described::of(&record), removed: !self.dry_run };
        console.result(Some(caller.herd.as_str()), &report)
    }
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    what: Described,
    /// Whether it is gone, or would be.
    removed: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

/// Shows which version it would be, and gives its name if it shall go.
async fn confirm(caller: &Caller, query: &TagQuery) -> Result<TagQuery, Failure> {
    let record = ask::resolve(&caller.session, query).await?;
    let question = Console { notes: Notes::Shown, output: Output::Text };
    question.note(format_args!("remove {} ({} bytes)? [y/N]", record.tag(), record.size));
    let read = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = read.await.map_err(io::Error::other).and_then(|answer| answer).unwrap_or_default();
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        return Err(Failure::new(Exit::Other, "nothing was removed"));
    }
    Ok(TagQuery { key: record.name.key, version: Some(record.version) })
}

fn denied_to_clients(error: rdcq_client::OperationError) -> Failure {
    let failure = Failure::from(error);
    if failure.exit == Exit::Denied {
        return failure.with_hint("only an operator removes; name an operator's settings with --herd");
    }
    failure
}
