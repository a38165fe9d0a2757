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
    // For programs that follow: a JSON object a line, progress included.
    Ndjson,
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

/// How it is shown how far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgressForm {
    /// Not at all.
    Hidden,
    /// A bar that moves.
    Bar,
    /// A line now and then.
    Lines,
    /// Lines of JSON.
    Events,
}

/// What a line of JSON is, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    /// How far the command is.
    Progress,
    /// One of the things that were asked for.
    Item,
    /// What the command came to.
    Result,
}

/// JSON with what all of it carries.
#[derive(Serialize)]
struct Envelope<'a, T> {
    format: u32,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    line: Option<Type>,
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
            Output::Json => self.json(None, herd, result),
            Output::Ndjson => self.json(Some(Type::Result), herd, result),
        }
    }

    /// Writes one of several things: as its text, or as a line of JSON.
    pub(crate) fn item<T: Serialize + fmt::Display>(&self, herd: &str, item: &T) -> Result<(), Failure> {
        match self.output {
            Output::Text => self.line(item),
            Output::Json | Output::Ndjson => self.json(Some(Type::Item), Some(herd), item),
        }
    }

    /// Writes a line of JSON that tells how far the command is.
    pub(crate) fn progress<T: Serialize>(&self, progress: &T) -> Result<(), Failure> {
        self.json(Some(Type::Progress), None, progress)
    }

    fn json<T: Serialize>(&self, line: Option<Type>, herd: Option<&str>, result: &T) -> Result<(), Failure> {
        let json = serde_json::to_string(&Envelope { format: FORMAT, line, herd, result });
        self.line(json.map_err(|error| Failure::other(format!("cannot write JSON: {error}")))?)
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

    /// A bar that moves only where somebody sees it and it disturbs nobody.
    pub(crate) fn progress_form(&self) -> ProgressForm {
        match (self.notes, self.output) {
            (Notes::Quiet, _) => ProgressForm::Hidden,
            (Notes::Shown, Output::Ndjson) => ProgressForm::Events,
            (Notes::Shown, Output::Text) if io::stderr().is_terminal() => ProgressForm::Bar,
            (Notes::Shown, Output::Text | Output::Json) => ProgressForm::Lines,
        }
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
