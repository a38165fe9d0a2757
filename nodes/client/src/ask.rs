//! Questions and orders that a build-index answers.

use std::sync::Arc;

use rdcq_wire::message::{Cursor, GetManifest, List, Listing, RemoveTag, Resolve, Selection};
use rdcq_wire::{Digest, ErrorCode, Manifest, Record, Role, TagQuery};

use crate::{OperationError, Session};

/// Records in one page of a listing.
const PAGE: u32 = 1000;

/// The record that a tag leads to.
pub async fn resolve(session: &Session, query: &TagQuery) -> Result<Record, OperationError> {
    let request = Resolve { query: query.clone() };
    let answer = session.ask(Role::BuildIndex, Session::PATIENCE, &request, Vec::new()).await?;
    Ok(answer.message.record)
}

/// Removes a version; what nothing names any more is dropped everywhere soon after. Delivered files stay.
pub async fn remove(session: &Session, query: &TagQuery) -> Result<Record, OperationError> {
    let version = match &query.version {
        Some(version) => version.clone(),
        None => resolve(session, query).await?.version,
    };
    // Never "the latest": asked twice, that would remove two versions.
    let request = RemoveTag { query: TagQuery { key: query.key.clone(), version: Some(version) } };
    let answer = session.ask(Role::BuildIndex, Session::PATIENCE, &request, Vec::new()).await?;
    Ok(answer.message.record)
}

/// Records, a page at a time, in the order that their selection names.
pub struct Records<'a> {
    session: &'a Session,
    what: Selection,
    next: Option<Page>,
}

enum Page {
    First,
    After(Cursor),
}

/// The records of a selection.
pub const fn list(session: &Session, what: Selection) -> Records<'_> {
    Records { session, what, next: Some(Page::First) }
}

impl Records<'_> {
    /// The next page; `None` after the last.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Record>>, OperationError> {
        let after = match self.next.take() {
            None => return Ok(None),
            Some(Page::First) => None,
            Some(Page::After(cursor)) => Some(cursor),
        };
        let request = List { what: self.what.clone(), after, limit: PAGE };
        let answer = self.session.ask(Role::BuildIndex, Session::PATIENCE, &request, Vec::new()).await?;
        let listing: Listing = answer.message;
        let body = answer.body.collect().await;
        let body = body.map_err(|error| OperationError::of_call("build-index", error))?.concat();
        self.next = listing.next.clone().map(Page::After);
        let malformed =
            || OperationError::new(ErrorCode::Integrity, "the build-index sent a malformed listing");
        listing.read(&body).ok_or_else(malformed).map(Some)
    }
}

/// The manifest that a record promises, from this host's agent, checked against the record.
pub async fn manifest(session: &Session, record: &Record) -> Result<Arc<Manifest>, OperationError> {
    let request = GetManifest { digest: record.digest, manifest: record.manifest };
    let answer = session.ask(Role::Agent, 2 * Session::PATIENCE, &request, Vec::new()).await?;
    let body = answer.body.collect().await;
    let bytes = body.map_err(|error| OperationError::of_call("agent", error))?.concat();
    let wrong = || {
        let text =
            format!("the agent's manifest of {} is not the one that its record promises", record.tag());
        OperationError::new(ErrorCode::Integrity, text)
    };
    if Digest::of(&bytes) != record.manifest {
        return Err(wrong());
    }
    let manifest = Manifest::decode(&bytes).map_err(|_| wrong())?;
    if manifest.content == record.digest { Ok(Arc::new(manifest)) } else { Err(wrong()) }
}
