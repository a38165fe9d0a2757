//! The catalogue's entries about sealed content: key `b/` and the digest.

use std::collections::BTreeMap;

use rdcq_wire::{Digest, Manifest};
use serde::{Deserialize, Serialize};

use super::index::Holding;
use crate::{Batch, Catalogue, CatalogueError};

/// What all keys of the store begin with.
const PREFIX: &[u8] = b"b/";

/// Entries read or changed at once while the catalogue is brought up to date.
const PAGE: usize = 1024;

/// What the catalogue knows of a blob. All of it follows from the blob's sidecar.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BlobRecord {
    format: u8,
    manifest: Digest,
    size: u64,
    pieces: u32,
}

impl BlobRecord {
    const FORMAT: u8 = 1;

    fn of(manifest: &Manifest) -> Vec<u8> {
        let record = Self {
            format: Self::FORMAT,
            manifest: Digest::of(&manifest.encode()),
            size: manifest.pieces.size(),
            pieces: manifest.pieces.len(),
        };
        postcard::to_stdvec(&record).expect("a record always encodes")
    }
}

fn key(digest: &Digest) -> Vec<u8> {
    [PREFIX, digest.as_bytes()].concat()
}

/// The change that enters sealed content.
pub(super) fn enter(manifest: &Manifest) -> Batch {
    Batch::default().with_put(key(&manifest.content), BlobRecord::of(manifest))
}

/// The change that strikes content out.
pub(super) fn strike_out(digest: &Digest) -> Batch {
    Batch::default().with_delete(key(digest))
}

/// Makes the catalogue say what the blobs say.
pub(super) async fn reconcile(
    catalogue: &dyn Catalogue,
    holdings: &BTreeMap<Digest, Holding>,
) -> Result<(), CatalogueError> {
    let mut missing: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (digest, holding) in holdings {
        if let Holding::Complete(manifest) = holding {
            missing.insert(key(digest), BlobRecord::of(manifest));
        }
    }
    let mut stale = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = catalogue.scan(PREFIX, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (key, value) in page {
            match missing.get(&key) {
                Some(record) if *record == value => drop(missing.remove(&key)),
                Some(_) => {}
                None => stale.push(key),
            }
        }
    }
    if !missing.is_empty() || !stale.is_empty() {
        tracing::warn!(entered = missing.len(), struck_out = stale.len(), "brought the catalogue up to date");
    }
    let missing: Vec<_> = missing.into_iter().collect();
    for put in missing.chunks(PAGE) {
        catalogue.commit(Batch { put: put.to_vec(), delete: Vec::new() }).await?;
    }
    for delete in stale.chunks(PAGE) {
        catalogue.commit(Batch { put: Vec::new(), delete: delete.to_vec() }).await?;
    }
    Ok(())
}
