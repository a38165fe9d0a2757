//! What a node may do with files and folders.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system. All calls block and belong inside [`Env::blocking`](crate::Env::blocking).
///
/// Nothing is durable by itself: a file's bytes are after [`DiskFile::sync_data`], a created, renamed or removed name
/// is after [`Disk::sync_dir`] of its folder. A full disk is an error of kind [`io::ErrorKind::StorageFull`].
pub trait Disk: Send + Sync + 'static {
    /// Opens a file that exists, to read and write.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there for reading alone.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a file, to read and write; refused if the name is taken, by whatever it is.
    fn create_new(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn DiskFile>>;

    /// The whole file; a file of more than `max` bytes is refused with [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>>;

    /// Creates the folder and those above it that are missing. See [`create_dir_durable`] for one that stays.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Renames; a file of the new name is replaced in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file; refused with [`io::ErrorKind::AlreadyExists`] if the new name is taken, by whatever it is.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Whether the name is taken.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// What is in a folder, ordered by name.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the names in a folder durable, and the absence of removed ones.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that may still be written to the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Kind and length.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
}

/// An open file. Reads and writes name their place, so one handle serves many at once.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills the buffer, or fails with [`io::ErrorKind::UnexpectedEof`].
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all bytes at a place, growing the file if need be.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long and claims their space now, so that a full disk shows before any work.
    /// Where the file system cannot claim, the file only grows.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts the file or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes bytes and length durable. After an error nothing is known about them: do not try again.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes bytes, length and the file's other attributes durable.
    fn sync_all(&self) -> io::Result<()>;

    /// What the system knows the open file by, for handing it to another process; nothing in a simulation.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// The file's permissions and when it was written to.
    fn attributes(&self) -> io::Result<FileAttributes>;

    /// Gives the file these attributes; durable after [`Self::sync_all`]. A later write sets the time anew.
    fn set_attributes(&self, attributes: FileAttributes) -> io::Result<()>;

    /// What changes when the file is written to.
    fn stamp(&self) -> io::Result<Stamp>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Its owner (0600).
    Private,
    /// Everybody, as far as the umask lets them (0644).
    Shared,
}

impl Mode {
    /// As bits of `st_mode`.
    pub(crate) const fn bits(self) -> u16 {
        match self {
            Self::Private => 0o600,
            Self::Shared => 0o644,
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link, a socket, a device.
    Other,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the folder.
    pub name: OsString,
    /// What it stands for; links are not followed.
    pub kind: EntryKind,
}

/// What is known of a file without opening it; links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What the name stands for.
    pub kind: EntryKind,
    /// Length in bytes; of no meaning for a folder.
    pub len: u64,
}

/// What a file is beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileAttributes {
    /// Who may do what with it: the twelve lowest bits of `st_mode`.
    pub mode: u16,
    /// When it was written to: nanoseconds since 1970-01-01 UTC.
    pub modified_unix_ns: i64,
}

impl FileAttributes {
    /// All bits that [`Self::mode`] may have.
    pub const MODE_BITS: u16 = 0o7777;
}

/// Two that are equal tell that nobody wrote to the file between them: its length, and when it was written to, as exactly as the
/// file system knows that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Length in bytes.
    pub len: u64,
    /// Which writing was the last: nanoseconds since 1970 by the file system's clock, or a number that grows.
    pub(crate) written: i128,
}

/// What [`write_durable`] adds to a name while the file is not whole. Leftovers after a crash may be removed.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes a whole file so that after a crash either all of it is there or none of it (or what was there before), and
/// returns when it is durable. One writer at a time for one path.
pub fn write_durable(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let temporary = temporary_path(path);
    if disk.exists(&temporary)? {
        disk.remove_file(&temporary)?;
    }
    let file = disk.create_new(&temporary, mode)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent(path))
}

/// Creates a folder and those above it that are missing, and makes their names durable, also where a process that was
/// killed had created one and not come to its sync.
pub fn create_dir_durable(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    if disk.exists(path)? {
        return sync_name(disk, path);
    }
    create_dir_durable(disk, parent(path))?;
    disk.create_dir_all(path)?;
    disk.sync_dir(parent(path))
}

/// Makes the name of a folder durable that is there. Where the folder above is not ours to open, or is on a file system
/// that takes no syncs, nobody like us created the name.
fn sync_name(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match disk.sync_dir(parent(path)) {
        Err(error)
            if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// The folder that holds `path`'s name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    name.into()
}
