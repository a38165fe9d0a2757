//! What is done by name.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::files::SimFile;
use super::node::{File, Node};
use super::{SimDisk, State, Sync, lock, names, sync_failed};
use crate::disk::{DirEntry, Disk, DiskFile, EntryKind, Metadata, Mode};

impl SimDisk {
    fn handle(&self, file: Arc<Mutex<File>>, life: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), file, life })
    }
}

/// What becomes of what has the new name already.
#[derive(PartialEq, Eq)]
enum Taken {
    Replaced,
    Refused,
}

impl State {
    fn rename(&mut self, from: &Path, to: &Path, taken: Taken) -> io::Result<()> {
        self.change()?;
        let (source, old) = self.place(from)?;
        let (target, new) = self.place(to)?;
        let node = lock(&source).find(&old).ok_or(io::ErrorKind::NotFound)?;
        let replaced = lock(&target).find(&new);
        match (&node, &replaced) {
            (_, Some(_)) if taken == Taken::Refused => return Err(io::ErrorKind::AlreadyExists.into()),
            (Node::File(file), Some(Node::File(same))) if Arc::ptr_eq(file, same) => return Ok(()),
            (Node::File(_), Some(Node::Folder(_))) => return Err(io::ErrorKind::IsADirectory.into()),
            (Node::Folder(_), Some(Node::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            (Node::Folder(_), Some(Node::Folder(folder))) if !lock(folder).is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        if Arc::ptr_eq(&source, &target) {
            lock(&source).rename(old, new, node);
        } else {
            lock(&source).give_away(old);
            lock(&target).put(new, node);
        }
        if replaced.is_some() {
            self.recount();
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        state.check_power()?;
        match state.find(path)? {
            Node::File(file) => Ok(self.handle(file, state.life)),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn create_new(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.change()?;
        let (folder, name) = state.place(path)?;
        let mut folder = lock(&folder);
        if folder.find(&name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(Mutex::new(File::new(mode)));
        folder.put(name, Node::File(Arc::clone(&file)));
        Ok(self.handle(file, state.life))
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.read()?;
        let Node::File(file) = state.find(path)? else { return Err(io::ErrorKind::IsADirectory.into()) };
        let file = lock(&file);
        if file.bytes().len() as u64 > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(file.bytes().to_vec())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let mut at = Arc::clone(&state.root);
        for name in names(path)? {
            let found = lock(&at).find(name);
            let next = match found {
                Some(Node::Folder(folder)) => folder,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let folder = Arc::default();
                    lock(&at).put(name.to_owned(), Node::Folder(Arc::clone(&folder)));
                    folder
                }
            };
            at = next;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to, Taken::Replaced)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to, Taken::Refused)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let (folder, name) = state.place(path)?;
        let found = lock(&folder).find(&name);
        match found.ok_or(io::ErrorKind::NotFound)? {
            Node::File(_) => lock(&folder).remove(name),
            Node::Folder(_) => return Err(io::ErrorKind::IsADirectory.into()),
        }
        state.recount();
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let (folder, name) = state.place(path)?;
        let found = lock(&folder).find(&name);
        match found.ok_or(io::ErrorKind::NotFound)? {
            Node::Folder(_) => lock(&folder).remove(name),
            Node::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
        }
        state.recount();
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.check_power()?;
        match state.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        state.check_power()?;
        let folder = state.folder(path)?;
        let entries = lock(&folder).list();
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let folder = state.folder(path)?;
        let outcome = state.sync()?;
        state.syncs.folders += 1;
        match outcome {
            Sync::Done => lock(&folder).sync(),
            Sync::Skipped => {}
            Sync::Failed => return Err(sync_failed()),
        }
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = self.state();
        state.check_power()?;
        Ok(state.capacity.saturating_sub(state.used))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state();
        state.check_power()?;
        Ok(match state.find(path)? {
            Node::File(file) => Metadata { kind: EntryKind::File, len: lock(&file).bytes().len() as u64 },
            Node::Folder(_) => Metadata { kind: EntryKind::Directory, len: 0 },
        })
    }
}
