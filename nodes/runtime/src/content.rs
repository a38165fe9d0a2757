//! Serving content out of a store: what an origin and an agent answer alike.

use std::time::Duration;

use rdcq_store::ContentStore;
use rdcq_swarm::Claim;
use rdcq_transport::{IncomingCall, Refusal};
use rdcq_wire::message::{
    Complete, Encoding, Failure, GetManifest, GetPieces, Have, MAX_SPAN_BYTES, ManifestBody, Pieces, Watch,
};
use rdcq_wire::{Digest, ErrorCode, List, Manifest, PieceSet, Role, Span};
use tokio::time::Instant;

use crate::{Uploads, failure_of_store};

/// Pieces that were verified within a part of the time for which a watch has lasted are told of in one message: what is
/// told late by so little delays the end by as little, and a message to every watcher for every piece costs more than the piece.
const HAVE_BATCH_PART: u32 = 64;

/// Short beside the time that a piece takes on a fast link, and long beside the cost of a message.
const SHORTEST_HAVE_BATCH: Duration = Duration::from_millis(2);

/// On slow links messages are few anyway, and a piece that nobody knows of is of no use.
const LONGEST_HAVE_BATCH: Duration = Duration::from_millis(100);

/// Most bytes that a manifest has for each piece: a length and a hash.
const ENCODED_PIECE: u64 = 37;

/// Most bytes that a manifest has besides: what it begins with, its kind, a hash and a count.
const ENCODED_REST: u64 = 64;

/// Answers [`GetManifest`].
pub async fn get_manifest(store: &ContentStore, mut call: IncomingCall) -> Result<(), Refusal> {
    let request: GetManifest = call.request()?;
    let manifest = store.manifest(&request.digest).ok_or_else(|| not_here(&request.digest))?;
    let _room = call.reserve(u64::from(manifest.pieces.len()) * ENCODED_PIECE + ENCODED_REST)?;
    let bytes = manifest.encode();
    if Digest::of(&bytes) != request.manifest {
        let reason = format!("the manifest of {} here is another than {}", request.digest, request.manifest);
        return Err(Failure::new(ErrorCode::NotFound, reason).into());
    }
    call.reply(&ManifestBody {}, vec![bytes.into()]).await
}

/// Answers [`GetPieces`] with as many of the pieces, from the first on, as are here and fit one body; tells an agent to ask another
/// if enough is under way.
pub async fn get_pieces(
    store: &ContentStore,
    uploads: &Uploads,
    mut call: IncomingCall,
) -> Result<(), Refusal> {
    let wanted = Wanted::of(store, &call)?;
    // Who is no agent has nobody else to ask.
    if call.peer().roles.contains(Role::Agent) {
        let under_way = uploads.admit(&call, Claim::Usual, &wanted).await?;
        call.on_end(|end| under_way.end(end));
    }
    wanted.send(store, call).await
}

/// What of a request for pieces can be answered.
pub(crate) struct Wanted {
    pub(crate) digest: Digest,
    pub(crate) span: Span,
    /// The span's length in bytes.
    pub(crate) bytes: u64,
    /// That of a usual piece of the content.
    pub(crate) mean: u64,
}

impl Wanted {
    pub(crate) fn of(store: &ContentStore, call: &IncomingCall) -> Result<Self, Refusal> {
        let GetPieces { digest, span } = call.request()?;
        let manifest = store.manifest(&digest).ok_or_else(|| not_here(&digest))?;
        let have = store.have(&digest).ok_or_else(|| not_here(&digest))?;
        let span = servable(&manifest, &have, span)
            .ok_or_else(|| Failure::new(ErrorCode::NotFound, format!("{span:?} of {digest} are not here")))?;
        let bytes = manifest.pieces.bytes_of_span(span).map_or(0, |range| range.end - range.start);
        let mean = manifest.pieces.size() / u64::from(manifest.pieces.len()).max(1);
        Ok(Self { digest, span, bytes, mean })
    }

    pub(crate) async fn send(self, store: &ContentStore, mut call: IncomingCall) -> Result<(), Refusal> {
        let Self { digest, span, bytes, .. } = self;
        let _room = call.reserve(bytes)?;
        let read = store.read(&digest, span).await.map_err(|error| failure_of_store(&error))?;
        call.reply(&Pieces { span, encoding: Encoding::Raw }, read).await
    }
}

/// The longest beginning of `span` whose pieces are all held and whose bytes fit one body; `None` if there is none.
fn servable(manifest: &Manifest, have: &PieceSet, span: Span) -> Option<Span> {
    let mut bytes = 0_u64;
    let mut count = 0;
    for index in span.indices().take_while(|index| have.contains(*index)) {
        bytes += u64::from(manifest.pieces.piece(index)?.len);
        if bytes > u64::from(MAX_SPAN_BYTES) {
            break;
        }
        count += 1;
    }
    (count > 0).then_some(Span { first: span.first, count })
}

/// Answers [`Watch`] until the content is whole here or the caller has heard enough.
pub async fn watch(store: &ContentStore, mut call: IncomingCall) -> Result<(), Refusal> {
    let Watch { digest } = call.request()?;
    let mut changes = store.subscribe(&digest).ok_or_else(|| not_here(&digest))?;
    let pieces = store.manifest(&digest).ok_or_else(|| not_here(&digest))?.pieces.len();
    let (mut told, began) = (PieceSet::empty(pieces), Instant::now());
    loop {
        changes.see();
        let have = store.have(&digest).ok_or_else(|| not_here(&digest))?;
        tell(&mut call, &mut told, &have).await?;
        if told.is_full() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = call.cancelled() => return Err(Refusal::Gone),
            () = call.draining() => return Err(Failure::new(ErrorCode::ShuttingDown, "going away").into()),
            changed = changes.changed() => match changed {
                Ok(()) => tokio::time::sleep(have_batch(began.elapsed())).await,
                // It was sealed, which the next round tells, or removed.
                Err(_) if store.is_complete(&digest) => {}
                Err(_) => return Err(not_here(&digest).into()),
            },
        }
    }
}

/// For how long pieces are gathered that one message tells of, after a watch has lasted so long.
fn have_batch(watched: Duration) -> Duration {
    (watched / HAVE_BATCH_PART).clamp(SHORTEST_HAVE_BATCH, LONGEST_HAVE_BATCH)
}

/// Tells of everything in `have` that was not told yet; the first time of nothing, too, so that the caller knows.
async fn tell(call: &mut IncomingCall, told: &mut PieceSet, have: &PieceSet) -> Result<(), Refusal> {
    let mut fresh = PieceSet::empty(have.pieces());
    have.iter().filter(|piece| told.insert(*piece)).for_each(|piece| {
        fresh.insert(piece);
    });
    let complete = if told.is_full() { Complete::Whole } else { Complete::Partial };
    let spans = fresh.spans();
    let mut batches = spans.chunks(Have::MAX_SPANS).peekable();
    if batches.peek().is_none() {
        return call.reply(&Have { spans: List::default(), complete }, Vec::new()).await;
    }
    while let Some(batch) = batches.next() {
        let complete = if batches.peek().is_some() { Complete::Partial } else { complete };
        call.reply(&Have { spans: List::first_of(batch.iter().copied()), complete }, Vec::new()).await?;
    }
    Ok(())
}

pub(crate) fn not_here(digest: &Digest) -> Failure {
    Failure::new(ErrorCode::NotFound, format!("{digest} is not here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_late_is_a_small_part_of_what_was_waited() {
        let ms = Duration::from_millis;
        let batches = [0, 100, 640, 3200, 60_000].map(|watched| have_batch(ms(watched)));
        assert_eq!(batches, [2, 2, 10, 50, 100].map(ms));
    }
}
