//! `rdcq inspect`.

use std::ffi::OsStr;
use std::fmt;

use clap::Args;
use rdcq_client::ask;
use rdcq_wire::{Attributes, Record, TagQuery};
use serde::Serialize;
use time::OffsetDateTime;

use super::completion::of_tags;
use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::failure::Failure;

/// Show what is known of a tag.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq inspect 10.1.2.3-/data/ref-secu.txt"))]
pub(crate) struct Inspect {
    /// The tag: KEY for the latest version, or KEY:VERSION.
    #[arg(add = of_tags())]
    tag: TagQuery,
}

impl Inspect {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let caller = Caller::open(console, herd, Rights::Client, None).await?;
        let work = async { Ok(ask::resolve(&caller.session, &self.tag).await?) };
        let record = caller.attend(work).await?;
        console.result(Some(caller.herd.as_str()), &Full::of(&record))
    }
}

/// What one line says of a tag.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Described {
    pub(crate) tag: String,
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl Described {
    pub(crate) fn of(record: &Record) -> Self {
        Self {
            tag: record.tag(),
            version: record.version.to_string(),
            digest: record.digest.to_string(),
            size: record.size,
        }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.tag, self.digest, self.size)
    }
}

/// All that a record says.
#[derive(Serialize)]
struct Full {
    #[serde(flatten)]
    what: Described,
    key: String,
    host: String,
    directory: String,
    file: String,
    sequence: u64,
    manifest: String,
    pieces: u32,
    pushed_by: String,
    pushed_at: String,
    mode: String,
    modified_at: String,
    description: String,
}

impl Full {
    fn of(record: &Record) -> Self {
        Self {
            what: Described::of(record),
            key: record.name.key.to_string(),
            host: record.name.host.to_string(),
            directory: record.name.directory.to_string(),
            file: record.name.file.to_string(),
            sequence: record.seq,
            manifest: record.manifest.to_string(),
            pieces: record.pieces,
            pushed_by: record.by.to_string(),
            pushed_at: utc(record.at_unix_ms),
            mode: mode(record),
            modified_at: modified_at(record),
            description: record.attributes.description.to_string(),
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, host, directory, file, sequence, manifest, pieces, pushed_by, pushed_at, .. } = self;
        writeln!(f, "tag        {}", what.tag)?;
        writeln!(f, "digest     {}", what.digest)?;
        writeln!(f, "size       {}", what.size)?;
        writeln!(f, "pieces     {pieces}")?;
        writeln!(f, "manifest   {manifest}")?;
        writeln!(f, "host       {host}")?;
        writeln!(f, "directory  {directory}")?;
        writeln!(f, "file       {file}")?;
        writeln!(f, "version    {} (number {sequence} of its history)", what.version)?;
        writeln!(f, "mode       {}", self.mode)?;
        writeln!(f, "modified   {}", self.modified_at)?;
        write!(f, "pushed     {pushed_at} by {pushed_by}")?;
        if !self.description.is_empty() {
            write!(f, "\nsays       {}", self.description)?;
        }
        Ok(())
    }
}

/// A file's permissions, in octal.
fn mode(record: &Record) -> String {
    format!("{:04o}", record.attributes.mode & Attributes::PERMISSIONS)
}

/// When the file was written to, where it was pushed.
fn modified_at(record: &Record) -> String {
    utc(record.attributes.modified_unix_ns.div_euclid(1_000_000))
}

/// A time as RFC 3339 writes it, to the second.
pub(crate) fn utc(unix_ms: impl Into<i128>) -> String {
    let unix_ms = unix_ms.into();
    let seconds = i64::try_from(unix_ms.div_euclid(1000)).unwrap_or(i64::MAX);
    let Ok(at) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return format!("{unix_ms} ms after 1970");
    };
    let (hour, minute, second) = at.to_hms();
    format!("{}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", at.year(), u8::from(at.month()), at.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc_and_absurd_ones_as_they_are() {
        assert_eq!(utc(1_767_225_600_999_u64), "2026-01-01T00:00:00Z");
        assert_eq!(utc(951_827_696_000_u64), "2000-02-29T12:34:56Z");
        assert_eq!(utc(-1_i64), "1969-12-31T23:59:59Z");
        assert_eq!(utc(u64::MAX), format!("{} ms after 1970", u64::MAX));
    }
}
