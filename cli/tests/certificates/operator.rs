//! What an operator does to certificates, and what nodes say to that.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use rdcq::Seat;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::cluster::{CALLERS, Cluster, poll};
use crate::command::Running;

/// What a node says when it has taken other files.
const IN_FORCE: &str = "new credentials are in force";

/// What a node says of those whom it does not believe.
const TURNED_AWAY: [&str; 2] = ["connection closed", "connection refused"];

/// A place in a node's log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) seat: Seat,
    len: usize,
}

impl Cluster {
    /// `rdcq certs`.
    #[track_caller]
    pub(crate) fn certs(&self, arguments: &[&str]) {
        let outcome = Running::start(self.command().arg("certs").args(arguments)).end();
        assert!(outcome.is_success(), "{arguments:?}: {outcome:?}");
    }

    /// Replaces the certificates of all nodes and of those who use the herd.
    pub(crate) fn rotate_all(&self) {
        let names = self.seats().map(|seat| seat.to_string()).chain(CALLERS.map(str::to_owned));
        let files: Vec<String> = names.map(|name| format!("{name}/{name}.pem")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        self.certs(&[&["rotate"], &files[..]].concat());
    }

    /// Copies a file of the CA's folder into another one, as an operator does.
    pub(crate) fn give(&self, file: &str, to: &str) {
        fs::copy(self.path(&format!("certs/{file}")), self.path(&format!("{to}/{file}"))).unwrap();
    }

    /// Copies a file of the CA's folder to everybody.
    pub(crate) fn distribute(&self, file: &str) {
        self.seats().for_each(|seat| self.give(file, &seat.to_string()));
        CALLERS.iter().for_each(|caller| self.give(file, caller));
    }

    /// The certificate in a node's folder.
    pub(crate) fn certificate(&self, seat: Seat) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(&format!("{seat}/{seat}.pem"))).unwrap()
    }

    /// The ends of all nodes' logs.
    pub(crate) fn marks(&self) -> Vec<Mark> {
        self.seats().map(|seat| self.mark(seat)).collect()
    }

    pub(crate) fn mark(&self, seat: Seat) -> Mark {
        Mark { seat, len: self.log(seat).len() }
    }

    /// What a node has said since.
    pub(crate) fn said(&self, mark: Mark) -> String {
        self.log(mark.seat)[mark.len..].to_owned()
    }

    /// Waits for a line with all of these words.
    #[track_caller]
    pub(crate) fn wait_said(&self, mark: Mark, words: &[&str]) -> String {
        let line = poll(|| {
            let said = self.said(mark);
            said.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned)
        });
        line.unwrap_or_else(|| panic!("{} does not say {words:?}: {}", mark.seat, self.said(mark)))
    }

    /// Waits until all of the nodes have taken new files.
    #[track_caller]
    pub(crate) fn wait_in_force(&self, marks: &[Mark]) {
        marks.iter().for_each(|mark| drop(self.wait_said(*mark, &[IN_FORCE])));
    }

    /// No node has closed a connection or refused one since.
    #[track_caller]
    pub(crate) fn nobody_was_turned_away(&self, marks: &[Mark]) {
        for mark in marks {
            let said = self.said(*mark);
            let turned_away = said.lines().find(|line| TURNED_AWAY.iter().any(|words| line.contains(words)));
            assert_eq!(turned_away, None, "{}: {said}", mark.seat);
        }
    }
}

/// What the clock shows, in milliseconds after 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Waits until the clock shows a time, in seconds after 1970.
pub(crate) fn wait_until_unix_s(time: u64) {
    let late = poll(|| (unix_ms() / 1000 >= time).then_some(()));
    assert!(late.is_some(), "the clock does not come to {time:?}");
}

/// How long something took, at most.
#[track_caller]
pub(crate) fn within(limit: Duration, since: Instant, what: &str) -> Duration {
    let took = since.elapsed();
    assert!(took <= limit, "{what} took {took:?}, may take {limit:?}");
    took
}
