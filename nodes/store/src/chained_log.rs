//! An append-only file in which each record vouches for all before it.
//!
//! ```text
//! header  magic "rdcq-log", format u16, herd's length u8, herd; then the SHA-256 of all that
//! record  length u32, lead u32, payload, SHA-256(previous hash, lead, payload)
//! ```
//!
//! Numbers are big-endian. `lead` says how many bytes of the same append come before the record. An append is synced
//! before it is answered, so only the last one can be torn: a bad record is cut off with all behind it if nothing
//! behind it belongs to a later append, and is an error otherwise.

mod replay;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rdcq_env::disk::{create_dir_durable, parent, write_durable};
use rdcq_env::{DiskFile, Env, Mode};
use rdcq_wire::{Digest, HerdId};

use self::replay::Replay;
use crate::StampError;
use crate::stamp::Stamp;

/// An open log. Clones share it; appends are made one after the other.
#[derive(Clone)]
pub struct ChainedLog {
    env: Env,
    path: Arc<Path>,
    tail: Arc<tokio::sync::Mutex<Tail>>,
    head: Arc<Mutex<Head>>,
}

/// Where a log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last record's hash, which covers all records; of an empty log its header's.
    pub hash: Digest,
    /// How many records there are.
    pub count: u64,
}

/// The end that the next append goes to.
struct Tail {
    file: Arc<dyn DiskFile>,
    offset: u64,
    state: TailState,
}

enum TailState {
    Sound,
    /// Why nothing is appended any more.
    Broken(Arc<str>),
}

impl ChainedLog {
    /// Longest payload, in bytes.
    pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
    /// Most bytes of one append, frames included.
    pub const MAX_APPEND_BYTES: usize = 16 * 1024 * 1024;
    const FORMAT: u16 = 2;

    /// Opens the log, or creates it, and shows every payload in order to `visit`.
    pub async fn open(
        env: &Env,
        path: PathBuf,
        herd: &HerdId,
        visit: &mut impl FnMut(&[u8]),
    ) -> Result<Self, LogError> {
        let stamp = Stamp { magic: *b"rdcq-log", format: Self::FORMAT, herd: herd.clone() };
        let disk = Arc::clone(env.disk());
        let at: Arc<Path> = path.into();
        let place = Arc::clone(&at);
        let mut replay = env
            .blocking(move || {
                let io = |source| LogError::Io { path: place.to_path_buf(), source };
                if !disk.exists(&place).map_err(io)? {
                    let stamp = stamp.encode();
                    let header = [&stamp[..], Digest::of(&stamp).as_bytes()].concat();
                    create_dir_durable(&*disk, parent(&place)).map_err(io)?;
                    write_durable(&*disk, &place, &header, Mode::Private).map_err(io)?;
                }
                Replay::open(disk.open(&place).map_err(io)?, Arc::clone(&place), &stamp)
            })
            .await?;
        loop {
            let (next, payloads) = env.blocking(move || replay.next_payloads()).await?;
            replay = next;
            if payloads.is_empty() {
                break;
            }
            payloads.iter().for_each(|payload| visit(payload));
        }
        let (disk, place) = (Arc::clone(env.disk()), Arc::clone(&at));
        let finish = move || {
            let end = replay.finish()?;
            // Whoever created the file may have been killed before its name was durable.
            let synced = disk.sync_dir(parent(&place));
            synced.map(|()| end).map_err(|source| LogError::Io { path: place.to_path_buf(), source })
        };
        let (file, offset, head) = env.blocking(finish).await?;
        let tail = Tail { file, offset, state: TailState::Sound };
        Ok(Self {
            env: env.clone(),
            path: at,
            tail: Arc::new(tokio::sync::Mutex::new(tail)),
            head: Arc::new(Mutex::new(head)),
        })
    }

    /// Appends records and returns when they are durable: all of them, or by an error none that count. Once begun it
    /// runs to its end even if the future is dropped.
    pub async fn append(&self, payloads: Vec<Vec<u8>>) -> Result<Head, LogError> {
        if let Some(wrong) = payloads.iter().find(|p| p.is_empty() || p.len() > Self::MAX_PAYLOAD_BYTES) {
            return Err(LogError::PayloadLength(wrong.len()));
        }
        let bytes = payloads.iter().map(|payload| payload.len() + FRAME_BYTES).sum::<usize>();
        if bytes > Self::MAX_APPEND_BYTES {
            return Err(LogError::AppendLength(bytes));
        }
        let mut tail = Arc::clone(&self.tail).lock_owned().await;
        let head = Arc::clone(&self.head);
        let path = Arc::clone(&self.path);
        let append = move || {
            let before = *lock(&head);
            let (frames, after) = frames(before, &payloads);
            tail.append(&frames, &path)?;
            *lock(&head) = after;
            Ok(after)
        };
        self.env.blocking(append).await
    }

    /// Where the log stands.
    pub fn head(&self) -> Head {
        *lock(&self.head)
    }
}

impl Tail {
    fn append(&mut self, frames: &[u8], path: &Path) -> Result<(), LogError> {
        if let TailState::Broken(reason) = &self.state {
            return Err(LogError::Poisoned { path: path.to_owned(), reason: Arc::clone(reason) });
        }
        if let Err(source) = self.file.write_all_at(frames, self.offset) {
            // What was written in part must not stand in the way of the next append.
            return Err(match self.file.set_len(self.offset) {
                Ok(()) => LogError::Io { path: path.to_owned(), source },
                Err(error) => self.break_off(path, &error),
            });
        }
        if let Err(error) = self.file.sync_data() {
            // The next start must not take from the page cache what may never reach the disk.
            if let Err(error) = self.file.set_len(self.offset) {
                let path = path.display();
                tracing::error!(%path, %error, "records that were not synced could not be cut off again");
            }
            return Err(self.break_off(path, &error));
        }
        self.offset += frames.len() as u64;
        Ok(())
    }

    fn break_off(&mut self, path: &Path, error: &io::Error) -> LogError {
        let reason: Arc<str> = error.to_string().into();
        self.state = TailState::Broken(Arc::clone(&reason));
        LogError::Poisoned { path: path.to_owned(), reason }
    }
}

/// Bytes of a record around its payload.
const FRAME_BYTES: usize = 4 + 4 + Digest::LEN;

/// The records of one append, and the head after them.
fn frames(mut head: Head, payloads: &[Vec<u8>]) -> (Vec<u8>, Head) {
    let mut frames = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + FRAME_BYTES).sum());
    for payload in payloads {
        let lead = u32::try_from(frames.len()).expect("an append is at most MAX_APPEND_BYTES");
        let len = u32::try_from(payload.len()).expect("payloads are at most MAX_PAYLOAD_BYTES");
        head = Head { hash: chain(head.hash, lead, payload), count: head.count + 1 };
        frames.extend_from_slice(&len.to_be_bytes());
        frames.extend_from_slice(&lead.to_be_bytes());
        frames.extend_from_slice(payload);
        frames.extend_from_slice(head.hash.as_bytes());
    }
    (frames, head)
}

fn chain(previous: Digest, lead: u32, payload: &[u8]) -> Digest {
    let mut hasher = rdcq_wire::Hasher::default();
    hasher.update(previous.as_bytes());
    hasher.update(&lead.to_be_bytes());
    hasher.update(payload);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file is not ours.
    #[error(transparent)]
    Stamp(#[from] StampError),
    /// A record is damaged although later ones were written and synced after it.
    #[error(
        "{} is damaged at byte {offset}, and records follow it; restore the file from another node's copy",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
    },
    /// The disk failed; the log is as it was.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A sync failed, or what a failed write left could not be cut off. What is on the disk is unknown until the node is
    /// started again.
    #[error("{} takes no more records after a failed write or sync ({reason}); start the node again", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        reason: Arc<str>,
    },
    /// A payload that no log takes.
    #[error("a record of {0} bytes is outside 1 to {max}", max = ChainedLog::MAX_PAYLOAD_BYTES)]
    PayloadLength(usize),
    /// More than one append takes.
    #[error("{0} bytes of records are over the maximum of one append, {max}", max = ChainedLog::MAX_APPEND_BYTES)]
    AppendLength(usize),
}
