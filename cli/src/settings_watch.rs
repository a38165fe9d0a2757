//! Whether a settings file was saved.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long nobody has written to a file that is taken for whole.
const QUIET: Duration = Duration::from_millis(200);

/// Looks at a settings file.
#[derive(Debug)]
pub(crate) struct SettingsWatch {
    file: PathBuf,
    saved: Saved,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified_ns: i128,
    len: u64,
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Some(Self { inode: metadata.ino(), modified_ns, len: metadata.len() })
    }
}

impl SettingsWatch {
    /// One of a file whose present state is known.
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), saved: Saved::new(Stamp::of(file)) }
    }

    /// Waits until the file was saved.
    pub(crate) async fn saved(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if self.saved.look(Instant::now(), Stamp::of(&self.file)) {
                return;
            }
        }
    }

    /// Takes the present state for known: somebody else reads it.
    pub(crate) fn skip(&mut self) {
        self.saved = Saved::new(Stamp::of(&self.file));
    }
}

/// When a file is whole.
#[derive(Debug)]
struct Saved {
    /// The state that was read.
    read: Option<Stamp>,
    /// A state that was not, and since when it has been there.
    new: Option<(Stamp, Instant)>,
}

impl Saved {
    const fn new(read: Option<Stamp>) -> Self {
        Self { read, new: None }
    }

    /// Whether what is there now is to be read. A file that was renamed into place is whole; one that was written to is when
    /// nobody has done so for a while. One that is gone is nothing to read.
    fn look(&mut self, now: Instant, stamp: Option<Stamp>) -> bool {
        let Some(stamp) = stamp.filter(|stamp| self.read != Some(*stamp)) else {
            self.new = None;
            return false;
        };
        let since = self.new.filter(|(seen, _)| *seen == stamp).map_or(now, |(_, since)| since);
        let renamed = self.read.is_some_and(|read| read.inode != stamp.inode);
        if renamed || now.saturating_duration_since(since) >= QUIET {
            *self = Self::new(Some(stamp));
            return true;
        }
        self.new = Some((stamp, since));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(inode: u64, len: u64) -> Option<Stamp> {
        Some(Stamp { inode, modified_ns: 0, len })
    }

    #[test]
    fn a_file_renamed_into_place_is_read_at_once_and_only_once() {
        let (start, mut saved) = (Instant::now(), Saved::new(stamp(1, 10)));
        assert!(!saved.look(start, stamp(1, 10)));
        assert!(saved.look(start + LOOK, stamp(2, 10)));
        assert!(!saved.look(start + LOOK * 2, stamp(2, 10)));
    }

    #[test]
    fn a_file_that_is_written_to_is_read_when_it_has_been_quiet() {
        let (start, mut saved) = (Instant::now(), Saved::new(stamp(1, 10)));
        // Cut, half written, written.
        for (look, len) in [(0, 0), (1, 5), (2, 5), (3, 12), (4, 12)] {
            assert!(!saved.look(start + LOOK * look, stamp(1, len)), "look {look}");
        }
        assert!(saved.look(start + LOOK * 5, stamp(1, 12)));
        assert!(!saved.look(start + LOOK * 9, stamp(1, 12)));
    }

    #[test]
    fn a_file_that_is_gone_is_not_read_until_it_is_back() {
        let (start, mut saved) = (Instant::now(), Saved::new(stamp(1, 10)));
        assert!(!saved.look(start, None));
        assert!(!saved.look(start + QUIET, None));
        assert!(!saved.look(start + QUIET * 2, stamp(1, 10)));
        assert!(saved.look(start + QUIET * 3, stamp(2, 10)));
        // One that was never there is as good as one that is being written.
        let mut saved = Saved::new(None);
        assert!(!saved.look(start, stamp(1, 10)));
        assert!(saved.look(start + QUIET, stamp(1, 10)));
    }
}
