//! What a command shows: data on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::{Exit, Failure};

/// The number of the JSON that this version writes; it changes when a field changes its meaning or goes.
pub(crate) const FORMAT: u32 = 1;

/// How results are written. What stands before a variant would be shown as help, over several lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    // For people: one line a result, fields between tabs.
    #[default]
    Text,
    // For programs: one JSON object.
    Json,
}

/// How much is said beside the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notes {
    /// Errors only.
    Quiet,
    /// Which herd is spoken to, and how far things are.
    Shown,
}

/// Where a command writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    pub(crate) output: Output,
    pub(crate) notes: Notes,
}

/// A JSON result with what all of them carry.
#[derive(Serialize)]
struct Envelope<'a, T> {
    format: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    herd: Option<&'a str>,
    #[serde(flatten)]
    result: &'a T,
}

impl Console {
    /// Writes a result: as its text, or as JSON with the herd that it came from.
    pub(crate) fn result<T: Serialize + fmt::Display>(
        &self,
        herd: Option<&str>,
        result: &T,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Text => self.line(result),
            Output::Json => {
                let envelope = Envelope { format: FORMAT, herd, result };
                let json = serde_json::to_string(&envelope);
                self.line(json.map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?)
            }
        }
    }

    /// Writes a line to stdout at once.
    pub(crate) fn line(&self, line: impl fmt::Display) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| Failure::other(format!("cannot write to stdout: {error}"))),
        }
    }

    /// Tells people something that is not a result.
    pub(crate) fn note(&self, note: impl fmt::Display) {
        if self.notes == Notes::Shown {
            to_stderr(format_args!("{note}"));
        }
    }

    /// Whether a bar that moves would be seen by somebody and disturb nobody.
    pub(crate) fn shows_progress(&self) -> bool {
        self.output == Output::Text && self.notes == Notes::Shown && io::stderr().is_terminal()
    }
}

/// Says what went wrong, and gives the exit code for it.
pub(crate) fn report(failure: &Failure) -> ExitCode {
    to_stderr(format_args!("error: {}", failure.what));
    if let Some(hint) = &failure.hint {
        to_stderr(format_args!("hint: {hint}"));
    }
    failure.exit.into()
}

/// Says why nothing was even begun, and gives the exit code for it.
pub(crate) fn refuse(what: fmt::Arguments<'_>) -> ExitCode {
    report(&Failure::new(Exit::Other, what.to_string()))
}

/// A closed stderr leaves nobody to tell.
fn to_stderr(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
