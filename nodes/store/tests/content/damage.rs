//! What lies in the folder is not what it should be.

use std::sync::Arc;

use rdcq_env::{Fault, SimDisk};
use rdcq_store::{Batch, Catalogue as _, ContentStore, MemoryCatalogue, StampError, StoreError};
use rdcq_wire::Span;

use crate::node::{Content, Node, on_both};

#[tokio::test(start_paused = true)]
async fn another_herd_s_folder_and_another_format_are_refused() {
    on_both(async |node| {
        drop(node.open().await.unwrap());
        let (env, root) = (node.env.clone(), node.root.clone());
        let herd = "herd-2".parse().unwrap();
        let other = ContentStore::open(env, root, herd, Arc::new(node.catalogue.clone())).await;
        let error = other.err().unwrap();
        assert!(matches!(&error, StoreError::Stamp(StampError::Herd { .. })), "{error}");
        node.flip(&node.root.join("FORMAT"), 8);
        let error = node.open().await.err().unwrap();
        assert!(matches!(&error, StoreError::Stamp(StampError::Format { known: 1, .. })), "{error}");
        for foreign in [&b""[..], b"rdcqstor", &[b'x'; 500]] {
            node.put(&node.root.join("FORMAT"), foreign);
            let error = node.open().await.err().unwrap();
            assert!(matches!(&error, StoreError::Stamp(StampError::Foreign { .. })), "{error}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_catalogue_is_rebuilt_and_a_wrong_one_put_right() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let contents: Vec<_> = (0..5).map(|seed| Content::of(50_000, seed)).collect();
        for content in &contents {
            content.store(&store).await.unwrap();
        }
        let entries = node.catalogue.scan(b"", None, 100).unwrap();
        assert_eq!(entries.len(), 5);

        let lost = MemoryCatalogue::new();
        node.open_with(Arc::new(lost.clone())).await.unwrap();
        assert_eq!(lost.scan(b"", None, 100).unwrap(), entries);

        let wrong = Batch::default()
            .with_put(entries[0].0.clone(), "nonsense")
            .with_put("b/stale", "x")
            .with_put("c/else", "x")
            .with_delete(entries[1].0.clone());
        lost.commit(wrong).await.unwrap();
        node.open_with(Arc::new(lost.clone())).await.unwrap();
        assert_eq!(lost.scan(b"b/", None, 100).unwrap(), entries);
        assert!(lost.get(b"c/else").unwrap().is_some(), "an entry of somebody else went");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_missing_sidecar_is_written_again_from_the_blob() {
    on_both(async |node| {
        let content = Content::of(50_000, 1);
        content.store(&node.open().await.unwrap()).await.unwrap();
        let sidecar = node.sidecar(&content);
        let sound = node.read(&sidecar);
        for at in (0..sound.len()).step_by(7) {
            node.flip(&sidecar, at);
            assert!(content.is_in(&node.open().await.unwrap()).await, "byte {at}");
            assert!(node.read(&sidecar) == sound, "byte {at}");
        }
        node.disk().remove_file(&sidecar).unwrap();
        assert!(content.is_in(&node.open().await.unwrap()).await);
        assert!(node.read(&sidecar) == sound);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_not_what_its_name_says_is_set_aside() {
    on_both(async |node| {
        let (content, other) = (Content::of(50_000, 1), Content::of(50_000, 2));
        let store = node.open().await.unwrap();
        content.store(&store).await.unwrap();
        other.store(&store).await.unwrap();
        node.put(&node.blob(&content), &content.bytes[..40_000]);
        let store = node.open().await.unwrap();
        assert_eq!(store.digests(), [other.digest()]);
        assert_eq!(node.files_in("quarantine"), 1);
        assert_eq!(node.catalogue.scan(b"b/", None, 10).unwrap().len(), 1);
        content.store(&store).await.unwrap();
        assert!(content.is_in(&store).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn leftovers_are_removed_and_strangers_left_alone() {
    on_both(async |node| {
        let content = Content::of(50_000, 1);
        content.store(&node.open().await.unwrap()).await.unwrap();
        let (blob, other) = (node.blob(&content), Content::of(10, 2));
        node.put(&blob.with_added_extension("meta.tmp"), b"half a sidecar");
        node.put(&node.sidecar(&other), b"a sidecar without a blob");
        node.put(&node.partial(&other), b"without a map");
        node.put(&node.map(&Content::of(10, 3)), b"without content");
        node.put(&node.partial(&content), b"the old name of sealed content");
        node.put(&blob.with_file_name("README"), b"somebody's");
        let store = node.open().await.unwrap();
        assert_eq!(store.digests(), [content.digest()]);
        assert!(store.partial_digests().is_empty());
        assert_eq!((node.files_in("partial"), node.files_in("blobs")), (0, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_piece_map_with_any_byte_flipped_claims_nothing_that_is_not_there() {
    let content = Content::of(60_000, 1);
    let (held, missing) = (Span::new(1, 1), content.all().count - 1);
    let mut at = 0;
    loop {
        let node = Node::on(&SimDisk::new());
        let partial = content.begin(&node.open().await.unwrap()).await.unwrap();
        partial.write_span(held, content.pieces(held)).await.unwrap();
        let len = node.read(&node.map(&content)).len();
        if at == len {
            break;
        }
        node.flip(&node.map(&content), at);
        let store = node.open().await.unwrap();
        content.check_claims(&store).await;
        // A map says less after damage, never more.
        assert!(
            store.have(&content.digest()).is_none_or(|have| have.pieces() - have.len() >= missing),
            "byte {at}"
        );
        content.store(&store).await.unwrap();
        assert!(content.is_in(&store).await, "byte {at}");
        at += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_map_that_claims_pieces_falsely_is_not_believed() {
    on_both(async |node| {
        let content = Content::of(200_000, 1);
        let first = Span::new(0, 2);
        let partial = content.begin(&node.open().await.unwrap()).await.unwrap();
        partial.write_span(first, content.pieces(first)).await.unwrap();
        let mut map = node.read(&node.map(&content));
        let start = map.len() - content.all().count as usize;
        let held = map[start];
        map[start..].fill(held);
        node.put(&node.map(&content), &map);
        let store = node.open().await.unwrap();
        assert_eq!(store.have(&content.digest()).unwrap().spans(), [first]);
        drop(store);
        // The false claims are struck out of the file, too, and content that was cut short gets its length back.
        let map = node.read(&node.map(&content));
        assert_eq!(map[start..].iter().filter(|claim| **claim == held).count(), 2);
        let short =
            &content.bytes[..content.manifest.pieces.piece(rdcq_wire::PieceIndex(0)).unwrap().len as usize];
        node.put(&node.partial(&content), short);
        let store = node.open().await.unwrap();
        assert_eq!(store.have(&content.digest()).unwrap().spans(), [Span::new(0, 1)]);
        content.store(&store).await.unwrap();
        assert!(content.is_in(&store).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_while_the_store_opens_costs_no_verified_piece() {
    let content = Content::of(100_000, 1);
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let full = |store: &ContentStore| store.have(&content.digest()).map(|have| have.is_full());
    drop(content.write(&node.open().await.unwrap()).await.unwrap());
    let mut seen = Vec::new();
    while seen.last() != Some(&Some(true)) {
        disk.set_fault(Some(Fault::FailRead { nth: seen.len() as u64 }));
        let opened = node.open().await;
        disk.set_fault(None);
        seen.push(opened.as_ref().ok().and_then(full));
        if let Ok(store) = &opened
            && full(store).is_none()
        {
            // The store left the files alone, and finds all in them once they can be read.
            assert!(content.begin(store).await.unwrap().have().is_full());
        }
        assert_eq!(full(&node.open().await.unwrap()), Some(true), "read {}", seen.len() - 1);
    }
    // The folder's stamp, the piece map, each piece, and at last nothing.
    assert_eq!(seen.len() as u32, 2 + content.all().count + 1);
    assert_eq!(seen[..3], [None, None, Some(false)]);
}
