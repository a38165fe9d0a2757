//! What every file and folder of the store begins with: what it is, in which format, of which herd.

use std::io;
use std::path::{Path, PathBuf};

use rdcq_env::disk::write_durable;
use rdcq_env::{Disk, Mode};
use rdcq_wire::HerdId;

/// Eight bytes that say what a file is.
pub(crate) type Magic = [u8; 8];

/// Kind, format and herd of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) magic: Magic,
    pub(crate) format: u16,
    pub(crate) herd: HerdId,
}

impl Stamp {
    /// Longest encoded stamp, in bytes.
    pub(crate) const MAX_BYTES: usize = 8 + 2 + 1 + HerdId::MAX_LEN;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let herd = self.herd.as_str().as_bytes();
        let len = u8::try_from(herd.len()).expect("a herd's name is at most 63 bytes");
        [&self.magic[..], &self.format.to_be_bytes(), &[len], herd].concat()
    }

    /// Reads a stamp off the front of `bytes`.
    pub(crate) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (magic, rest) = bytes.split_first_chunk()?;
        let (format, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first()?;
        let (herd, rest) = rest.split_at_checked((*len).into())?;
        let herd = std::str::from_utf8(herd).ok()?.parse().ok()?;
        Some((Self { magic: *magic, format: u16::from_be_bytes(*format), herd }, rest))
    }

    /// Says why a file stamped `found` is not ours to use, if it is not.
    pub(crate) fn check(&self, found: &Self, path: &Path) -> Result<(), StampError> {
        let path = path.to_owned();
        if found.magic != self.magic {
            return Err(StampError::Foreign { path });
        }
        if found.format != self.format {
            return Err(StampError::Format { path, found: found.format, known: self.format });
        }
        if found.herd != self.herd {
            return Err(StampError::Herd { path, found: found.herd.clone(), ours: self.herd.clone() });
        }
        Ok(())
    }

    /// Checks the stamp file of a folder, or writes it where there is none yet.
    pub(crate) fn claim(&self, disk: &dyn Disk, path: &Path) -> Result<(), StampError> {
        let io = |source| StampError::Io { path: path.to_owned(), source };
        match disk.read(path, Self::MAX_BYTES as u64) {
            Ok(bytes) => match Self::split(&bytes) {
                Some((found, [])) => self.check(&found, path),
                _ => Err(StampError::Foreign { path: path.to_owned() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_durable(disk, path, &self.encode(), Mode::Private).map_err(io)
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                Err(StampError::Foreign { path: path.to_owned() })
            }
            Err(error) => Err(io(error)),
        }
    }
}

/// A file or folder that is not this node's to use.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// Something else's, or damaged at its very beginning.
    #[error("{} is no file of this kind, or its beginning is damaged; move it away or name another folder", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("{} has format {found}, this version knows {known}; use the version that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format number.
        found: u16,
        /// The format number of this version.
        known: u16,
    },
    /// Another herd's.
    #[error("{} belongs to herd {found}, this node to {ours}; give each herd a folder of its own", path.display())]
    Herd {
        /// The file.
        path: PathBuf,
        /// Its herd.
        found: HerdId,
        /// The node's herd.
        ours: HerdId,
    },
    /// The stamp could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}
