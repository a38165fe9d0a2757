//! Where a pull delivers to, and under which name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rdcq_env::disk::parent;
use rdcq_env::{Disk, EntryKind, Mode};
use rdcq_wire::{ErrorCode, Record};

use crate::flag::Flag;
use crate::pull::{Existing, Pull};
use crate::{FileName, OperationError, Session};

/// Names that are tried for a file beside others of its name: whoever has more has not looked at them for long.
const MOST_NAMES: u32 = 100_000;

/// Where a pull delivers to, checked before anything is transferred.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    place: Place,
    existing: Existing,
    flag: Option<Flag>,
}

#[derive(Debug, Clone)]
enum Place {
    /// Into a folder, under the record's own file name.
    Into(PathBuf),
    /// To a file with this name.
    As(PathBuf),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) target: PathBuf,
    pub(crate) flag: Option<PathBuf>,
}

impl Destination {
    /// Finds out what the target is, and that its folder can be written.
    pub(crate) async fn check(session: &Session, pull: &Pull) -> Result<Self, OperationError> {
        let (disk, target) = (Arc::clone(session.env.disk()), pull.target.clone());
        let suffix = session.env.random_u64();
        let place = session.env.blocking(move || Place::find(disk.as_ref(), target, suffix)).await?;
        Ok(Self { place, existing: pull.existing.clone(), flag: pull.flag.clone() })
    }

    /// The file to write for this record, unless something keeps it from being written.
    pub(crate) async fn target_of(
        &self,
        session: &Session,
        record: &Record,
    ) -> Result<PathBuf, OperationError> {
        let target = self.place.target_of(record)?;
        let (disk, this, at) = (Arc::clone(session.env.disk()), self.clone(), target.clone());
        session.env.blocking(move || this.check_target(disk.as_ref(), &at)).await?;
        Ok(target)
    }

    fn check_target(&self, disk: &dyn Disk, target: &Path) -> Result<(), OperationError> {
        let unknown = |error: io::Error| OperationError::of_file("look at", target, &error);
        let refused = |text: String| Err(OperationError::new(ErrorCode::BadRequest, text));
        let names = match &self.existing {
            Existing::Left { name: Some(name) } => vec![target.to_owned(), parent(target).join(name)],
            _ => vec![target.to_owned()],
        };
        if let Some(Flag::Named(flag)) = &self.flag
            && names.iter().any(|name| *name == parent(target).join(flag))
        {
            return refused(format!("{flag} cannot be both the file and its flag file; name one otherwise"));
        }
        match &self.existing {
            Existing::Replaced => match disk.metadata(target).map(|metadata| metadata.kind) {
                Ok(EntryKind::Directory) => {
                    refused(format!("{} is a directory; it is left as it is", target.display()))
                }
                Ok(EntryKind::Other) => refused(not_regular(target)),
                Ok(EntryKind::File) | Err(_) => Ok(()),
            },
            Existing::Left { name: None } => Ok(()),
            Existing::Left { name: Some(_) } => {
                for name in &names {
                    if !disk.exists(name).map_err(unknown)? {
                        return Ok(());
                    }
                }
                Err(all_taken(&names))
            }
        }
    }

    /// Gives a file that is whole and durable its name, durably, and writes its flag file. Blocks.
    ///
    /// `spare` is a name in the same folder that nobody else uses.
    pub(super) fn publish(
        &self,
        disk: &dyn Disk,
        file: &Path,
        target: &Path,
        spare: &Path,
    ) -> Result<Published, OperationError> {
        let failed = |error: io::Error| OperationError::of_file("write", target, &error);
        let target = match &self.existing {
            Existing::Replaced => {
                if let Some(flag) = &self.flag {
                    // It said that the old file is whole.
                    withdraw(disk, &flag.path(target))?;
                }
                disk.rename(file, target).map_err(failed)?;
                target.to_owned()
            }
            Existing::Left { name } => self.rename_beside(disk, file, target, name.as_ref())?,
        };
        disk.sync_dir(parent(&target)).map_err(failed)?;
        let flag = self.flag.as_ref().map(|flag| flag.path(&target));
        if let Some(flag) = &flag {
            raise(disk, flag, spare).map_err(|error| {
                let text = format!(
                    "{} is delivered, but its flag file {} cannot be written: {error}",
                    target.display(),
                    flag.display()
                );
                OperationError::new(OperationError::of_file("write", flag, &error).code, text)
            })?;
        }
        Ok(Published { target, flag })
    }

    /// Gives the file the first name that is free.
    fn rename_beside(
        &self,
        disk: &dyn Disk,
        file: &Path,
        target: &Path,
        name: Option<&FileName>,
    ) -> Result<PathBuf, OperationError> {
        let try_name = |at: PathBuf| match disk.rename_new(file, &at) {
            Ok(()) => Ok(Some(at)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(OperationError::of_file("write", &at, &error)),
        };
        if let Some(at) = try_name(target.to_owned())? {
            return Ok(at);
        }
        if let Some(name) = name {
            let other = parent(target).join(name);
            return try_name(other.clone())?.ok_or_else(|| all_taken(&[target.to_owned(), other]));
        }
        for number in 1..=MOST_NAMES {
            let mut numbered = target.as_os_str().to_owned();
            numbered.push(format!(".{number}"));
            let at = PathBuf::from(numbered);
            if self.flag.as_ref().is_some_and(|flag| flag.path(&at) == at) {
                continue;
            }
            if let Some(at) = try_name(at)? {
                return Ok(at);
            }
        }
        let text = format!("{} and {MOST_NAMES} files beside it are there already", target.display());
        Err(OperationError::new(ErrorCode::Conflict, text))
    }
}

impl Place {
    fn find(disk: &dyn Disk, target: PathBuf, suffix: u64) -> Result<Self, OperationError> {
        let place = match disk.metadata(&target).map(|metadata| metadata.kind) {
            Ok(EntryKind::Directory) => Self::Into(target),
            Ok(EntryKind::File) | Err(_) => Self::As(target),
            // A device or a pipe would be replaced by a file.
            Ok(EntryKind::Other) => {
                return Err(OperationError::new(ErrorCode::BadRequest, not_regular(&target)));
            }
        };
        let probe = place.folder().join(format!(".rdcq-{suffix:016x}.probe"));
        let probed = disk.create_new(&probe, Mode::Private).and_then(|_| disk.remove_file(&probe));
        probed.map_err(|error| OperationError::of_file("write into", place.folder(), &error))?;
        Ok(place)
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Into(folder) => folder,
            Self::As(file) => parent(file),
        }
    }

    fn target_of(&self, record: &Record) -> Result<PathBuf, OperationError> {
        match self {
            Self::As(file) => Ok(file.clone()),
            Self::Into(folder) => {
                let name = record.name.file.as_str();
                let plain: FileName = name.parse().map_err(|_| {
                    let text = format!(
                        "the record's file name {name:?} cannot be written; name the target file yourself"
                    );
                    OperationError::new(ErrorCode::BadRequest, text)
                })?;
                Ok(folder.join(plain))
            }
        }
    }
}

fn not_regular(target: &Path) -> String {
    format!("{} is not a regular file; it is left as it is", target.display())
}

fn all_taken(names: &[PathBuf]) -> OperationError {
    let names = Vec::from_iter(names.iter().map(|name| name.display().to_string())).join(" and ");
    let text = format!("{names} are there already; give a name that is free, or let the file be replaced");
    OperationError::new(ErrorCode::Conflict, text)
}

/// Removes a flag file, durably, if there is one.
fn withdraw(disk: &dyn Disk, flag: &Path) -> Result<(), OperationError> {
    let removed = match disk.remove_file(flag) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| disk.sync_dir(parent(flag))),
    };
    removed.map_err(|error| OperationError::of_file("remove the old flag file", flag, &error))
}

/// Writes a flag file, durably.
fn raise(disk: &dyn Disk, flag: &Path, spare: &Path) -> io::Result<()> {
    disk.create_new(spare, Mode::Shared)?.sync_all()?;
    let renamed = disk.rename(spare, flag).and_then(|()| disk.sync_dir(parent(flag)));
    if renamed.is_err() {
        // It may have its name by now.
        let _ = disk.remove_file(spare);
    }
    renamed
}

#[cfg(test)]
mod tests;
