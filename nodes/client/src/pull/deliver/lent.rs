//! The agent's own file, lent to a client on the same host: there is no network in between, and nothing is encrypted.
//!
//! Nothing of this fails a pull: where there is no file to be had, or it is not right, the agent is asked for the bytes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::{DeskName, DeskToken, DiskFile, Env};
use rdcq_wire::message::{Lend, Lent};
use rdcq_wire::{Manifest, Role, Span};

use super::are_pieces;
use crate::Session;

/// How long a desk may take to hand out the file, which it only opens.
const DESK_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes read at once, unless a piece is longer: they are hashed and written while they are in the processor's cache.
const BITE_BYTES: u64 = 1024 * 1024;

/// A content's file as the agent has it. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct LentFile(Arc<Shared>);

struct Shared {
    env: Env,
    manifest: Arc<Manifest>,
    file: Arc<dyn DiskFile>,
    /// Set once something of it was not right, or could not be read.
    given_up: AtomicBool,
    /// Used again, for a fresh one costs a page fault for every four KiB.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// Why bytes were not copied.
enum CopyError {
    /// They cannot be read.
    Read(io::Error),
    /// They are not these pieces.
    Wrong(Span),
    /// They cannot be written.
    Write(io::Error),
}

impl LentFile {
    /// Asks the agent for its file; `None` where it is not to be had.
    pub(super) async fn borrow(session: &Session, manifest: &Arc<Manifest>) -> Option<Self> {
        let digest = manifest.content;
        if manifest.pieces.is_empty() {
            return None;
        }
        let request = Lend { digest };
        let Lent { desk, token } =
            match session.ask(Role::Agent, Session::PATIENCE, &request, Vec::new()).await {
                Ok(answer) => answer.message,
                Err(error) => {
                    tracing::debug!(%digest, %error, "the agent lends no file; it is asked for the bytes");
                    return None;
                }
            };
        let desk = DeskName::from_bytes(*desk.as_bytes());
        let token = DeskToken::from_bytes(*token.as_bytes());
        match session.env.pick_up(desk, token, DESK_PATIENCE).await {
            Ok(file) => Some(Self::new(session.env.clone(), Arc::clone(manifest), file)),
            Err(error) => {
                tracing::debug!(%digest, %error, "no file at the agent's desk; it is asked for the bytes");
                None
            }
        }
    }

    fn new(env: Env, manifest: Arc<Manifest>, file: Arc<dyn DiskFile>) -> Self {
        let (given_up, buffers) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Shared { env, manifest, file, given_up, buffers }))
    }

    /// Copies the spans' pieces to their places in `to`, each checked before. Says how many bytes they are; `None` if they are
    /// not to be had in this way.
    ///
    /// # Errors
    ///
    /// What keeps `to` from being written.
    pub(super) async fn copy(&self, spans: Vec<Span>, to: &Arc<dyn DiskFile>) -> io::Result<Option<u64>> {
        let shared = &*self.0;
        if shared.given_up.load(Relaxed) {
            return Ok(None);
        }
        let (from, to) = (Arc::clone(&self.0), Arc::clone(to));
        let digest = shared.manifest.content;
        match shared.env.blocking(move || from.copy(&spans, &*to)).await {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(CopyError::Write(error)) => return Err(error),
            Err(CopyError::Read(error)) => {
                tracing::debug!(%digest, %error, "the file that the agent lent cannot be read; it is asked for the bytes");
            }
            Err(CopyError::Wrong(span)) => {
                tracing::warn!(%digest, ?span, "integrity: the file that the agent lent has wrong bytes; it is asked for them");
            }
        }
        shared.given_up.store(true, Relaxed);
        Ok(None)
    }
}

impl Shared {
    fn copy(&self, spans: &[Span], to: &dyn DiskFile) -> Result<u64, CopyError> {
        let mut buffer = self.buffers().pop().unwrap_or_default();
        let mut bites = spans.iter().flat_map(|span| self.manifest.pieces.cut(*span, BITE_BYTES));
        let copied = bites.try_fold(0, |done, bite| Ok(done + self.copy_bite(bite, to, &mut buffer)?));
        self.buffers().push(buffer);
        copied
    }

    fn copy_bite(&self, bite: Span, to: &dyn DiskFile, buffer: &mut Vec<u8>) -> Result<u64, CopyError> {
        let place = self.manifest.pieces.bytes_of_span(bite).ok_or(CopyError::Wrong(bite))?;
        let bytes = place.end - place.start;
        buffer.resize(usize::try_from(bytes).expect("a bite, or a piece, fits in memory"), 0);
        self.file.read_exact_at(buffer, place.start).map_err(CopyError::Read)?;
        if !are_pieces(&self.manifest, bite, buffer) {
            return Err(CopyError::Wrong(bite));
        }
        to.write_all_at(buffer, place.start).map_err(CopyError::Write)?;
        Ok(bytes)
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
