//! `rdcq history`.

use std::ffi::OsStr;
use std::fmt;

use clap::Args;
use rdcq_client::ask;
use rdcq_wire::message::Selection;
use rdcq_wire::{Record, State, TagKey, TagQuery};
use serde::Serialize;

use super::completion::of_tags;
use super::inspect::{Described, utc};
use crate::caller::{Caller, Rights};
use crate::console::{Console, Output};
use crate::failure::{Exit, Failure};

/// Show all that was pushed and removed under a tag, the newest first.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq history 10.1.2.3-/data/ref-secu.txt"))]
pub(crate) struct History {
    /// The tag: KEY for all of its versions, or KEY:VERSION for what became of one.
    #[arg(add = of_tags())]
    tag: TagQuery,
}

impl History {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let caller = Caller::open(console, herd, Rights::Client, None).await?;
        caller.attend(self.tell(console, &caller)).await
    }

    /// Lines are written as they come; JSON is one object, so it waits for the last page.
    async fn tell(&self, console: &Console, caller: &Caller) -> Result<(), Failure> {
        let TagQuery { key, version } = &self.tag;
        let mut records = ask::list(&caller.session, Selection::History(key.clone()));
        let (mut told, mut history) = (0_u64, Vec::new());
        while let Some(page) = records.next_page().await? {
            let wanted = page
                .iter()
                .filter(|record| version.as_ref().is_none_or(|version| record.version == *version));
            for event in wanted.map(Event::of) {
                told += 1;
                match console.output {
                    Output::Json => history.push(event),
                    Output::Text | Output::Ndjson => console.item(caller.herd.as_str(), &event)?,
                }
            }
        }
        if told == 0 {
            return Err(self.unknown(key));
        }
        match console.output {
            Output::Json => console.result(Some(caller.herd.as_str()), &Told { history }),
            Output::Text | Output::Ndjson => Ok(()),
        }
    }

    fn unknown(&self, key: &TagKey) -> Failure {
        let what = match &self.tag.version {
            None => format!("nothing was ever pushed as {key}"),
            Some(version) => format!("nothing was ever pushed as {key}:{version}"),
        };
        Failure::new(Exit::NotFound, what).with_hint("`rdcq ls` shows what there is")
    }
}

/// One entry of a history.
#[derive(Debug, Serialize)]
struct Event {
    #[serde(flatten)]
    what: Described,
    event: &'static str,
    sequence: u64,
    at: String,
    by: String,
    description: String,
}

impl Event {
    fn of(record: &Record) -> Self {
        Self {
            what: Described::of(record),
            event: match record.state {
                State::Live => "pushed",
                State::Removed => "removed",
            },
            sequence: record.seq,
            at: utc(record.at_unix_ms),
            by: record.by.to_string(),
            description: record.attributes.description.to_string(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, event, at, by, description, .. } = self;
        write!(f, "{at}\t{event}\t{what}\t{by}")?;
        if !description.is_empty() {
            write!(f, "\t{description}")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Told {
    history: Vec<Event>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.history.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}
