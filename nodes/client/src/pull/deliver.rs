//! From the agent's store to the caller's file: a temporary file beside it, sync, rename, sync of the folder.
//!
//! The agent lends its file to who is on its host ([`lent`]), or else sends the bytes. Either way each piece is checked
//! against the manifest before it is written. What is lent is written while the rest is still fetched ([`early`]).

mod destination;
mod early;
mod lent;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rdcq_env::disk::parent;
use rdcq_env::{DiskFile, Env, FileAttributes, Mode};
use rdcq_wire::message::{GetPieces, MAX_SPAN_BYTES, Pieces};
use rdcq_wire::{Attributes, Digest, ErrorCode, Manifest, PieceSet, PieceTable, Role, Span};

pub(super) use self::destination::{Destination, Published};
pub(super) use self::early::{Early, News};

use self::lent::LentFile;
use super::{Delivered, PullProgress};
use crate::{OperationError, Session, retry};

/// Bytes aimed at in one part: one request to the agent, or one stretch of work off the tasks' threads.
const PART_BYTES: u64 = 4 * 1024 * 1024;
const _: () = assert!(PART_BYTES <= MAX_SPAN_BYTES as u64);
/// Parts under way at once: one is written while the next is on its way.
const IN_FLIGHT: usize = 2;
/// How long the agent may take for one request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);

/// A content's file on its way to its name. Dropped before, it leaves nothing behind.
pub(super) struct Draft {
    manifest: Arc<Manifest>,
    temporary: Temporary,
    lent: Option<LentFile>,
    /// The pieces that are at their places.
    written: PieceSet,
    /// Bytes written since the last sync.
    unsynced: u64,
    /// Set while a sync is under way: how one went that nobody waited for is not known, and what it failed to write is lost.
    in_doubt: bool,
}

impl Draft {
    /// Claims the file's space, beside `target`.
    pub(super) async fn create(
        session: &Session,
        target: &Path,
        manifest: Arc<Manifest>,
    ) -> Result<Self, OperationError> {
        let lent = LentFile::borrow(session, &manifest).await;
        Self::with(session, target, manifest, lent).await
    }

    async fn with(
        session: &Session,
        target: &Path,
        manifest: Arc<Manifest>,
        lent: Option<LentFile>,
    ) -> Result<Self, OperationError> {
        let temporary = Temporary::create(session, target, manifest.pieces.size()).await?;
        let written = PieceSet::empty(manifest.pieces.len());
        Ok(Self { manifest, temporary, lent, written, unsynced: 0, in_doubt: false })
    }

    /// Writes what is missing, and gives the file its name.
    pub(super) async fn deliver(
        self,
        session: &Session,
        destination: &Destination,
        attributes: &Attributes,
        patience: Duration,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(Published, Delivered), OperationError> {
        let sent = Delivery { session, draft: &self, patience, sent: AtomicU64::new(0) };
        sent.write_missing(progress).await?;
        let sent = sent.sent.into_inner();
        let lent = self.manifest.pieces.size() - sent;
        let published = self.temporary.publish(destination, attributes).await?;
        Ok((published, Delivered { lent, sent }))
    }

    fn target(&self) -> &Path {
        &self.temporary.target
    }

    fn unwritten(&self, error: &io::Error) -> OperationError {
        OperationError::of_file("write", self.target(), error)
    }
}

/// A file that is not there yet under its name. Dropped, also by an interruption, it leaves nothing behind.
struct Temporary {
    env: Env,
    path: PathBuf,
    target: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl Temporary {
    async fn create(session: &Session, target: &Path, size: u64) -> Result<Self, OperationError> {
        let env = session.env.clone();
        let (path, target) = (beside(target, env.random_u64()), target.to_owned());
        let failed = |error: io::Error| OperationError::of_file("write", &target, &error);
        let (disk, at) = (Arc::clone(env.disk()), path.clone());
        let file = env.blocking(move || disk.create_new(&at, Mode::Private)).await.map_err(failed)?;
        let temporary = Self { env, path, target: target.clone(), file };
        if size > 0 {
            let file = Arc::clone(&temporary.file);
            temporary.env.blocking(move || file.allocate(size)).await.map_err(failed)?;
        }
        Ok(temporary)
    }

    /// Gives the file its attributes and its name, durably.
    async fn publish(
        self,
        destination: &Destination,
        attributes: &Attributes,
    ) -> Result<Published, OperationError> {
        let (disk, destination) = (Arc::clone(self.env.disk()), destination.clone());
        let (file, from, target) = (Arc::clone(&self.file), self.path.clone(), self.target.clone());
        let spare = beside(&target, self.env.random_u64());
        let mode = attributes.mode & Attributes::PERMISSIONS;
        let attributes = FileAttributes { mode, modified_unix_ns: attributes.modified_unix_ns };
        let published = self.env.blocking(move || {
            if let Err(error) = file.set_attributes(attributes) {
                // A file system without permissions still takes the bytes, which are what was asked for.
                tracing::warn!(path = %target.display(), %error, "delivered without its permissions and time");
            }
            file.sync_all().map_err(|error| OperationError::of_file("write", &target, &error))?;
            destination.publish(disk.as_ref(), &from, &target, &spare)
        });
        published.await
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Published, the name is gone already. Nobody can wait for this any more, and it is short.
        match self.env.disk().remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "a temporary file stays behind");
            }
            _ => {}
        }
    }
}

/// A name in the same folder, which no two deliveries share.
fn beside(target: &Path, random: u64) -> PathBuf {
    parent(target).join(format!(".rdcq-{random:016x}.part"))
}

struct Delivery<'a> {
    session: &'a Session,
    draft: &'a Draft,
    patience: Duration,
    /// Bytes that the agent sent.
    sent: AtomicU64,
}

impl Delivery<'_> {
    async fn write_missing(
        &self,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), OperationError> {
        let pieces = &self.draft.manifest.pieces;
        let (done, size) = (AtomicU64::new(bytes_of(pieces, &self.draft.written.spans())), pieces.size());
        if !self.draft.written.is_empty() {
            progress(PullProgress::Delivering { done: done.load(Relaxed), size });
        }
        stream::iter(parts(pieces, &self.draft.written.missing_spans()))
            .map(|part| {
                let done = &done;
                async move {
                    let env = &self.session.env;
                    let len = retry::until(env, self.patience, || 0, || self.write_part(&part)).await?;
                    let done = done.fetch_add(len, Relaxed) + len;
                    progress(PullProgress::Delivering { done, size });
                    Ok(())
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn write_part(&self, part: &[Span]) -> Result<u64, OperationError> {
        let draft = self.draft;
        if let Some(lent) = &draft.lent {
            let copied = lent.copy(part.to_vec(), &draft.temporary.file).await;
            if let Some(len) = copied.map_err(|error| draft.unwritten(&error))? {
                return Ok(len);
            }
        }
        let mut len = 0;
        for span in part {
            len += self.write_sent(*span).await?;
        }
        self.sent.fetch_add(len, Relaxed);
        Ok(len)
    }

    async fn write_sent(&self, span: Span) -> Result<u64, OperationError> {
        let digest = self.draft.manifest.content;
        let request = GetPieces { digest, span };
        let answer = self.session.ask(Role::Agent, REQUEST_PATIENCE, &request, Vec::new()).await?;
        let Pieces { span: sent, .. } = answer.message;
        let body = answer.body.collect().await;
        let chunks = body.map_err(|error| OperationError::of_call("agent", error))?;
        if sent != span {
            let text = format!("the agent sent {sent:?} where {span:?} were asked for");
            return Err(OperationError::new(ErrorCode::Unavailable, text));
        }
        let (manifest, file) = (Arc::clone(&self.draft.manifest), Arc::clone(&self.draft.temporary.file));
        let written =
            self.session.env.blocking(move || write_checked(&manifest, file.as_ref(), span, &chunks));
        match written.await {
            Ok(Some(len)) => Ok(len),
            Ok(None) => {
                let text =
                    format!("the agent sent wrong bytes for {span:?} of {digest}; nothing was delivered");
                Err(OperationError::new(ErrorCode::Integrity, text))
            }
            Err(error) => Err(self.draft.unwritten(&error)),
        }
    }
}

/// Spans in parts of at most [`PART_BYTES`], or a piece each where that is longer.
fn parts(pieces: &PieceTable, spans: &[Span]) -> Vec<Vec<Span>> {
    let mut parts: Vec<Vec<Span>> = Vec::new();
    let mut bytes = 0;
    for span in spans.iter().flat_map(|span| pieces.cut(*span, PART_BYTES)) {
        let len = bytes_of(pieces, &[span]);
        match parts.last_mut() {
            Some(part) if bytes + len <= PART_BYTES => {
                part.push(span);
                bytes += len;
            }
            _ => {
                parts.push(vec![span]);
                bytes = len;
            }
        }
    }
    parts
}

fn bytes_of(pieces: &PieceTable, spans: &[Span]) -> u64 {
    let places = spans.iter().filter_map(|span| pieces.bytes_of_span(*span));
    places.map(|place| place.end - place.start).sum()
}

/// Checks every piece of a span and writes it to its place; `None` if one is not what the manifest says.
fn write_checked(
    manifest: &Manifest,
    file: &dyn DiskFile,
    span: Span,
    chunks: &[Bytes],
) -> io::Result<Option<u64>> {
    let Some(place) = manifest.pieces.bytes_of_span(span) else { return Ok(None) };
    let bytes = chunks.concat();
    if bytes.len() as u64 != place.end - place.start {
        return Ok(None);
    }
    if !are_pieces(manifest, span, &bytes) {
        return Ok(None);
    }
    file.write_all_at(&bytes, place.start)?;
    Ok(Some(bytes.len() as u64))
}

/// Whether the bytes are a span's pieces, laid end to end; they must be as many.
fn are_pieces(manifest: &Manifest, span: Span, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    span.indices().filter_map(|index| manifest.pieces.piece(index)).all(|piece| {
        let (piece_bytes, after) = rest.split_at(piece.len as usize);
        rest = after;
        Digest::of(piece_bytes) == piece.hash
    })
}
