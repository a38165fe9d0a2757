//! What is printed: one JSON object a line.

use std::fmt;
use std::io::Write as _;

use serde::{Serialize, Serializer};

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

/// A number of which three places are of interest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounded(pub(crate) f64);

impl Serialize for Rounded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((self.0 * 1e3).round() / 1e3)
    }
}

/// As people write it.
pub(crate) fn shown<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The one in the middle, or the lower of the two that are.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
