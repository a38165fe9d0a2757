//! The power fails, syncs fail, syncs lie.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdcq_env::{Fault, SimDisk};
use rdcq_store::catalogue::Entry;
use rdcq_store::content_store::SYNC_WINDOW_BYTES;
use rdcq_store::{Batch, Catalogue, CatalogueError, Check, MemoryCatalogue, StoreError};
use rdcq_wire::{PieceSet, Span};

use crate::node::{Content, Node};

/// Ways for the power to fail: the first loses everything unsynced, the others let some of it survive.
const CRASHES: u64 = 6;

fn crash(disk: &SimDisk, way: u64) {
    if way == 0 { disk.crash() } else { disk.crash_partly(way) }
}

/// What a seal acknowledges, looked for on the disk and in the catalogue themselves.
fn is_durable(node: &Node, content: &Content) -> bool {
    let is = |path, what: &[u8]| node.disk().read(path, 1 << 20).is_ok_and(|bytes| bytes == what);
    let manifest = content.manifest.encode();
    let sidecar = node.disk().read(&node.sidecar(content), 1 << 20).unwrap_or_default();
    is(&node.blob(content), &content.bytes)
        && sidecar.windows(manifest.len()).any(|part| part == manifest)
        && node.catalogue.scan(b"b/", None, 9).is_ok_and(|entries| entries.len() == 1)
}

#[tokio::test(start_paused = true)]
async fn sealed_content_is_all_there_after_a_power_loss() {
    for way in 0..CRASHES {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let content = Content::of(300_000, 1);
        content.store(&node.open().await.unwrap()).await.unwrap();
        crash(&disk, way);
        assert!(is_durable(&node, &content));
        assert!(content.is_in(&node.open().await.unwrap()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_one_of_its_syncs_a_seal_would_not_be_durable() {
    let mut syncs = 0;
    for nth in 0.. {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let content = Content::of(300_000, 1);
        let store = node.open().await.unwrap();
        content.write(&store).await.unwrap();
        let before = disk.sync_counts().total();
        disk.set_fault(Some(Fault::SkipSync { nth }));
        store.seal(&content.digest(), Check::Whole).await.unwrap();
        syncs = disk.sync_counts().total() - before;
        disk.crash();
        if nth == syncs {
            assert!(is_durable(&node, &content));
            break;
        }
        assert!(!is_durable(&node, &content), "sync {nth} of {syncs} is not needed");
    }
    assert_eq!(syncs, 3, "content, sidecar, folder");
}

/// A catalogue that says it has committed and has not.
struct Forgetful(MemoryCatalogue);

impl Catalogue for Forgetful {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogueError> {
        self.0.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, CatalogueError> {
        self.0.scan(prefix, after, limit)
    }

    fn is_empty(&self) -> Result<bool, CatalogueError> {
        self.0.is_empty()
    }

    fn commit(&self, _batch: Batch) -> BoxFuture<'_, Result<(), CatalogueError>> {
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_catalogue_s_commit_a_seal_would_not_be_durable_but_the_next_start_heals_it() {
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let content = Content::of(300_000, 1);
    let store = node.open_with(Arc::new(Forgetful(node.catalogue.clone()))).await.unwrap();
    content.store(&store).await.unwrap();
    disk.crash();
    assert!(!is_durable(&node, &content));
    assert!(content.is_in(&node.open().await.unwrap()).await);
    assert!(is_durable(&node, &content));
}

#[tokio::test(start_paused = true)]
async fn wherever_the_power_fails_content_is_whole_or_resumed_and_what_was_acknowledged_stays() {
    for way in 0..CRASHES {
        let mut acknowledged = false;
        for after in 0.. {
            let disk = SimDisk::new();
            let node = Node::on(&disk);
            let content = Content::of(150_000, 1);
            let store = node.open().await.unwrap();
            disk.set_fault(Some(Fault::PowerLoss { after }));
            acknowledged = content.store(&store).await.is_ok();
            drop(store);
            crash(&disk, way);
            let store = node.open().await.unwrap();
            assert!(!acknowledged || content.is_in(&store).await, "step {after}, crash {way}: lost");
            content.check_claims(&store).await;
            content.store(&store).await.unwrap();
            assert!(content.is_in(&store).await, "step {after}, crash {way}: not resumed");
            if acknowledged {
                break;
            }
        }
        assert!(acknowledged);
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_the_power_fails_while_a_folder_is_made_a_store_the_next_start_makes_it() {
    let content = Content::of(20_000, 1);
    let mut after = 0;
    loop {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        disk.set_fault(Some(Fault::PowerLoss { after }));
        let made = node.open().await.is_ok();
        crash(&disk, after % CRASHES);
        content.store(&node.open().await.unwrap()).await.unwrap();
        disk.crash();
        assert!(content.is_in(&node.open().await.unwrap()).await, "step {after}");
        if made {
            break;
        }
        after += 1;
    }
    assert!(after > 256, "only {after} steps made the folder");
}

#[tokio::test(start_paused = true)]
async fn wherever_the_power_fails_a_removal_leaves_nothing_half_and_stays_once_acknowledged() {
    for way in 0..CRASHES {
        for after in 0.. {
            let disk = SimDisk::new();
            let node = Node::on(&disk);
            let (sealed, begun) = (Content::of(50_000, 1), Content::of(60_000, 2));
            let store = node.open().await.unwrap();
            sealed.store(&store).await.unwrap();
            begun.write(&store).await.unwrap();
            disk.set_fault(Some(Fault::PowerLoss { after }));
            let first = store.remove(&sealed.digest()).await.is_ok();
            let second = store.remove(&begun.digest()).await.is_ok();
            drop(store);
            crash(&disk, way);
            let store = node.open().await.unwrap();
            let there =
                [store.have(&sealed.digest()), store.have(&begun.digest())].map(|have| have.is_some());
            assert!(!(first && there[0] || second && there[1]), "step {after}, crash {way}: came back");
            assert!(!store.is_complete(&sealed.digest()) || sealed.is_in(&store).await);
            begun.check_claims(&store).await;
            if first && second {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_one_of_its_syncs_a_removal_would_not_stay() {
    for nth in 0..3 {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let content = Content::of(50_000, 1);
        let store = node.open().await.unwrap();
        content.write(&store).await.unwrap();
        // As if a window had been full.
        node.disk().open(&node.map(&content)).unwrap().sync_data().unwrap();
        node.disk().sync_dir(&node.root.join("partial")).unwrap();
        store.seal(&content.digest(), Check::Pieces).await.unwrap();
        disk.set_fault(Some(Fault::SkipSync { nth }));
        store.remove(&content.digest()).await.unwrap();
        disk.crash();
        let left = node.open().await.unwrap().have(&content.digest());
        assert_eq!(left.is_some(), nth < 2, "sync {nth}: {left:?}");
    }
}

/// Writes content of more than one window, loses power, and says what is left.
async fn left_of_large_content(content: &Content, fault: Option<Fault>) -> PieceSet {
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let store = node.open().await.expect("an empty disk takes a store");
    let partial = content.begin(&store).await.expect("there is room");
    disk.set_fault(fault);
    for first in (0..content.all().count).step_by(64) {
        let span = Span::new(first, 64.min(content.all().count - first));
        partial.write_span(span, content.pieces(span)).await.expect("the pieces are right");
    }
    drop((store, partial));
    disk.crash();
    let store = node.open().await.expect("a crashed disk is no reason not to open");
    content.check_claims(&store).await;
    store.have(&content.digest()).unwrap_or_else(|| PieceSet::empty(content.all().count))
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_costs_at_most_one_window_and_every_sync_of_a_window_is_needed() {
    let content = Content::of(70 << 20, 1);
    let lost = |have: &PieceSet| -> u64 {
        let spans = have.missing_spans().into_iter();
        spans
            .filter_map(|span| content.manifest.pieces.bytes_of_span(span))
            .map(|place| place.end - place.start)
            .sum()
    };
    assert!(content.bytes.len() as u64 > SYNC_WINDOW_BYTES);
    assert!(lost(&left_of_large_content(&content, None).await) <= SYNC_WINDOW_BYTES);
    for nth in 0..3 {
        let left = left_of_large_content(&content, Some(Fault::SkipSync { nth })).await;
        assert!(lost(&left) > SYNC_WINDOW_BYTES, "sync {nth} of a window is not needed");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_sync_the_store_takes_no_changes_until_it_is_opened_again() {
    for nth in 0..3 {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let (content, other) = (Content::of(100_000, 1), Content::of(100_000, 2));
        let store = node.open().await.unwrap();
        content.write(&store).await.unwrap();
        let waiting = other.begin(&store).await.unwrap();
        disk.set_fault(Some(Fault::FailSync { nth }));
        for _ in 0..2 {
            let sealed = store.seal(&content.digest(), Check::Whole).await;
            assert!(matches!(sealed, Err(StoreError::Poisoned(_))), "sync {nth}");
        }
        let written = waiting.write_span(other.all(), other.pieces(other.all())).await;
        assert!(matches!(written, Err(StoreError::Poisoned(_))));
        assert!(matches!(store.begin(Content::of(9, 3).manifest).await, Err(StoreError::Poisoned(_))));
        assert!(matches!(store.remove(&content.digest()).await, Err(StoreError::Poisoned(_))));
        assert!(!node.disk().exists(&node.partial(&content)).unwrap(), "a removal must still make room");
        assert!(!store.is_complete(&content.digest()));
        drop((store, waiting));
        disk.crash();
        let store = node.open().await.unwrap();
        content.check_claims(&store).await;
        content.store(&store).await.unwrap();
        assert!(content.is_in(&store).await);
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_whose_sync_failed_are_not_believed_by_the_next_process() {
    // The sync of the bytes when they are sealed; those of bytes and map when a window is full.
    let (small, large) = (Content::of(100_000, 1), Content::of(65 << 20, 1));
    for (content, nth) in [(&small, 0), (&large, 0), (&large, 1)] {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let store = node.open().await.unwrap();
        disk.set_fault(Some(Fault::FailSync { nth }));
        let failed = content.store(&store).await;
        assert!(matches!(failed, Err(StoreError::Poisoned(_))), "sync {nth}");
        drop(store);
        disk.restart();
        let store = node.open().await.unwrap();
        assert!(store.have(&content.digest()).is_none(), "sync {nth}");
        if content.bytes.len() < SYNC_WINDOW_BYTES as usize {
            content.store(&store).await.unwrap();
            disk.crash();
            assert!(content.is_in(&node.open().await.unwrap()).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_the_process_is_killed_what_the_next_one_calls_sealed_survives_a_power_loss() {
    for after in 0.. {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let content = Content::of(50_000, 1);
        let store = node.open().await.unwrap();
        disk.set_fault(Some(Fault::PowerLoss { after }));
        let done = content.store(&store).await.is_ok();
        drop(store);
        disk.restart();
        let acknowledged = node.open().await.unwrap().is_complete(&content.digest());
        assert!(acknowledged || !done);
        disk.crash();
        let store = node.open().await.unwrap();
        assert!(!acknowledged || content.is_in(&store).await, "step {after}: lost");
        if done {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_the_process_is_killed_while_a_folder_is_made_a_store_the_next_one_s_content_survives() {
    for after in 0.. {
        let disk = SimDisk::new();
        let node = Node::on(&disk);
        let content = Content::of(20_000, 1);
        disk.set_fault(Some(Fault::PowerLoss { after }));
        let made = node.open().await.is_ok();
        disk.restart();
        content.store(&node.open().await.unwrap()).await.unwrap();
        disk.crash();
        assert!(content.is_in(&node.open().await.unwrap()).await, "step {after}");
        if made {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wherever_a_removal_fails_the_content_is_no_longer_claimed_and_a_second_one_makes_it_stay_away() {
    for sealed in [Some(Check::Whole), None] {
        for after in 0.. {
            let disk = SimDisk::new();
            let node = Node::on(&disk);
            let content = Content::of(50_000, 1);
            let store = node.open().await.unwrap();
            content.write(&store).await.unwrap();
            if let Some(check) = sealed {
                store.seal(&content.digest(), check).await.unwrap();
            }
            disk.set_fault(Some(Fault::PowerLoss { after }));
            let done = store.remove(&content.digest()).await.is_ok();
            assert!(store.have(&content.digest()).is_none(), "step {after}: still claimed");
            drop(store);
            disk.restart();
            node.open().await.unwrap().remove(&content.digest()).await.unwrap();
            disk.crash();
            assert!(node.open().await.unwrap().have(&content.digest()).is_none(), "step {after}: came back");
            if done {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_s_window_and_the_next_one_s_are_not_lost_together() {
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let content = Content::of(70 << 20, 1);
    let count = content.all().count;
    let most = Span::new(0, count * 6 / 7);
    let partial = content.begin(&node.open().await.unwrap()).await.unwrap();
    partial.write_span(most, content.pieces(most)).await.unwrap();
    drop(partial);
    disk.restart();
    drop(content.write(&node.open().await.unwrap()).await.unwrap());
    disk.crash();
    let store = node.open().await.unwrap();
    assert!(store.have(&content.digest()).is_some_and(|have| have.len() >= most.count));
    content.check_claims(&store).await;
}

/// A catalogue that takes no changes, as on a full disk.
struct Full(MemoryCatalogue);

impl Catalogue for Full {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogueError> {
        self.0.get(key)
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, CatalogueError> {
        self.0.scan(prefix, after, limit)
    }

    fn is_empty(&self) -> Result<bool, CatalogueError> {
        self.0.is_empty()
    }

    fn commit(&self, _batch: Batch) -> BoxFuture<'_, Result<(), CatalogueError>> {
        async { Err(CatalogueError::Poisoned("no space".into())) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_catalogue_that_takes_no_changes_the_store_opens_reads_and_makes_room() {
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let contents = [1, 2].map(|seed| Content::of(50_000, seed));
    for content in &contents {
        content.store(&node.open().await.unwrap()).await.unwrap();
    }
    let store = node.open_with(Arc::new(Full(MemoryCatalogue::new()))).await.unwrap();
    for content in &contents {
        assert!(content.is_in(&store).await);
        // The first makes the store one that takes no changes, the second finds it so.
        assert!(matches!(store.remove(&content.digest()).await, Err(StoreError::Poisoned(_))));
        assert!(store.have(&content.digest()).is_none());
    }
    assert_eq!(node.files_in("blobs"), 0);
    assert!(node.open().await.unwrap().digests().is_empty());
}
