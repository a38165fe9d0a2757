//! A push: cut, offer, send what is wanted, commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rdcq_env::{DiskFile, EntryKind, FileAttributes, Stamp};
use rdcq_wire::message::{Commit, Fresh, Offer, PutPieces, Wanted};
use rdcq_wire::{
    Attributes, Cutter, Description, Digest, ErrorCode, Manifest, Name, Record, Role, Span, Version,
};

use crate::{OperationError, Session, retry};

/// What to push, and as what.
#[derive(Debug, Clone)]
pub struct Push {
    /// The file.
    pub path: PathBuf,
    /// What to call it.
    pub name: Name,
    /// Its version, or none for the next one.
    pub version: Option<Version>,
    /// What to say of it.
    pub description: Description,
    /// How long to go on trying while the herd cannot be reached.
    pub patience: Duration,
}

impl Push {
    /// A push of which nothing is said.
    pub fn new(path: PathBuf, name: Name, version: Option<Version>, patience: Duration) -> Self {
        Self { path, name, version, description: Description::default(), patience }
    }
}

/// How far a push is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushProgress {
    /// Bytes read and cut, of all.
    Cutting {
        /// Bytes cut.
        done: u64,
        /// Bytes in all.
        size: u64,
    },
    /// Bytes sent, of those that the herd lacks.
    Sending {
        /// Bytes sent.
        done: u64,
        /// Bytes to send.
        size: u64,
    },
    /// The herd checks the content and makes it durable.
    Committing,
}

/// How a push went.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The record that names the content.
    pub record: Record,
    /// Whether this push wrote it.
    pub fresh: Fresh,
    /// Bytes sent.
    pub sent: u64,
}

/// Bytes read and hashed at once.
const BLOCK: usize = 4 * 1024 * 1024;
/// Bytes aimed at in one request: some milliseconds of a fast line.
const SPAN_BYTES: u64 = 2 * 1024 * 1024;
/// Requests under way at once, so that the line is full while the origin writes.
const IN_FLIGHT: usize = 4;
/// How long one span may take; 2 MiB at 64 kbit/s.
const SPAN_PATIENCE: Duration = Duration::from_secs(300);
/// How long the origin may take to read back and sync the largest content.
const COMMIT_PATIENCE: Duration = Duration::from_secs(1800);

/// Pushes a file. Interrupted, the same push goes on where it stopped.
pub async fn push(
    session: &Session,
    push: &Push,
    progress: &(dyn Fn(PushProgress) + Send + Sync),
) -> Result<Pushed, OperationError> {
    let source = Source::open(session, &push.path).await?;
    let manifest = Arc::new(source.cut(session, progress).await?);
    let id = session.env.random_u64();
    let run = Run { session, push, source: &source, manifest, id, progress, sent: AtomicU64::new(0) };
    let (record, fresh) =
        retry::until(&session.env, push.patience, || run.sent.load(Relaxed), || run.attempt()).await?;
    Ok(Pushed { record, fresh, sent: run.sent.load(Relaxed) })
}

/// The file as it was when the push began.
struct Source {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    stamp: Stamp,
    attributes: FileAttributes,
}

impl Source {
    async fn open(session: &Session, path: &Path) -> Result<Self, OperationError> {
        let (disk, owned) = (Arc::clone(session.env.disk()), path.to_owned());
        let unreadable = |error: std::io::Error| OperationError::of_file("read", path, &error);
        let metadata = session.env.blocking(move || disk.metadata(&owned)).await.map_err(unreadable)?;
        if metadata.kind != EntryKind::File {
            let text = format!("{} is not a file; give the path of a regular file", path.display());
            return Err(OperationError::new(ErrorCode::BadRequest, text));
        }
        let (disk, owned) = (Arc::clone(session.env.disk()), path.to_owned());
        let opened = session.env.blocking(move || {
            let file = disk.open_read(&owned)?;
            let stamp = file.stamp()?;
            let attributes = file.attributes()?;
            Ok((file, stamp, attributes))
        });
        let (file, stamp, attributes) = opened.await.map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), file, stamp, attributes })
    }

    async fn cut(
        &self,
        session: &Session,
        progress: &(dyn Fn(PushProgress) + Send + Sync),
    ) -> Result<Manifest, OperationError> {
        let size = self.stamp.len;
        let mut cutter = Cutter::new(size);
        let mut done = 0;
        while done < size {
            progress(PushProgress::Cutting { done, size });
            let len = usize::try_from(size - done).unwrap_or(BLOCK).min(BLOCK);
            let file = Arc::clone(&self.file);
            let work = session.env.blocking(move || {
                let mut block = vec![0; len];
                file.read_exact_at(&mut block, done)?;
                cutter.update(&block);
                Ok(cutter)
            });
            cutter = work.await.map_err(|error| self.changed_or(&error))?;
            done += len as u64;
        }
        progress(PushProgress::Cutting { done, size });
        let file = Arc::clone(&self.file);
        let now =
            session.env.blocking(move || file.stamp()).await.map_err(|error| self.changed_or(&error))?;
        if now != self.stamp {
            return Err(self.changed());
        }
        cutter.finish().map_err(|error| OperationError::new(ErrorCode::BadRequest, error.to_string()))
    }

    async fn read(&self, session: &Session, at: u64, len: u64) -> Result<Bytes, OperationError> {
        let file = Arc::clone(&self.file);
        let read = session.env.blocking(move || {
            let mut bytes = vec![0; usize::try_from(len).map_err(std::io::Error::other)?];
            file.read_exact_at(&mut bytes, at).map(|()| Bytes::from(bytes))
        });
        read.await.map_err(|error| self.changed_or(&error))
    }

    fn changed_or(&self, error: &std::io::Error) -> OperationError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.changed(),
            _ => OperationError::of_file("read", &self.path, error),
        }
    }

    fn changed(&self) -> OperationError {
        let text =
            format!("{} changed while it was read; push it when its writer is done", self.path.display());
        OperationError::new(ErrorCode::Integrity, text)
    }
}

/// One push under way.
struct Run<'a> {
    session: &'a Session,
    push: &'a Push,
    source: &'a Source,
    manifest: Arc<Manifest>,
    id: u64,
    progress: &'a (dyn Fn(PushProgress) + Send + Sync),
    /// Bytes sent so far, over all attempts.
    sent: AtomicU64,
}

impl Run<'_> {
    /// Sends what the herd lacks, and commits. What an earlier attempt sent is not missing any more.
    async fn attempt(&self) -> Result<(Record, Fresh), OperationError> {
        while let Some(missing) = self.offer().await? {
            self.send(&missing).await?;
        }
        (self.progress)(PushProgress::Committing);
        self.commit().await
    }

    /// Offers the content, and returns what is missing of it.
    async fn offer(&self) -> Result<Option<Vec<Span>>, OperationError> {
        let offer = Offer {
            push: self.id,
            name: self.push.name.clone(),
            version: self.push.version.clone(),
            digest: self.manifest.content,
        };
        let body = vec![Bytes::from(self.manifest.encode())];
        let answer = self.session.ask(Role::Proxy, SPAN_PATIENCE, &offer, body).await?;
        let Wanted { missing, .. } = answer.message;
        Ok((!missing.is_empty()).then(|| missing.into_vec()))
    }

    async fn send(&self, missing: &[Span]) -> Result<(), OperationError> {
        let parts: Vec<Span> =
            missing.iter().flat_map(|span| self.manifest.pieces.cut(*span, SPAN_BYTES)).collect();
        let lens = parts.iter().map(|part| self.place(*part).map_or(0, |(_, len)| len));
        let size = self.sent.load(Relaxed) + lens.sum::<u64>();
        stream::iter(parts)
            .map(|part| async move {
                let len = self.send_part(part).await?;
                let done = self.sent.fetch_add(len, Relaxed) + len;
                (self.progress)(PushProgress::Sending { done, size });
                Ok(())
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn send_part(&self, span: Span) -> Result<u64, OperationError> {
        let (at, len) = self.place(span).ok_or_else(|| {
            OperationError::new(ErrorCode::Integrity, "the herd asked for pieces that the file does not have")
        })?;
        let bytes = self.source.read(self.session, at, len).await?;
        let request = PutPieces { push: self.id, digest: self.manifest.content, span };
        match self.session.ask(Role::Proxy, SPAN_PATIENCE, &request, vec![bytes]).await {
            Ok(_) => Ok(len),
            // The origin found other bytes than were cut.
            Err(error) if error.code == ErrorCode::Integrity => Err(self.source.changed()),
            Err(error) => Err(forgotten(error)),
        }
    }

    fn place(&self, span: Span) -> Option<(u64, u64)> {
        let range = self.manifest.pieces.bytes_of_span(span)?;
        Some((range.start, range.end - range.start))
    }

    fn attributes(&self) -> Attributes {
        let FileAttributes { mode, modified_unix_ns } = self.source.attributes;
        let mode = mode & Attributes::PERMISSIONS;
        Attributes { mode, modified_unix_ns, description: self.push.description.clone() }
    }

    async fn commit(&self) -> Result<(Record, Fresh), OperationError> {
        let commit = Commit {
            push: self.id,
            name: self.push.name.clone(),
            version: self.push.version.clone(),
            digest: self.manifest.content,
            attributes: self.attributes(),
        };
        let asked = self.session.ask(Role::Proxy, COMMIT_PATIENCE, &commit, Vec::new()).await;
        let answer = asked.map_err(forgotten)?;
        let wrong = |digest: Digest| digest != self.manifest.content;
        if wrong(answer.message.record.digest) {
            let text = "the herd committed another digest than was pushed";
            return Err(OperationError::new(ErrorCode::Integrity, text));
        }
        Ok((answer.message.record, answer.message.fresh))
    }
}

/// An origin that was away may have forgotten the offer; it passes when the content is offered again.
fn forgotten(error: OperationError) -> OperationError {
    match error.code {
        ErrorCode::NotFound => OperationError::new(ErrorCode::Unavailable, error.to_string()),
        _ => error,
    }
}
