//! The catalogue as an index of records.

use std::sync::Arc;

use rdcq_store::{Batch, Catalogue};
use rdcq_wire::message::{Cursor, Selection};
use rdcq_wire::tag::Field;
use rdcq_wire::{Digest, NodeId, Record, State, TagKey, TagQuery, Version};

use super::{TagsError, Taken};

/// Records read from the catalogue at once.
const PAGE: usize = 256;
/// Log entries taken into the catalogue in one commit while it catches up.
const CATCH_UP: usize = 1024;

#[derive(Clone)]
pub(crate) struct Index(Arc<dyn Catalogue>);

impl Index {
    pub(crate) fn new(catalogue: Arc<dyn Catalogue>) -> Self {
        Self(catalogue)
    }

    /// Takes in the log's entries that the catalogue has not seen.
    pub(crate) async fn catch_up(&self, entries: &[Record]) -> Result<(), TagsError> {
        let seen = self.seen()?;
        let log = entries.len() as u64;
        let fresh = usize::try_from(seen).ok().and_then(|seen| entries.get(seen..));
        let fresh = fresh.ok_or(TagsError::LogBehind { log, catalogue: seen })?;
        if !fresh.is_empty() {
            tracing::info!(entries = fresh.len(), "the catalogue takes in what only the log has");
        }
        for records in fresh.chunks(CATCH_UP) {
            self.commit(records).await?;
        }
        Ok(())
    }

    /// Takes records in, durably. They must follow those taken in before.
    pub(crate) async fn commit(&self, records: &[Record]) -> Result<(), TagsError> {
        let mut batch = Batch::default();
        for record in records {
            self.index(&mut batch, records, record)?;
        }
        let seen = self.seen()? + records.len() as u64;
        batch.put.push((SEEN.to_vec(), seen.to_be_bytes().to_vec()));
        self.0.commit(batch).await?;
        Ok(())
    }

    fn index(&self, batch: &mut Batch, group: &[Record], record: &Record) -> Result<(), TagsError> {
        let key = &record.name.key;
        let value = postcard::to_allocvec(record).map_err(|_| TagsError::Malformed(record.tag()))?;
        batch.put.push((record_key(key, record.seq), value));
        batch.put.push((version_key(key, &record.version), record.seq.to_be_bytes().to_vec()));
        batch.put.push((file_key(&record.name.file, key), Vec::new()));
        batch.put.push((highest_key(key), record.seq.to_be_bytes().to_vec()));
        match record.state {
            State::Live => batch.put.push((digest_key(&record.digest, key, record.seq), Vec::new())),
            State::Removed => {
                // A tombstone takes the digest's mention by the record that it ends, wherever that is.
                let ends = |other: &&Record| {
                    let same = other.name.key == *key && other.version == record.version;
                    same && other.seq < record.seq && other.state == State::Live
                };
                let ended = group.iter().rfind(ends).cloned().or(self.newest(key, &record.version)?);
                if let Some(ended) = ended {
                    let ended = digest_key(&ended.digest, key, ended.seq);
                    // Deletes of a batch come before its puts: one that is put in the same batch is simply not put.
                    batch.put.retain(|(key, _)| *key != ended);
                    batch.delete.push(ended);
                }
            }
        }
        Ok(())
    }

    /// The highest sequence of a key; 0 if it has no history.
    pub(crate) fn highest(&self, key: &TagKey) -> Result<u64, TagsError> {
        Ok(self.number(&highest_key(key))?.unwrap_or(0))
    }

    /// The newest record of a version, live or not.
    pub(crate) fn newest(&self, key: &TagKey, version: &Version) -> Result<Option<Record>, TagsError> {
        match self.number(&version_key(key, version))? {
            Some(seq) => self.record(key, seq),
            None => Ok(None),
        }
    }

    pub(crate) fn resolve(&self, query: &TagQuery) -> Result<Option<Record>, TagsError> {
        let found = match &query.version {
            Some(version) => self.newest(&query.key, version)?,
            None => self.latest(&query.key)?,
        };
        Ok(found.filter(|record| record.state == State::Live))
    }

    /// The live record with the highest sequence: one that no later record of its version ended.
    fn latest(&self, key: &TagKey) -> Result<Option<Record>, TagsError> {
        for seq in (1..=self.highest(key)?).rev() {
            let Some(record) = self.record(key, seq)? else { continue };
            if self.stands(&record)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn stands(&self, record: &Record) -> Result<bool, TagsError> {
        let newest = self.number(&version_key(&record.name.key, &record.version))?;
        Ok(record.state == State::Live && newest == Some(record.seq))
    }

    /// The record that a push wrote, if it has written one.
    pub(crate) fn of_push(
        &self,
        key: &TagKey,
        push: u64,
        digest: &Digest,
    ) -> Result<Option<Record>, TagsError> {
        // A repeated commit comes soon after the first: its record is among the newest.
        const NEWEST: u64 = 64;
        let highest = self.highest(key)?;
        for seq in (highest.saturating_sub(NEWEST) + 1..=highest).rev() {
            let record = self.record(key, seq)?;
            let own = record.filter(|record| record.push == push && record.digest == *digest);
            if let Some(record) = own.filter(|record| record.state == State::Live) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    pub(crate) fn is_live(&self, digest: &Digest) -> Result<bool, TagsError> {
        let prefix = [b"d", digest.as_bytes().as_slice()].concat();
        Ok(!self.0.scan(&prefix, None, 1)?.is_empty())
    }

    pub(crate) fn list(
        &self,
        what: &Selection,
        after: Option<&Cursor>,
        take: &mut dyn FnMut(&Record) -> Taken,
    ) -> Result<Option<Cursor>, TagsError> {
        match what {
            Selection::Prefix(prefix) => self.list_live(prefix.as_str(), after, take),
            Selection::File(file, host) => self.list_files(file, host.as_ref(), after, take),
            Selection::History(key) => self.list_history(key, after, take),
        }
    }

    fn list_live(
        &self,
        prefix: &str,
        after: Option<&Cursor>,
        take: &mut dyn FnMut(&Record) -> Taken,
    ) -> Result<Option<Cursor>, TagsError> {
        let prefix = [b"r", prefix.as_bytes()].concat();
        let mut from = after.map(|cursor| record_key(&cursor.key, cursor.seq));
        let mut last = after.cloned();
        loop {
            let page = self.0.scan(&prefix, from.as_deref(), PAGE)?;
            for (key, value) in &page {
                let record = parse(key, value)?;
                if self.stands(&record)? && matches!(take(&record), Taken::Full) {
                    return Ok(last);
                }
                last = Some(Cursor { key: record.name.key, seq: record.seq });
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => from = Some(key.clone()),
                _ => return Ok(None),
            }
        }
    }

    fn list_files(
        &self,
        file: &Field,
        host: Option<&NodeId>,
        after: Option<&Cursor>,
        take: &mut dyn FnMut(&Record) -> Taken,
    ) -> Result<Option<Cursor>, TagsError> {
        let prefix = file_prefix(file);
        let mut from = after.map(|cursor| file_key(file, &cursor.key));
        let mut last = after.cloned();
        loop {
            let page = self.0.scan(&prefix, from.as_deref(), PAGE)?;
            for (entry, _) in &page {
                let key = entry.get(prefix.len()..).and_then(|key| std::str::from_utf8(key).ok());
                let key: TagKey = key.and_then(|key| key.parse().ok()).ok_or_else(|| malformed(entry))?;
                let latest = self.latest(&key)?.filter(|record| {
                    record.name.file == *file && host.is_none_or(|host| record.name.host == *host)
                });
                if latest.is_some_and(|record| matches!(take(&record), Taken::Full)) {
                    return Ok(last);
                }
                last = Some(Cursor { key, seq: 0 });
            }
            match page.last() {
                Some((entry, _)) if page.len() == PAGE => from = Some(entry.clone()),
                _ => return Ok(None),
            }
        }
    }

    fn list_history(
        &self,
        key: &TagKey,
        after: Option<&Cursor>,
        take: &mut dyn FnMut(&Record) -> Taken,
    ) -> Result<Option<Cursor>, TagsError> {
        let highest = self.highest(key)?;
        let oldest_told = after.map_or(u64::MAX, |cursor| cursor.seq);
        for seq in (1..=highest.min(oldest_told.saturating_sub(1))).rev() {
            if self.record(key, seq)?.is_some_and(|record| matches!(take(&record), Taken::Full)) {
                return Ok(Some(Cursor { key: key.clone(), seq: seq + 1 }));
            }
        }
        Ok(None)
    }

    fn seen(&self) -> Result<u64, TagsError> {
        Ok(self.number(SEEN)?.unwrap_or(0))
    }

    /// One record of a key's history.
    pub(crate) fn record(&self, key: &TagKey, seq: u64) -> Result<Option<Record>, TagsError> {
        let key = record_key(key, seq);
        self.0.get(&key)?.map(|value| parse(&key, &value)).transpose()
    }

    fn number(&self, key: &[u8]) -> Result<Option<u64>, TagsError> {
        let Some(value) = self.0.get(key)? else { return Ok(None) };
        let bytes = value.try_into().map_err(|_| malformed(key))?;
        Ok(Some(u64::from_be_bytes(bytes)))
    }
}

fn parse(key: &[u8], value: &[u8]) -> Result<Record, TagsError> {
    postcard::from_bytes(value).map_err(|_| malformed(key))
}

fn malformed(key: &[u8]) -> TagsError {
    TagsError::Malformed(String::from_utf8_lossy(key).into_owned())
}

const SEEN: &[u8] = b"n";

fn record_key(key: &TagKey, seq: u64) -> Vec<u8> {
    [b"r", key.as_str().as_bytes(), b"\0", &seq.to_be_bytes()].concat()
}

fn version_key(key: &TagKey, version: &Version) -> Vec<u8> {
    [b"v", key.as_str().as_bytes(), b"\0", version.as_str().as_bytes()].concat()
}

fn highest_key(key: &TagKey) -> Vec<u8> {
    [b"h", key.as_str().as_bytes()].concat()
}

fn file_prefix(file: &Field) -> Vec<u8> {
    [b"f", file.as_str().as_bytes(), b"\0"].concat()
}

fn file_key(file: &Field, key: &TagKey) -> Vec<u8> {
    [&file_prefix(file), key.as_str().as_bytes()].concat()
}

fn digest_key(digest: &Digest, key: &TagKey, seq: u64) -> Vec<u8> {
    [b"d", digest.as_bytes().as_slice(), key.as_str().as_bytes(), b"\0", &seq.to_be_bytes()].concat()
}
