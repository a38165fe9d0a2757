//! The machine's disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FallocateFlags, RawMode, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::disk::{DirEntry, Disk, DiskFile, EntryKind, FileAttributes, Metadata, Mode, Stamp};

/// The machine's file systems, as they are mounted.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SystemFile(File::open(path)?)))
    }

    fn create_new(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>> {
        let bits = mode.bits().into();
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(bits).open(path)?;
        Ok(Arc::new(SystemFile(file)))
    }

    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        if len > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = Vec::new();
        // One byte more than allowed, for a file that grows while it is read.
        file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system has no such renaming. A second name is refused if it is taken, too.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            renamed => renamed.map_err(Into::into),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            entries.push(DirEntry { name: entry.file_name(), kind: kind(entry.file_type()?) });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let metadata = fs::metadata(path)?;
        Ok(Metadata { kind: kind(metadata.file_type()), len: metadata.len() })
    }
}

fn kind(of: fs::FileType) -> EntryKind {
    if of.is_file() {
        EntryKind::File
    } else if of.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

const NS_PER_SECOND: i64 = 1_000_000_000;

fn written_unix_ns(metadata: &fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * i128::from(NS_PER_SECOND) + i128::from(metadata.mtime_nsec())
}

pub(crate) struct SystemFile(File);

impl SystemFile {
    /// Takes over a file that another process opened. What is no regular file is refused: reading it could wait for ever.
    pub(crate) fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        if file.metadata()?.is_file() { Ok(Self(file)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

impl DiskFile for SystemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        loop {
            match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.len()? < len { self.set_len(len) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn attributes(&self) -> io::Result<FileAttributes> {
        let metadata = self.0.metadata()?;
        let mode = u16::try_from(metadata.mode() & u32::from(FileAttributes::MODE_BITS)).unwrap_or_default();
        let written = written_unix_ns(&metadata);
        let modified_unix_ns = written.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Ok(FileAttributes { mode, modified_unix_ns })
    }

    fn set_attributes(&self, attributes: FileAttributes) -> io::Result<()> {
        let FileAttributes { mode, modified_unix_ns: ns } = attributes;
        let mode = RawMode::from(mode & FileAttributes::MODE_BITS);
        rustix::fs::fchmod(&self.0, rustix::fs::Mode::from_raw_mode(mode))?;
        let left = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let modified =
            Timespec { tv_sec: ns.div_euclid(NS_PER_SECOND), tv_nsec: ns.rem_euclid(NS_PER_SECOND) };
        let times = Timestamps { last_access: left, last_modification: modified };
        rustix::fs::futimens(&self.0, &times).map_err(Into::into)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let metadata = self.0.metadata()?;
        Ok(Stamp { len: metadata.len(), written: written_unix_ns(&metadata) })
    }
}
