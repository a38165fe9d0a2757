//! Reading a log from its start, and telling a torn end from damage.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rdcq_env::DiskFile;
use rdcq_wire::Digest;

use super::{ChainedLog, FRAME_BYTES, Head, LogError, chain};
use crate::StampError;
use crate::stamp::Stamp;

/// Bytes read at once; holds any record.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
const _: () = assert!(WINDOW_BYTES >= 4 * (ChainedLog::MAX_PAYLOAD_BYTES + FRAME_BYTES));

/// A log being read.
pub(super) struct Replay {
    file: Arc<dyn DiskFile>,
    path: Arc<Path>,
    len: u64,
    offset: u64,
    head: Head,
}

impl Replay {
    pub(super) fn open(file: Arc<dyn DiskFile>, path: Arc<Path>, stamp: &Stamp) -> Result<Self, LogError> {
        let io = |source| LogError::Io { path: path.to_path_buf(), source };
        let len = file.len().map_err(io)?;
        let start = read(&*file, 0, (Stamp::MAX_BYTES + Digest::LEN) as u64, len).map_err(io)?;
        let foreign = || StampError::Foreign { path: path.to_path_buf() };
        let (found, rest) = Stamp::split(&start).ok_or_else(foreign)?;
        let header = start.len() - rest.len();
        let hash = Digest::of(&start[..header]);
        if !rest.starts_with(hash.as_bytes()) {
            return Err(foreign().into());
        }
        stamp.check(&found, &path)?;
        let offset = (header + Digest::LEN) as u64;
        Ok(Self { file, path, len, offset, head: Head { hash, count: 0 } })
    }

    /// The next payloads in order; none at the end of what is sound.
    pub(super) fn next_payloads(mut self) -> Result<(Self, Vec<Vec<u8>>), LogError> {
        let window = self.read(self.offset, WINDOW_BYTES)?;
        let mut rest = &window[..];
        let mut payloads = Vec::new();
        while let Some((record, behind)) = Record::split(rest) {
            if record.hash != chain(self.head.hash, record.lead, record.payload) {
                break;
            }
            self.offset += (rest.len() - behind.len()) as u64;
            self.head = Head { hash: record.hash, count: self.head.count + 1 };
            payloads.push(record.payload.to_vec());
            rest = behind;
        }
        Ok((self, payloads))
    }

    /// Cuts off a torn end, and syncs the rest: whoever wrote it may have been killed before. Damage that is no torn end
    /// is an error.
    pub(super) fn finish(self) -> Result<(Arc<dyn DiskFile>, u64, Head), LogError> {
        if self.offset < self.len {
            if self.later_append_follows()? {
                return Err(LogError::Damaged { path: self.path.to_path_buf(), offset: self.offset });
            }
            let path = self.path.display();
            let cut = self.len - self.offset;
            tracing::warn!(%path, offset = self.offset, cut, "cut a torn append off the end of the log");
            self.file.set_len(self.offset).map_err(|source| self.io(source))?;
        }
        self.file.sync_all().map_err(|source| self.io(source))?;
        Ok((self.file, self.offset, self.head))
    }

    /// Whether a sound record of an append that began after the damage comes after it. A record's hash takes in the
    /// 32 bytes before it, so each one can be told on its own, wherever it begins; but for the one behind a record of
    /// which only the hash is damaged.
    fn later_append_follows(&self) -> Result<bool, LogError> {
        let next = self.read(self.offset, 2 * (ChainedLog::MAX_PAYLOAD_BYTES + FRAME_BYTES))?;
        if let Some((record, behind)) = Record::split(&next) {
            let hash = chain(self.head.hash, record.lead, record.payload);
            if begins_later_append(hash.as_bytes(), behind, (next.len() - behind.len()) as u64) {
                return Ok(true);
            }
        }
        let overlap = ChainedLog::MAX_PAYLOAD_BYTES + FRAME_BYTES + Digest::LEN;
        let mut from = self.offset;
        loop {
            let window = self.read(from, WINDOW_BYTES)?;
            let found = (0..window.len().saturating_sub(Digest::LEN)).any(|at| {
                let start = from + (at + Digest::LEN) as u64;
                let (previous, record) = window[at..].split_at(Digest::LEN);
                begins_later_append(previous, record, start - self.offset)
            });
            if found {
                return Ok(true);
            }
            if from + window.len() as u64 >= self.len {
                return Ok(false);
            }
            from += (window.len() - overlap) as u64;
        }
    }

    fn read(&self, offset: u64, max: usize) -> Result<Vec<u8>, LogError> {
        read(&*self.file, offset, max as u64, self.len).map_err(|source| self.io(source))
    }

    fn io(&self, source: io::Error) -> LogError {
        LogError::Io { path: self.path.to_path_buf(), source }
    }
}

/// Whether `bytes` begin with a sound record of an append that began after the damage, `distance` bytes before.
fn begins_later_append(previous: &[u8], bytes: &[u8], distance: u64) -> bool {
    let Ok(previous) = previous.try_into() else { return false };
    Record::split(bytes).is_some_and(|(record, _)| {
        u64::from(record.lead) < distance
            && record.hash == chain(Digest::from_bytes(previous), record.lead, record.payload)
    })
}

fn read(file: &dyn DiskFile, offset: u64, max: u64, len: u64) -> io::Result<Vec<u8>> {
    let bytes = max.min(len.saturating_sub(offset));
    let mut window = vec![0; usize::try_from(bytes).expect("max is a few megabytes")];
    file.read_exact_at(&mut window, offset)?;
    Ok(window)
}

struct Record<'a> {
    lead: u32,
    payload: &'a [u8],
    hash: Digest,
}

impl<'a> Record<'a> {
    /// Splits a record off the front of `bytes`, whether or not its hash holds.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (lead, rest) = rest.split_first_chunk()?;
        let len = u32::from_be_bytes(*len) as usize;
        if len == 0 || len > ChainedLog::MAX_PAYLOAD_BYTES {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(len)?;
        let (hash, rest) = rest.split_first_chunk()?;
        let record = Self { lead: u32::from_be_bytes(*lead), payload, hash: Digest::from_bytes(*hash) };
        Some((record, rest))
    }
}
