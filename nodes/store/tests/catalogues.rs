//! What every catalogue must do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use rdcq_env::Env;
use rdcq_store::catalogue::{MAX_KEY_BYTES, MAX_VALUE_BYTES};
use rdcq_store::{Batch, Catalogue, CatalogueError, FjallCatalogue, MemoryCatalogue, StampError};

/// Runs a check on a new catalogue of each kind.
async fn check(on_catalogue: impl AsyncFn(Arc<dyn Catalogue>)) {
    on_catalogue(Arc::new(MemoryCatalogue::new())).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    on_catalogue(Arc::new(open(folder.path()).await.expect("a new catalogue"))).await;
}

async fn open(folder: &Path) -> Result<FjallCatalogue, CatalogueError> {
    open_as(folder, "herd-1").await
}

async fn open_as(folder: &Path, herd: &str) -> Result<FjallCatalogue, CatalogueError> {
    let herd = herd.parse().expect("a herd's name");
    FjallCatalogue::open(&Env::system(), place(folder), &herd).await
}

fn place(folder: &Path) -> PathBuf {
    folder.join("deep/catalogue")
}

fn keys(found: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<String> {
    found.into_iter().map(|(key, _)| String::from_utf8(key).expect("keys of the test are text")).collect()
}

#[tokio::test]
async fn a_commit_is_seen_and_replaces_and_removes() {
    check(async |catalogue| {
        assert!(catalogue.is_empty().unwrap());
        catalogue.commit(Batch::default()).await.unwrap();
        catalogue.commit(Batch::default().with_put("a", "1").with_put("b", "2")).await.unwrap();
        assert!(!catalogue.is_empty().unwrap());
        catalogue
            .commit(Batch::default().with_put("a", "3").with_delete("b").with_delete("c"))
            .await
            .unwrap();
        assert_eq!(catalogue.get(b"a").unwrap().unwrap(), b"3");
        assert_eq!(catalogue.get(b"b").unwrap(), None);
        catalogue.commit(Batch::default().with_put("a", "4").with_delete("a")).await.unwrap();
        assert_eq!(catalogue.get(b"a").unwrap().unwrap(), b"4", "removals come first");
    })
    .await;
}

#[tokio::test]
async fn a_scan_keeps_to_its_prefix_its_start_and_its_limit() {
    check(async |catalogue| {
        let names = ["a/1", "b/1", "b/2", "b/3", "b0", "c/1"];
        let batch = names.iter().fold(Batch::default(), |batch, name| batch.with_put(*name, "x"));
        catalogue.commit(batch).await.unwrap();
        let scan = |prefix: &str, after: Option<&str>, limit| {
            keys(catalogue.scan(prefix.as_bytes(), after.map(str::as_bytes), limit).unwrap())
        };
        assert_eq!(scan("b/", None, 10), ["b/1", "b/2", "b/3"]);
        assert_eq!(scan("b/", None, 2), ["b/1", "b/2"]);
        assert_eq!(scan("b/", Some("b/1"), 10), ["b/2", "b/3"]);
        assert_eq!(scan("b/", Some("b/15"), 10), ["b/2", "b/3"]);
        assert_eq!(scan("b/", Some("a"), 10), ["b/1", "b/2", "b/3"]);
        assert_eq!(scan("b/", Some("b/3"), 10), [""; 0]);
        assert_eq!(scan("b/", Some("c"), 10), [""; 0]);
        assert_eq!(scan("", None, 10), names);
    })
    .await;
}

#[tokio::test]
async fn keys_and_values_of_impossible_lengths_are_refused() {
    check(async |catalogue| {
        let long = vec![0; MAX_KEY_BYTES + 1];
        let large = vec![0; MAX_VALUE_BYTES + 1];
        let refused = async |batch| catalogue.commit(batch).await.unwrap_err();
        assert!(matches!(refused(Batch::default().with_put("", "x")).await, CatalogueError::KeyLength(0)));
        assert!(matches!(refused(Batch::default().with_delete(long)).await, CatalogueError::KeyLength(_)));
        assert!(matches!(
            refused(Batch::default().with_put("a", large)).await,
            CatalogueError::ValueLength(_)
        ));
        let batch = Batch::default().with_put(vec![0; MAX_KEY_BYTES], vec![0; MAX_VALUE_BYTES]);
        catalogue.commit(batch).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn commits_that_gather_are_all_made_and_the_later_one_has_the_last_word() {
    check(async |catalogue| {
        let commits = (0..500)
            .map(|number| catalogue.commit(Batch::default().with_put(format!("own/{number:04}"), "x")));
        for outcome in join_all(commits).await {
            outcome.unwrap();
        }
        assert_eq!(catalogue.scan(b"own/", None, 1000).unwrap().len(), 500);
        let commit = |value: &str| catalogue.commit(Batch::default().with_put("shared", value));
        let gone = Batch::default().with_delete("own/0000").with_delete("shared");
        let (first, second, third, last) =
            tokio::join!(commit("1"), commit("2"), catalogue.commit(gone), commit("3"));
        assert!(first.is_ok() && second.is_ok() && third.is_ok() && last.is_ok());
        assert_eq!(catalogue.get(b"shared").unwrap().unwrap(), b"3");
        assert_eq!(catalogue.get(b"own/0000").unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_the_database_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3_u8 {
        let catalogue = open(folder.path()).await.unwrap();
        assert_eq!(catalogue.scan(b"k", None, 10).unwrap().len(), round.into());
        catalogue.commit(Batch::default().with_put([b'k', round], [round])).await.unwrap();
    }
}

#[tokio::test]
async fn another_herd_s_catalogue_and_a_foreign_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await.unwrap());
    let other = open_as(folder.path(), "herd-2").await.err().unwrap();
    assert!(
        matches!(&other, CatalogueError::Stamp(error) if matches!(**error, StampError::Herd { .. })),
        "{other}"
    );
    let format = rdcq_env::SystemDisk;
    let stamp = rdcq_env::Disk::open(&format, &place(folder.path()).join("FORMAT")).unwrap();
    stamp.write_all_at(b"something", 0).unwrap();
    let foreign = open(folder.path()).await.err().unwrap();
    assert!(foreign.to_string().contains("no file of this kind"), "{foreign}");
}

#[tokio::test]
async fn a_catalogue_is_open_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path()).await.unwrap();
    assert!(matches!(open(folder.path()).await, Err(CatalogueError::InUse { .. })));
}
