//! What is done with an open file.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::node::File;
use super::{SimDisk, State, Sync, lock, sync_failed};
use crate::disk::{DiskFile, FileAttributes, Stamp};

/// A handle of one life of the disk.
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) file: Arc<Mutex<File>>,
    pub(super) life: u64,
}

impl SimFile {
    /// The disk's state, if this handle was opened since the last crash.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(io::Error::other("the file was opened before the crash"))
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.sync()?;
        state.syncs.files += 1;
        let mut file = lock(&self.file);
        match outcome {
            Sync::Done => file.sync(),
            Sync::Skipped => {}
            Sync::Failed => {
                file.fail_syncs();
                return Err(sync_failed());
            }
        }
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.read()?;
        let file = lock(&self.file);
        let end = file.bytes().len();
        let start = usize::try_from(offset).map_or(end, |start| start.min(end));
        let read = buffer.len().min(end - start);
        buffer[..read].copy_from_slice(&file.bytes()[start..start + read]);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.check_power()?;
        let mut file = lock(&self.file);
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if let Err(failing) = state.change() {
            file.write(start, &bytes[..bytes.len() / 2]);
            return Err(failing);
        }
        let old = file.bytes().len();
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        state.resize(old as u64, old.max(end) as u64)?;
        file.write(start, bytes);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        let mut file = lock(&self.file);
        let new = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        state.resize(file.bytes().len() as u64, len)?;
        file.set_len(new);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.state()?;
        state.check_power()?;
        let len = lock(&self.file).bytes().len();
        Ok(len as u64)
    }

    fn attributes(&self) -> io::Result<FileAttributes> {
        let state = self.state()?;
        state.check_power()?;
        let attributes = lock(&self.file).attributes();
        Ok(attributes)
    }

    fn set_attributes(&self, attributes: FileAttributes) -> io::Result<()> {
        let mut state = self.state()?;
        state.change()?;
        lock(&self.file).set_attributes(attributes);
        Ok(())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let state = self.state()?;
        state.check_power()?;
        let stamp = lock(&self.file).stamp();
        Ok(stamp)
    }
}
