//! `rdcq ls`.

use std::ffi::OsStr;
use std::fmt;

use clap::Args;
use rdcq_client::ask;
use rdcq_wire::message::Selection;
use rdcq_wire::tag::Field;
use serde::Serialize;

use super::inspect::Described;
use crate::caller::{Caller, Rights};
use crate::console::{Console, Output};
use crate::failure::Failure;

/// List tags.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq ls 10.1.2.3-/data/"))]
pub(crate) struct Ls {
    /// List only tags that begin with this.
    #[arg(default_value = "")]
    prefix: Field,
}

impl Ls {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let caller = Caller::open(console, herd, Rights::Client, None).await?;
        caller.attend(list(console, &caller, self.prefix)).await
    }
}

/// Lines are written as they come; JSON is one object, so it waits for the last page.
async fn list(console: &Console, caller: &Caller, prefix: Field) -> Result<(), Failure> {
    let mut records = ask::list(&caller.session, Selection::Prefix(prefix));
    let mut listing = Listing { tags: Vec::new() };
    while let Some(page) = records.next_page().await? {
        let page = page.iter().map(Described::of);
        match console.output {
            Output::Json => listing.tags.extend(page),
            Output::Text | Output::Ndjson => {
                for tag in page {
                    console.item(caller.herd.as_str(), &tag)?;
                }
            }
        }
    }
    match console.output {
        Output::Json => console.result(Some(caller.herd.as_str()), &listing),
        Output::Text | Output::Ndjson => Ok(()),
    }
}

#[derive(Serialize)]
struct Listing {
    tags: Vec<Described>,
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tags.iter().try_for_each(|tag| writeln!(f, "{tag}"))
    }
}
