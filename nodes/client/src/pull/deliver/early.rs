//! Delivery that begins while the agent still fetches.
//!
//! What the agent has verified is copied from the file that it lends, in large parts, one at a time: the host is busy. So
//! little is left to do when the last piece comes. Who is lent nothing begins then.

use std::sync::Arc;

use rdcq_env::watch;
use rdcq_wire::{PieceSet, PieceTable, Record, Span};

use super::lent::LentFile;
use super::{Destination, Draft, bytes_of, parts};
use crate::{OperationError, Session, ask};

/// Less than this waits for more, or for the end: it is copied in a millisecond.
const WORTH_WHILE_BYTES: u64 = 1024 * 1024;
/// After so many bytes they are synced, so that little is left for the last sync, which somebody waits for.
const SYNC_BYTES: u64 = 64 * 1024 * 1024;

/// What the agent has told of a pull.
#[derive(Debug, Clone)]
pub(crate) struct News {
    record: Arc<Record>,
    /// The pieces that the agent has verified.
    have: PieceSet,
}

impl News {
    /// Nothing is known to be there yet; `None` of content that cannot be.
    pub(crate) fn of(record: Record) -> Option<Self> {
        let possible = record.pieces as usize <= PieceTable::MAX_PIECES;
        possible.then(|| Self { have: PieceSet::empty(record.pieces), record: Arc::new(record) })
    }

    /// These are there, too.
    pub(crate) fn add(&mut self, spans: &[Span]) {
        spans.iter().for_each(|span| self.have.insert_span(*span));
    }
}

/// What is written before the content is whole at the agent.
pub(crate) struct Early<'a> {
    session: &'a Session,
    destination: &'a Destination,
    begun: Option<(Arc<Record>, Draft)>,
}

impl<'a> Early<'a> {
    /// Nothing yet.
    pub(crate) const fn new(session: &'a Session, destination: &'a Destination) -> Self {
        Self { session, destination, begun: None }
    }

    /// Writes what is there as it comes, until nothing more is told. What an earlier attempt wrote stays if it was of the same
    /// record.
    ///
    /// # Errors
    ///
    /// What keeps the file from being written.
    pub(crate) async fn follow(
        &mut self,
        mut news: watch::Receiver<Option<News>>,
    ) -> Result<(), OperationError> {
        self.begun.take_if(|(_, draft)| draft.in_doubt);
        if let Some((_, draft)) = &mut self.begun {
            // The agent may have begun anew, in another file.
            draft.lent = None;
        }
        while news.changed().await.is_ok() {
            let Some(News { record, have }) = news.see() else { continue };
            let Some(draft) = self.draft(&record).await? else { return Ok(()) };
            draft.write_some(&have, || news.is_open()).await?;
        }
        Ok(())
    }

    /// What there is of the record's file; that of another one goes.
    pub(crate) fn take(&mut self, of: &Record) -> Option<Draft> {
        let (record, draft) = self.begun.take()?;
        (*record == *of).then_some(draft)
    }

    /// The record's file with what it can be filled from; `None` if that is not to be had.
    async fn draft(&mut self, record: &Arc<Record>) -> Result<Option<&mut Draft>, OperationError> {
        if self.begun.as_ref().is_some_and(|(of, _)| of != record) {
            self.begun = None;
        }
        match &mut self.begun {
            Some((_, draft)) if draft.lent.is_some() => {}
            Some((_, draft)) => draft.lent = LentFile::borrow(self.session, &draft.manifest).await,
            None => self.begun = self.begin(record).await?.map(|draft| (Arc::clone(record), draft)),
        }
        Ok(self.begun.as_mut().map(|(_, draft)| draft).filter(|draft| draft.lent.is_some()))
    }

    async fn begin(&self, record: &Record) -> Result<Option<Draft>, OperationError> {
        let target = self.destination.target_of(self.session, record).await?;
        let manifest = match ask::manifest(self.session, record).await {
            Ok(manifest) => manifest,
            Err(error) => {
                tracing::debug!(%error, "no manifest yet; the content is delivered once it is whole");
                return Ok(None);
            }
        };
        let Some(lent) = LentFile::borrow(self.session, &manifest).await else { return Ok(None) };
        Draft::with(self.session, &target, manifest, Some(lent)).await.map(Some)
    }
}

impl Draft {
    /// Writes the pieces of `have` that are missing, if they are worth it, for as long as `go_on` says so.
    async fn write_some(&mut self, have: &PieceSet, go_on: impl Fn() -> bool) -> Result<(), OperationError> {
        let mut fresh = PieceSet::empty(self.written.pieces());
        for piece in have.iter().filter(|piece| !self.written.contains(*piece)) {
            fresh.insert(piece);
        }
        let spans = fresh.spans();
        if bytes_of(&self.manifest.pieces, &spans) < WORTH_WHILE_BYTES {
            return Ok(());
        }
        for part in parts(&self.manifest.pieces, &spans) {
            if !go_on() || !self.write_lent(part).await? {
                break;
            }
        }
        Ok(())
    }

    /// Writes pieces from the lent file; says whether they were to be had.
    async fn write_lent(&mut self, part: Vec<Span>) -> Result<bool, OperationError> {
        let Some(lent) = &self.lent else { return Ok(false) };
        let copied = lent.copy(part.clone(), &self.temporary.file).await;
        let Some(bytes) = copied.map_err(|error| self.unwritten(&error))? else { return Ok(false) };
        part.into_iter().for_each(|span| self.written.insert_span(span));
        self.unsynced += bytes;
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.in_doubt = true;
            let file = Arc::clone(&self.temporary.file);
            let synced = self.temporary.env.blocking(move || file.sync_data()).await;
            synced.map_err(|error| self.unwritten(&error))?;
            self.in_doubt = false;
        }
        Ok(true)
    }
}
