//! A file that takes another's place, for the same readers.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rdcq_env::disk::{TEMPORARY_SUFFIX, parent};
use rdcq_env::{Disk, Mode, SystemDisk};

use crate::failure::{Exit, Failure};

/// Permissions that a replaced file hands on: to read and to write, and of a key, to its owner alone.
const SHARED_BITS: u32 = 0o666;
const PRIVATE_BITS: u32 = 0o600;

/// A file that is whole and durable beside the one whose place it takes. Dropped, it is removed.
#[must_use = "dropped, it is removed"]
pub(super) struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    committed: bool,
}

impl Replacement {
    /// Writes the file beside `path`. Where there is one already, often a service's that runs as another user than
    /// whoever renews its certificate, the new one is given its owner, its group and its permissions.
    pub(super) fn stage(path: &Path, text: &str, mode: Mode) -> Result<Self, Failure> {
        let failed = |error| Failure::of_file("write", path, &error);
        let before = match std::fs::metadata(path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let bits = match mode {
            Mode::Private => 0o600,
            Mode::Shared => 0o644,
        };
        let file = File::options().write(true).create_new(true).mode(bits).open(&temporary);
        let mut file = file.map_err(failed)?;
        let staged = Self { path: path.to_owned(), temporary, committed: false };
        if let Some(before) = before {
            hand_over(&file, &before, mode).map_err(|error| not_theirs(path, &before, &error))?;
        }
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(staged)
    }

    /// Puts it in its place.
    pub(super) fn commit(mut self) -> Result<(), Failure> {
        let renamed = std::fs::rename(&self.temporary, &self.path);
        self.committed = renamed.is_ok();
        let durable = renamed.and_then(|()| SystemDisk.sync_dir(parent(&self.path)));
        durable.map_err(|error| Failure::of_file("write", &self.path, &error))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.committed {
            // What is left is removed by the next that is staged.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Gives `file`, which is still empty, the owner, group and permissions of the one before.
fn hand_over(file: &File, before: &Metadata, mode: Mode) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
        fchown(file, Some(before.uid()), Some(before.gid()))?;
    }
    let kept = match mode {
        Mode::Private => PRIVATE_BITS,
        Mode::Shared => SHARED_BITS,
    };
    file.set_permissions(Permissions::from_mode(before.mode() & kept))
}

fn not_theirs(path: &Path, before: &Metadata, error: &io::Error) -> Failure {
    let (uid, gid) = (before.uid(), before.gid());
    let what = format!(
        "cannot give what replaces {} the owner that it has (user {uid}, group {gid}): {error}; nothing was replaced",
        path.display()
    );
    Failure::new(Exit::Denied, what).with_hint("run the command as that user, or as root")
}
