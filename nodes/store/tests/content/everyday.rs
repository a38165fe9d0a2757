//! Beginning, writing, sealing, reading, removing.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use rdcq_env::{Disk as _, SimDisk};
use rdcq_store::{Begun, Check, ContentStore, FjallCatalogue, StoreError};
use rdcq_wire::{Digest, Manifest, PieceIndex, PieceSet, PieceTable, Span};

use crate::node::{Content, Node, on_both};

#[tokio::test(start_paused = true)]
async fn content_of_any_size_is_stored_and_read_back() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let sizes = [0, 1, 4096, 300_000, 3_000_000];
        for size in sizes {
            let content = Content::of(size, 1);
            let digest = content.digest();
            assert!(store.have(&digest).is_none());
            content.store(&store).await.unwrap();
            store.seal(&digest, Check::Whole).await.unwrap();
            assert!(content.is_in(&store).await, "{size} bytes");
            assert!(store.have(&digest).unwrap().is_full());
            assert_eq!(store.manifest(&digest).unwrap(), content.manifest);
            assert!(matches!(store.begin(content.manifest).await.unwrap(), Begun::Complete));
        }
        assert_eq!((store.digests().len(), store.partial_digests().len()), (sizes.len(), 0));
        assert_eq!(store.stored_bytes(), sizes.iter().sum::<usize>() as u64);
        assert_eq!((node.files_in("blobs"), node.files_in("partial")), (2 * sizes.len(), 0));
        let again = node.open().await.unwrap();
        assert_eq!(again.digests(), store.digests());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_recorded_piece_is_still_there_after_the_process_died() {
    on_both(async |node| {
        let content = Content::of(400_000, 1);
        let first = Span::new(2, 3);
        {
            let store = node.open().await.unwrap();
            let partial = content.begin(&store).await.unwrap();
            partial.write_span(first, content.pieces(first)).await.unwrap();
            partial.write_piece(PieceIndex(0), content.pieces(Span::new(0, 1)).remove(0)).await.unwrap();
        }
        let store = node.open().await.unwrap();
        let mut expected = PieceSet::empty(content.manifest.pieces.len());
        expected.insert_span(first);
        expected.insert_span(Span::new(0, 1));
        assert_eq!(store.have(&content.digest()).unwrap(), expected);
        assert_eq!(content.begin(&store).await.unwrap().have(), expected);
        content.check_claims(&store).await;
        content.store(&store).await.unwrap();
        assert!(content.is_in(&store).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pieces_may_be_written_at_once_and_twice() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let content = Content::of(2_000_000, 1);
        let pieces = content.manifest.pieces.len();
        let partial = content.begin(&store).await.unwrap();
        let same = content.begin(&store).await.unwrap();
        let mut counts = same.subscribe();
        let spans = (0..pieces).map(|first| Span::new(first, 5.min(pieces - first)));
        let writes = spans.map(|span| partial.write_span(span, content.pieces(span)));
        for written in join_all(writes).await {
            written.unwrap();
        }
        assert!(same.have().is_full());
        assert_eq!(counts.see(), pieces);
        let more = store.subscribe(&content.digest()).unwrap();
        store.seal(&content.digest(), Check::Pieces).await.unwrap();
        for mut ended in [counts, more, same.subscribe(), store.subscribe(&content.digest()).unwrap()] {
            assert_eq!(ended.see(), pieces);
            assert!(ended.changed().await.is_err(), "more is to come of sealed content");
        }
        partial.write_span(content.all(), content.pieces(content.all())).await.unwrap();
        assert!(content.is_in(&store).await);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_refused_and_the_right_ones_before_them_kept() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let content = Content::of(300_000, 1);
        let partial = content.begin(&store).await.unwrap();
        for spoil in [
            |piece: &Bytes| piece.slice(1..),
            |piece: &Bytes| {
                let mut bytes = piece.to_vec();
                bytes[7] ^= 1;
                bytes.into()
            },
        ] {
            let mut pieces = content.pieces(content.all());
            pieces[3] = spoil(&pieces[3]);
            let error = partial.write_span(content.all(), pieces).await.unwrap_err();
            assert!(matches!(error, StoreError::WrongBytes { piece: PieceIndex(3), .. }), "{error}");
            assert_eq!(partial.have().spans(), [Span::new(0, 3)]);
        }
        let none = partial.write_span(Span::new(0, 0), vec![]).await.unwrap_err();
        assert!(matches!(none, StoreError::NoSuchPieces { .. }));
        let beyond = partial.write_piece(PieceIndex(u32::MAX), Bytes::new()).await.unwrap_err();
        assert!(matches!(beyond, StoreError::NoSuchPieces { .. }));
        let too_few = partial.write_span(Span::new(0, 2), content.pieces(Span::new(0, 1))).await.unwrap_err();
        assert!(matches!(too_few, StoreError::WrongBytes { piece: PieceIndex(1), .. }));
        let too_many =
            partial.write_span(Span::new(0, 1), content.pieces(Span::new(0, 2))).await.unwrap_err();
        assert!(matches!(too_many, StoreError::WrongBytes { piece: PieceIndex(0), .. }));
        assert!(matches!(
            store.seal(&content.digest(), Check::Pieces).await.unwrap_err(),
            StoreError::Incomplete { missing, .. } if missing == content.manifest.pieces.len() - 3
        ));
    })
    .await;
}

/// Seals pieces under a manifest that does not follow from them.
async fn seal_wrong(store: &ContentStore, manifest: Manifest, bytes: &Bytes) {
    let content = Content { bytes: bytes.clone(), manifest: Arc::new(manifest) };
    let digest = content.digest();
    let partial = content.write(store).await.expect("the pieces are right");
    let error = store.seal(&digest, Check::Whole).await.expect_err("the whole is not");
    assert!(matches!(error, StoreError::WrongContent(_)), "{error}");
    assert!(store.have(&digest).is_none());
    let late = partial.write_span(content.all(), content.pieces(content.all())).await;
    assert!(matches!(late, Err(StoreError::Removed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_does_not_follow_from_the_bytes_is_found_out_by_the_whole_check() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let content = Content::of(100_000, 1);
        let honest = (*content.manifest).clone();
        seal_wrong(&store, Manifest { content: Digest::of(b"else"), ..honest.clone() }, &content.bytes).await;
        let halves = content.bytes.chunks(50_000);
        let halves = halves.map(|half| rdcq_wire::Piece { len: 50_000, hash: Digest::of(half) }).collect();
        let other_cuts = Manifest::of_file(content.digest(), PieceTable::new(halves).unwrap());
        seal_wrong(&store, other_cuts.clone(), &content.bytes).await;
        assert_eq!(node.files_in("partial"), 0);

        content.begin(&store).await.unwrap();
        let other = store.begin(Arc::new(other_cuts.clone())).await;
        assert!(matches!(other, Err(StoreError::OtherManifest(_))));
        content.store(&store).await.unwrap();
        assert!(matches!(store.begin(Arc::new(other_cuts)).await, Err(StoreError::OtherManifest(_))));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_held_is_read() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let content = Content::of(3_000_000, 1);
        let (digest, size) = (content.digest(), content.bytes.len() as u64);
        assert!(matches!(store.read(&digest, Span::new(0, 1)).await, Err(StoreError::NotHeld(_))));
        let partial = content.begin(&store).await.unwrap();
        partial.write_span(Span::new(1, 2), content.pieces(Span::new(1, 2))).await.unwrap();
        let place = content.manifest.pieces.bytes_of_span(Span::new(1, 2)).unwrap();
        let slice = |range: std::ops::Range<u64>| &content.bytes[range.start as usize..range.end as usize];
        for range in [place.clone(), place.start + 1..place.end - 1, place.start..place.start + 1, 9..9] {
            let read = store.read_range(&digest, range.clone()).await.unwrap();
            assert_eq!(read.concat(), slice(range));
        }
        for range in [place.start - 1..place.end, place.start..place.end + 1] {
            assert!(matches!(store.read_range(&digest, range).await, Err(StoreError::NotHeld(_))));
        }
        assert!(matches!(store.read(&digest, Span::new(0, 2)).await, Err(StoreError::NotHeld(_))));

        content.store(&store).await.unwrap();
        let chunks = store.read(&digest, content.all()).await.unwrap();
        assert!(chunks.iter().all(|chunk| chunk.len() <= 1 << 20));
        assert_eq!(chunks.concat(), content.bytes);
        let read = store.read_range(&digest, 1_500_000..1_500_001).await.unwrap();
        assert_eq!(read.concat(), slice(1_500_000..1_500_001));
        assert!(matches!(store.read_range(&digest, 0..size + 1).await, Err(StoreError::NoSuchBytes { .. })));
        for span in [Span::new(0, 0), Span::new(0, content.all().count + 1), Span::new(u32::MAX, 2)] {
            assert!(matches!(store.read(&digest, span).await, Err(StoreError::NoSuchPieces { .. })));
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn removed_content_is_gone_and_may_come_again() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let (sealed, begun) = (Content::of(100_000, 1), Content::of(100_000, 2));
        store.remove(&sealed.digest()).await.unwrap();
        for _ in 0..2 {
            sealed.store(&store).await.unwrap();
            let partial = begun.write(&store).await.unwrap();
            let mut counts = store.subscribe(&begun.digest()).unwrap();
            for content in [&sealed, &begun] {
                store.remove(&content.digest()).await.unwrap();
                assert!(store.have(&content.digest()).is_none());
                assert!(store.manifest(&content.digest()).is_none());
            }
            assert!(counts.changed().await.is_err());
            assert!(store.subscribe(&begun.digest()).is_none());
            let late = partial.write_piece(PieceIndex(0), begun.pieces(Span::new(0, 1)).remove(0)).await;
            assert!(matches!(late, Err(StoreError::Removed(_))));
            assert!(matches!(store.seal(&begun.digest(), Check::Whole).await, Err(StoreError::NotHeld(_))));
            assert_eq!((node.files_in("blobs"), node.files_in("partial")), (0, 0));
            assert_eq!(store.stored_bytes(), 0);
        }
        assert!(node.open().await.unwrap().digests().is_empty());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_seals_and_removes_the_same_content_at_once_takes_turns() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let content = Content::of(100_000, 1);
        let digest = content.digest();
        content.write(&store).await.unwrap();
        let (one, other, removed) = tokio::join!(
            store.seal(&digest, Check::Whole),
            store.seal(&digest, Check::Pieces),
            store.remove(&digest)
        );
        assert!(one.is_ok() && other.is_ok() && removed.is_ok());
        assert!(store.have(&digest).is_none());
        assert_eq!((node.files_in("blobs"), node.files_in("partial")), (0, 0));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_seal_goes_on_when_whoever_waits_for_it_is_dropped() {
    let node = Node::on(&SimDisk::new());
    let store = node.open().await.unwrap();
    let content = Content::of(100_000, 1);
    content.write(&store).await.unwrap();
    let digest = content.digest();
    let mut waiting = Box::pin(store.seal(&digest, Check::Whole));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    store.seal(&digest, Check::Whole).await.unwrap();
    assert!(content.is_in(&store).await);
}

#[tokio::test(start_paused = true)]
async fn content_that_does_not_fit_is_refused_before_anything_is_written() {
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let store = node.open().await.unwrap();
    let content = Content::of(100_000, 1);
    for room in [99_999, 100_000] {
        // With the second room the bytes would fit, but not the piece map.
        disk.set_capacity(disk.used_bytes() + room);
        match content.begin(&store).await.err().unwrap() {
            StoreError::NoSpace { needed, free, .. } => assert!(needed > 0 && free < 100_001),
            other => panic!("{other}"),
        }
        assert_eq!(node.files_in("partial"), 0);
        assert_eq!(disk.free_bytes(&node.root).unwrap(), room);
    }
    disk.set_capacity(SimDisk::AMPLE);
    content.store(&store).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_seal_on_a_full_disk_keeps_the_pieces_for_later() {
    let disk = SimDisk::new();
    let node = Node::on(&disk);
    let store = node.open().await.unwrap();
    let content = Content::of(100_000, 1);
    content.write(&store).await.unwrap();
    disk.set_capacity(disk.used_bytes());
    let error = store.seal(&content.digest(), Check::Whole).await.unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { free: 0, .. }), "{error}");
    assert!(store.have(&content.digest()).unwrap().is_full());
    let again = node.open().await.unwrap();
    assert!(again.have(&content.digest()).unwrap().is_full(), "the next process starts anew");
    disk.set_capacity(SimDisk::AMPLE);
    again.seal(&content.digest(), Check::Whole).await.unwrap();
    assert!(content.is_in(&again).await);
}

#[tokio::test]
async fn a_store_with_a_catalogue_on_disk_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let env = rdcq_env::Env::system();
    let herd: rdcq_wire::HerdId = "herd-1".parse().unwrap();
    let content = Content::of(300_000, 1);
    for round in 0..2 {
        let catalogue = FjallCatalogue::open(&env, folder.path().join("catalogue"), &herd).await.unwrap();
        let root = folder.path().join("store");
        let store = ContentStore::open(env.clone(), root, herd.clone(), Arc::new(catalogue)).await.unwrap();
        assert_eq!(store.digests().len(), round);
        content.store(&store).await.unwrap();
        assert!(content.is_in(&store).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_file_of_content_is_there_to_read_from_its_first_piece_until_after_its_removal() {
    on_both(async |node| {
        let store = node.open().await.unwrap();
        let content = Content::of(400_000, 1);
        let digest = content.digest();
        let refused = async || matches!(store.open_file(&digest).await, Err(StoreError::NotHeld(_)));
        assert!(refused().await);
        let manifest = Arc::clone(&content.manifest);
        let Begun::Partial(_) = store.begin(manifest).await.unwrap() else { panic!("nothing was there") };
        let early = store.open_file(&digest).await.unwrap();
        content.write(&store).await.unwrap();
        store.seal(&digest, Check::Whole).await.unwrap();
        let late = store.open_file(&digest).await.unwrap();
        store.remove(&digest).await.unwrap();
        assert!(refused().await);
        for file in [early, late] {
            if file.descriptor().is_some() {
                file.write_all_at(b"other", 0).unwrap_err();
            }
            let mut bytes = vec![0; content.bytes.len()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert_eq!(bytes, content.bytes);
        }
    })
    .await;
}
