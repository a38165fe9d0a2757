//! What a CA folder remembers: `issued.tsv`, a line for each certificate, and `revoked.tsv`, a line for each that was
//! taken back. Both only grow, are fields between tabs, and are for people to read, too.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rdcq_certs::{Issued, Revoked, Serial};
use rdcq_wire::Identity;

use crate::failure::Failure;

/// Largest of these files read, in bytes: a herd of 10,000 nodes that are renewed each month for a decade.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// A certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) serial: Serial,
    pub(crate) not_after_unix_s: u64,
    /// The number of the CA's own certificate.
    pub(crate) ca: Serial,
    pub(crate) identity: Identity,
}

impl Entry {
    pub(crate) fn of(issued: &Issued, ca: Serial, identity: &Identity) -> Self {
        let Issued { serial, not_after_unix_s, .. } = issued;
        Self { serial: serial.clone(), not_after_unix_s: *not_after_unix_s, ca, identity: identity.clone() }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}\t{}", self.serial, self.not_after_unix_s, self.ca, self.identity.to_spiffe())
    }
}

/// A line that is not one of ours.
pub(crate) struct Unreadable;

impl FromStr for Entry {
    type Err = Unreadable;

    fn from_str(line: &str) -> Result<Self, Unreadable> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [serial, not_after, ca, identity] = fields[..] else { return Err(Unreadable) };
        Ok(Self {
            serial: serial.parse().map_err(|_| Unreadable)?,
            not_after_unix_s: not_after.parse().map_err(|_| Unreadable)?,
            ca: ca.parse().map_err(|_| Unreadable)?,
            identity: Identity::from_spiffe(identity).map_err(|_| Unreadable)?,
        })
    }
}

/// A line of `revoked.tsv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenBack(pub(crate) Revoked);

impl fmt::Display for TakenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.0.serial, self.0.at_unix_s)
    }
}

impl FromStr for TakenBack {
    type Err = Unreadable;

    fn from_str(line: &str) -> Result<Self, Unreadable> {
        let (serial, at) = line.split_once('\t').ok_or(Unreadable)?;
        let serial = serial.parse().map_err(|_| Unreadable)?;
        Ok(Self(Revoked { serial, at_unix_s: at.parse().map_err(|_| Unreadable)? }))
    }
}

/// A file of such lines, ours alone as long as this value lives.
pub(crate) struct Records {
    path: PathBuf,
    file: File,
}

impl Records {
    /// Opens the file, or begins it, once nobody else has it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::options().create(true).append(true).read(true).open(path);
        let failed = |error| Failure::of_file("open", path, &error);
        let file = file.map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// All whole lines, by the number that they begin with; of two with one number, the first.
    pub(crate) fn read<T: FromStr<Err = Unreadable>>(
        &mut self,
        serial: impl Fn(&T) -> &Serial,
    ) -> Result<BTreeMap<Serial, T>, Failure> {
        let text = self.text()?;
        let mut read = BTreeMap::new();
        for (index, line) in text[..whole(&text)].lines().enumerate() {
            let parsed: T = line.parse().map_err(|Unreadable| {
                let what = format!("line {} of {} is not one of rdcq's", index + 1, self.path.display());
                Failure::other(what)
                    .with_hint("restore the file from a copy, or remove the line if nothing is lost by it")
            })?;
            read.entry(serial(&parsed).clone()).or_insert(parsed);
        }
        Ok(read)
    }

    /// Adds lines, which are durable on return.
    pub(crate) fn add<T: fmt::Display>(&mut self, added: &[T]) -> Result<(), Failure> {
        let text = self.text()?;
        let whole = whole(&text);
        let lines: String = added.iter().map(|line| format!("{line}\n")).collect();
        let cut = if whole == text.len() { Ok(()) } else { self.file.set_len(whole as u64) };
        let written =
            cut.and_then(|()| self.file.write_all(lines.as_bytes())).and_then(|()| self.file.sync_all());
        written.map_err(|error| Failure::of_file("write", &self.path, &error))
    }

    fn text(&mut self) -> Result<String, Failure> {
        let failed = |error| Failure::of_file("read", &self.path, &error);
        // Reading a file that is appended to begins wherever the last write ended.
        std::io::Seek::rewind(&mut self.file).map_err(failed)?;
        let mut text = String::new();
        (&self.file).take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_BYTES {
            let what = format!("{} is longer than {MAX_BYTES} bytes", self.path.display());
            return Err(Failure::other(what).with_hint("remove lines of certificates that have ended"));
        }
        Ok(text)
    }
}

/// Where the last whole line ends. What comes after was cut off by a crash: a certificate that nobody was given, or one
/// that nobody was told is revoked.
fn whole(text: &str) -> usize {
    text.rfind('\n').map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u8) -> TakenBack {
        TakenBack(Revoked { serial: format!("{number:02x}").parse().unwrap(), at_unix_s: 7 })
    }

    #[test]
    fn lines_read_back_and_one_that_a_crash_cut_off_is_passed_over_and_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked.tsv");
        Records::open(&path).unwrap().add(&[line(1), line(2)]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for cut in ["0", "03\t", "03\t1"] {
            std::fs::write(&path, format!("{text}{cut}")).unwrap();
            let read = Records::open(&path).unwrap().read(|line: &TakenBack| &line.0.serial).unwrap();
            assert_eq!(read.into_values().collect::<Vec<_>>(), [line(1), line(2)], "{cut:?} counts");
        }
        Records::open(&path).unwrap().add(&[line(4), line(1)]).unwrap();
        let read = Records::open(&path).unwrap().read(|line: &TakenBack| &line.0.serial).unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), [line(1), line(2), line(4)]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issued.tsv");
        for bad in ["", "x\t1\t2\tspiffe://h/n/agent", "01\t1\t02\tspiffe://h/n", "01\t1\t02"] {
            std::fs::write(&path, format!("01\t5\t02\tspiffe://h/n/agent\n{bad}\n")).unwrap();
            let failure = Records::open(&path).unwrap().read(|entry: &Entry| &entry.serial).unwrap_err();
            assert!(failure.what.starts_with("line 2 of "), "{}", failure.what);
        }
    }
}
