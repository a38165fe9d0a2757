//! `rdcq completion`, and what it has shells ask.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use rdcq_client::ask;
use rdcq_wire::message::Selection;
use rdcq_wire::tag::Field;
use rdcq_wire::{Record, State};

use crate::Cli;
use crate::caller::{Caller, Rights};
use crate::console::{Console, Notes, Output};
use crate::failure::Failure;

/// Set, it has the program answer a shell rather than carry out a command.
const VARIABLE: &str = "RDCQ_COMPLETE";
/// A person waits, and the herd may not be there.
const PATIENCE: Duration = Duration::from_secs(1);

/// Print what has a shell complete command lines, tags included.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq completion bash"))]
pub(crate) struct Completion {
    /// The shell. To have it for good, add `source <(rdcq completion bash)` to ~/.bashrc, or the same with zsh to ~/.zshrc, or
    /// `rdcq completion fish | source` to ~/.config/fish/config.fish.
    #[arg(value_enum)]
    shell: Shell,
}

// What stood here before a variant would be shown as help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}

impl Completion {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let shells = Shells::builtins();
        let name = self.shell.name();
        let unknown = || Failure::other(format!("no completion for {name} is known"));
        let shell = shells.completer(name).ok_or_else(unknown)?;
        let mut script = Vec::new();
        let written = shell.write_registration(VARIABLE, "rdcq", "rdcq", "rdcq", &mut script);
        written.map_err(|error| Failure::other(format!("cannot write the script: {error}")))?;
        console.line(String::from_utf8_lossy(&script).trim_end())
    }
}

/// Answers a shell and ends the process, if it is a shell that asks.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
}

/// Completes a tag by those that stand.
pub(crate) fn of_tags() -> ArgValueCompleter {
    ArgValueCompleter::new(|given: &OsStr| {
        let prefix = given.to_str().map(|given| given.split_once(':').map_or(given, |(key, _)| key));
        let prefix = prefix.and_then(|prefix| prefix.parse::<Field>().ok());
        // A completion that fails offers nothing: an error would stand in the line that is being written.
        let records = prefix.and_then(|prefix| find(&herd_of(std::env::args_os()), prefix).ok());
        let mut offers = offers(&records.unwrap_or_default());
        offers.retain(|offer| offer.as_bytes().starts_with(given.as_encoded_bytes()));
        offers.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Keys, and below each the tags of its versions, in their order.
fn offers(records: &[Record]) -> Vec<String> {
    let mut offers: Vec<String> = Vec::new();
    for record in records.iter().filter(|record| record.state == State::Live) {
        let key = record.name.key.as_str();
        if !offers.iter().rev().any(|offer| offer == key) {
            offers.push(key.to_owned());
        }
        offers.push(record.tag());
    }
    offers
}

/// The herd that the line names so far.
fn herd_of(line: impl IntoIterator<Item = OsString>) -> Option<OsString> {
    let mut words = line.into_iter().skip_while(|word| word != "--herd");
    words.nth(1).filter(|herd| !herd.is_empty())
}

fn find(herd: &Option<OsString>, prefix: Field) -> Result<Vec<Record>, Failure> {
    let nothing = |error: std::io::Error| Failure::other(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(nothing)?;
    let silent = Console { output: Output::Text, notes: Notes::Quiet };
    let asked = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            let caller = Caller::open(&silent, herd.as_deref(), Rights::Client, None).await?;
            let first = async {
                let page = ask::list(&caller.session, Selection::Prefix(prefix)).next_page().await?;
                Ok(page.unwrap_or_default())
            };
            caller.attend(first).await
        })
        .await
    });
    runtime.shutdown_background();
    asked.map_err(|_| Failure::other("the herd did not answer in time"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_herd_of_a_line_is_the_one_that_it_names() {
        let herd = |line: &str| herd_of(line.split(' ').map(OsString::from));
        assert_eq!(herd("rdcq -- rdcq pull --herd night.toml k"), Some("night.toml".into()));
        assert_eq!(herd("rdcq -- rdcq pull k"), None);
        assert_eq!(herd("rdcq -- rdcq pull --herd"), None);
    }
}
