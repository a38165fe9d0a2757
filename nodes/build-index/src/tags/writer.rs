//! The one task that writes tags.

use std::path::Path;

use rdcq_env::Env;
use rdcq_store::{ChainedLog, LogError};
use rdcq_wire::message::{Fresh, PutTag};
use rdcq_wire::{HerdId, NodeId, Record, State, TagQuery, Version};
use tokio::sync::{mpsc, oneshot};

use super::TagsError;
use super::index::Index;

type Answer<T> = oneshot::Sender<Result<T, TagsError>>;

/// What the writer is asked to do.
pub(super) enum Order {
    Put(PutTag, Answer<(Record, Fresh)>),
    Remove(TagQuery, NodeId, Answer<Record>),
}

pub(super) struct Writer {
    env: Env,
    log: ChainedLog,
    index: Index,
}

/// Opens the log and reads what it holds.
pub(super) async fn open_log(
    env: &Env,
    path: &Path,
    herd: &HerdId,
) -> Result<(ChainedLog, Vec<Record>), TagsError> {
    let mut records = Vec::new();
    let mut visit = |payload: &[u8]| records.push(postcard::from_bytes(payload).ok());
    let log = ChainedLog::open(env, path.to_owned(), herd, &mut visit).await?;
    let records: Option<Vec<Record>> = records.into_iter().collect();
    records.map(|records| (log, records)).ok_or_else(|| TagsError::Malformed(path.display().to_string()))
}

impl Writer {
    pub(super) const fn new(env: Env, log: ChainedLog, index: Index) -> Self {
        Self { env, log, index }
    }

    /// Works until everybody who could order has gone, or a write fails in a way that leaves nothing certain: then the
    /// log must be read again.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Order>) {
        while let Some(order) = queue.recv().await {
            let healthy = match order {
                Order::Put(put, answer) => answer_with(answer, self.put(put).await),
                Order::Remove(query, by, answer) => answer_with(answer, self.remove(&query, by).await),
            };
            if !healthy {
                tracing::error!("the tag writer stops: a write failed");
                return;
            }
        }
    }

    async fn put(&mut self, put: PutTag) -> Result<(Record, Fresh), TagsError> {
        if let Some(record) = self.index.of_push(&put.name.key, put.push, &put.digest)? {
            return Ok((record, Fresh::Written));
        }
        let seq = self.index.highest(&put.name.key)? + 1;
        self.refuse_other_host(&put, seq - 1)?;
        let version = match put.version {
            Some(version) => version,
            None => self.free_version(&put, seq)?,
        };
        if let Some(record) = self.index.newest(&put.name.key, &version)?
            && record.state == State::Live
        {
            if record.digest == put.digest {
                return Ok((record, Fresh::Standing));
            }
            return Err(TagsError::Conflict { tag: record.tag(), standing: record.digest });
        }
        let record = Record {
            name: put.name,
            version,
            seq,
            digest: put.digest,
            manifest: put.manifest,
            size: put.size,
            pieces: put.pieces,
            by: put.by,
            at_unix_ms: self.env.unix_ms(),
            push: put.push,
            attributes: put.attributes,
            state: State::Live,
        };
        self.write(&record).await?;
        Ok((record, Fresh::Written))
    }

    /// A key stays with the host whose content it named first: of the hosts `db` and `db-1`, either could otherwise name
    /// content by a key that begins with `db-1-`.
    fn refuse_other_host(&self, put: &PutTag, highest: u64) -> Result<(), TagsError> {
        match self.index.record(&put.name.key, highest)? {
            Some(record) if record.name.host != put.name.host => Err(TagsError::OtherHost {
                key: put.name.key.to_string(),
                owner: record.name.host,
                other: put.name.host.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The version that is named after its sequence number, or after the first later one that nobody has used.
    fn free_version(&self, put: &PutTag, seq: u64) -> Result<Version, TagsError> {
        let mut number = seq;
        loop {
            let version = Version::from_sequence(number);
            if self.index.newest(&put.name.key, &version)?.is_none() {
                return Ok(version);
            }
            number += 1;
        }
    }

    async fn remove(&mut self, query: &TagQuery, by: NodeId) -> Result<Record, TagsError> {
        let live = self.index.resolve(query)?.ok_or_else(|| TagsError::NotFound(query.clone()))?;
        let seq = self.index.highest(&query.key)? + 1;
        let tombstone = Record { seq, by, at_unix_ms: self.env.unix_ms(), state: State::Removed, ..live };
        self.write(&tombstone).await?;
        Ok(tombstone)
    }

    /// The log first: what it has, the catalogue can be given again.
    async fn write(&mut self, record: &Record) -> Result<(), TagsError> {
        let payload = postcard::to_allocvec(record).map_err(|_| TagsError::Malformed(record.tag()))?;
        self.log.append(vec![payload]).await?;
        self.index.commit(std::slice::from_ref(record)).await
    }
}

/// Passes the answer on, and says whether the writer may go on.
fn answer_with<T>(answer: Answer<T>, outcome: Result<T, TagsError>) -> bool {
    let healthy = match &outcome {
        Err(TagsError::Log(error)) => left_as_it_was(error),
        Err(TagsError::Catalogue(_)) => false,
        _ => true,
    };
    // Whoever asked may have gone; what was written stands all the same.
    let _ = answer.send(outcome);
    healthy
}

/// Whether the log stands where it stood before the append that failed, as on a full disk.
const fn left_as_it_was(error: &LogError) -> bool {
    matches!(error, LogError::Io { .. } | LogError::PayloadLength(_) | LogError::AppendLength(_))
}
