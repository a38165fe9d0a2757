//! What is printed: one JSON object a line.

use std::io::Write as _;

use serde::Serialize;

/// One figure of a run.
#[derive(Serialize)]
pub(crate) struct Figure<'a> {
    pub(crate) test: &'a str,
    pub(crate) variant: String,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// What it must be at most.
    pub(crate) target: f64,
}

/// Prints a line.
pub(crate) fn print(line: &impl Serialize) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(line)?)?)
}
