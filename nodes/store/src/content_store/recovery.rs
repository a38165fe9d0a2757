//! What an earlier process left: sealed content is looked through, content in the making verified, leftovers removed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use rdcq_env::disk::{DirEntry, TEMPORARY_SUFFIX, create_dir_durable, parent};
use rdcq_env::{Disk, EntryKind};
use rdcq_wire::{Digest, Manifest};

use super::StoreError;
use super::index::Holding;
use super::label::{Kind, Labels};
use super::layout::{Layout, MAP_SUFFIX, SIDECAR_SUFFIX};
use super::partial::PartialContent;
use super::seal::{cut_file, remove_if_there, remove_partial, write_label};

/// Finds or makes the store's folder, and what is in it.
pub(super) struct Recovery<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) layout: &'a Layout,
    pub(super) labels: &'a Labels,
}

impl Recovery<'_> {
    pub(super) fn run(&self) -> Result<BTreeMap<Digest, Holding>, StoreError> {
        self.prepare_folders()?;
        let mut holdings = BTreeMap::new();
        for shard in Layout::shard_names() {
            for (digest, manifest) in self.blobs_of(&shard)? {
                holdings.insert(digest, Holding::Complete(manifest));
            }
        }
        self.resume_partials(&mut holdings)?;
        Ok(holdings)
    }

    fn prepare_folders(&self) -> Result<(), StoreError> {
        self.create_folder(self.layout.root())?;
        self.labels.folder().claim(self.disk, &self.layout.format())?;
        let blobs = self.layout.blobs();
        for folder in [&blobs, &self.layout.partials(), &self.layout.quarantine()] {
            self.create_folder(folder)?;
        }
        let there: Vec<OsString> = self.list(&blobs)?.into_iter().map(|entry| entry.name).collect();
        let missing: Vec<_> = Layout::shard_names().filter(|name| !there.contains(&name.into())).collect();
        for name in &missing {
            let path = blobs.join(name);
            self.disk
                .create_dir_all(&path)
                .map_err(|source| StoreError::write(self.disk, &path, 0, source))?;
        }
        self.sync_folder(&blobs)
    }

    fn create_folder(&self, path: &Path) -> Result<(), StoreError> {
        create_dir_durable(self.disk, path).map_err(|source| StoreError::write(self.disk, path, 0, source))
    }

    fn blobs_of(&self, shard: &str) -> Result<Vec<(Digest, Arc<Manifest>)>, StoreError> {
        let folder = self.layout.blobs().join(shard);
        let mut blobs = Vec::new();
        for name in self.names(&folder)? {
            if let Ok(digest) = Digest::from_hex(&name) {
                if self.layout.shard(&digest) == folder {
                    blobs
                        .extend(self.manifest_of_blob(&digest)?.map(|manifest| (digest, Arc::new(manifest))));
                }
            } else if name.ends_with(TEMPORARY_SUFFIX) {
                remove_if_there(self.disk, &folder.join(name))?;
            } else if let Some(hex) = name.strip_suffix(SIDECAR_SUFFIX)
                && !self.exists(&folder.join(hex))?
            {
                remove_if_there(self.disk, &folder.join(name))?;
            }
        }
        if !blobs.is_empty() {
            // Whoever sealed them may have been killed before their names were durable.
            self.sync_folder(&folder)?;
        }
        Ok(blobs)
    }

    /// The manifest by the blob's sidecar or, if that is damaged, by the blob itself. A blob that is not what its name
    /// says goes to the quarantine.
    fn manifest_of_blob(&self, digest: &Digest) -> Result<Option<Manifest>, StoreError> {
        let path = self.layout.blob(digest);
        let io = |source| StoreError::Io { path: path.clone(), source };
        let size = self.disk.metadata(&path).map_err(io)?.len;
        if let Some(manifest) = self.read_sidecar(digest)
            && manifest.pieces.size() == size
        {
            return Ok(Some(manifest));
        }
        let file = self.disk.open(&path).map_err(io)?;
        match cut_file(&*file, size).map_err(io)? {
            Some(manifest) if manifest.content == *digest => {
                tracing::warn!(%digest, "a blob without a sound sidecar was cut again");
                // The blob may be here only because a power loss let its name survive before its seal was complete.
                file.sync_data().map_err(io)?;
                write_label(self.disk, self.layout, self.labels, &manifest, |path, synced| {
                    synced.map_err(|source| StoreError::Io { path: path.to_owned(), source })
                })?;
                self.sync_folder(parent(&path))?;
                Ok(Some(manifest))
            }
            _ => {
                let to = self.layout.quarantine().join(digest.hex());
                tracing::error!(%digest, to = %to.display(), "a blob is not what its name says; it is set aside");
                self.disk.rename(&path, &to).map_err(io)?;
                remove_if_there(self.disk, &self.layout.sidecar(digest))?;
                Ok(None)
            }
        }
    }

    fn read_sidecar(&self, digest: &Digest) -> Option<Manifest> {
        let bytes = self.disk.read(&self.layout.sidecar(digest), Labels::MAX_BYTES).ok()?;
        match self.labels.split(Kind::Sidecar, &bytes) {
            Some((manifest, [])) if manifest.content == *digest => Some(manifest),
            _ => None,
        }
    }

    fn resume_partials(&self, holdings: &mut BTreeMap<Digest, Holding>) -> Result<(), StoreError> {
        let folder = self.layout.partials();
        let names = self.names(&folder)?;
        let digest_of = |name: &String| Digest::from_hex(name.strip_suffix(MAP_SUFFIX).unwrap_or(name)).ok();
        let digests: BTreeSet<Digest> = names.iter().filter_map(digest_of).collect();
        for digest in digests {
            match holdings.get(&digest) {
                Some(_) => remove_partial(self.disk, self.layout, &digest)?,
                None => match PartialContent::resume(self.disk, self.layout, self.labels, &digest) {
                    Ok(Some(partial)) => drop(holdings.insert(digest, Holding::Partial(Arc::new(partial)))),
                    Ok(None) => {
                        tracing::warn!(%digest, "content in the making without a sound piece map is removed");
                        remove_partial(self.disk, self.layout, &digest)?;
                    }
                    Err(error) => {
                        tracing::warn!(%digest, %error, "content in the making cannot be read; its files are kept");
                    }
                },
            }
        }
        // After the blobs' folders: a name that moved to them must not go here before it is durable there.
        self.sync_folder(&folder)
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, StoreError> {
        let entries = self.list(folder)?.into_iter();
        let files = entries.filter(|entry| entry.kind == EntryKind::File);
        Ok(files.filter_map(|entry| entry.name.into_string().ok()).collect())
    }

    fn list(&self, folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
        self.disk.read_dir(folder).map_err(|source| StoreError::Io { path: folder.to_owned(), source })
    }

    fn exists(&self, path: &Path) -> Result<bool, StoreError> {
        self.disk.exists(path).map_err(|source| StoreError::Io { path: path.to_owned(), source })
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(folder).map_err(|source| StoreError::Io { path: folder.to_owned(), source })
    }
}
