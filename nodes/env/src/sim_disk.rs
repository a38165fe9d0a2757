//! A disk in memory that loses what was not synced.
//!
//! [`SimDisk::crash`] takes POSIX at its word: a file falls back to the bytes of its last sync, a folder to the names of
//! its last sync, and a name that is durable may point at a file whose bytes are not. [`SimDisk::crash_partly`] is the
//! kinder and more confusing power failure, in which some of the unsynced changes made it. [`Fault`] stops the disk in
//! the middle of things, or makes it lie.

mod files;
mod names;
mod node;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use self::node::{Folder, Node};

/// A simulated disk. Clones share it, also across a [`Self::crash`].
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    root: Arc<Mutex<Folder>>,
    capacity: u64,
    used: u64,
    /// Goes up with every crash; handles of an earlier life are dead.
    life: u64,
    power: Power,
    fault: Option<Fault>,
    changes: u64,
    syncs: SyncCounts,
}

#[derive(PartialEq, Eq)]
enum Power {
    On,
    Out,
}

/// What goes wrong next. Counting starts when the fault is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// After this many changes (syncs count) the power fails: a write is done by half, and nothing works until
    /// [`SimDisk::crash`] or, if it was only the process that ended there, [`SimDisk::restart`].
    PowerLoss {
        /// Changes that still succeed.
        after: u64,
    },
    /// One sync claims to be done and does nothing.
    SkipSync {
        /// How many syncs come before it.
        nth: u64,
    },
    /// One sync fails; its file's unsynced bytes can never be made durable again, although later syncs claim so.
    FailSync {
        /// How many syncs come before it.
        nth: u64,
    },
    /// One read fails, although what it would have read is sound.
    FailRead {
        /// How many reads come before it.
        nth: u64,
    },
}

/// How often was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncCounts {
    /// Syncs of files.
    pub files: u64,
    /// Syncs of folders.
    pub folders: u64,
}

impl SyncCounts {
    /// Both together.
    pub const fn total(self) -> u64 {
        self.files + self.folders
    }
}

impl SimDisk {
    /// Bytes on a disk of [`Self::new`]: more than any simulation writes.
    pub const AMPLE: u64 = 1 << 50;

    /// An empty disk with ample room.
    pub fn new() -> Self {
        Self::with_capacity(Self::AMPLE)
    }

    /// An empty disk that holds this many bytes of files.
    pub fn with_capacity(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            root: Arc::default(),
            capacity: bytes,
            used: 0,
            life: 0,
            power: Power::On,
            fault: None,
            changes: 0,
            syncs: SyncCounts::default(),
        })))
    }

    /// Makes the disk larger or smaller; what is written stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Sets what goes wrong next, or nothing.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Changes made so far, syncs included: the range for [`Fault::PowerLoss`].
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Syncs made so far.
    pub fn sync_counts(&self) -> SyncCounts {
        self.state().syncs
    }

    /// Bytes of files on the disk.
    pub fn used_bytes(&self) -> u64 {
        self.state().used
    }

    /// Cuts the power and restores it: everything that was not synced is gone, handles are dead, the fault is over. Tasks
    /// of the node that lost its power must have ended: nothing keeps them from opening files again.
    pub fn crash(&self) {
        self.state().crash(&mut |_| 0);
    }

    /// As [`Self::crash`], but of each file's and folder's unsynced changes `seed` lets an early part survive.
    pub fn crash_partly(&self, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        self.state().crash(&mut |unsynced| rng.random_range(0..=unsynced));
    }

    /// Ends the node's process without the power failing: handles are dead and the fault is over, but all that was
    /// written stays, what was not synced still unsynced.
    pub fn restart(&self) {
        self.state().restart();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn crash(&mut self, survivors: &mut dyn FnMut(usize) -> usize) {
        lock(&self.root).crash(survivors);
        self.restart();
        self.recount();
    }

    fn restart(&mut self) {
        self.life += 1;
        self.power = Power::On;
        self.fault = None;
    }

    fn recount(&mut self) {
        self.used = lock(&self.root).bytes();
    }

    fn check_power(&self) -> io::Result<()> {
        match self.power {
            Power::On => Ok(()),
            Power::Out => Err(io::Error::other("the simulated power is out")),
        }
    }

    /// Counts a change. An error is the power failing right now.
    fn change(&mut self) -> io::Result<()> {
        self.check_power()?;
        if let Some(Fault::PowerLoss { after }) = &mut self.fault {
            match after.checked_sub(1) {
                Some(rest) => *after = rest,
                None => self.power = Power::Out,
            }
        }
        self.check_power()?;
        self.changes += 1;
        Ok(())
    }

    /// What comes of a sync.
    fn sync(&mut self) -> io::Result<Sync> {
        self.change()?;
        let (nth, outcome) = match &mut self.fault {
            Some(Fault::SkipSync { nth }) => (nth, Sync::Skipped),
            Some(Fault::FailSync { nth }) => (nth, Sync::Failed),
            Some(Fault::PowerLoss { .. } | Fault::FailRead { .. }) | None => return Ok(Sync::Done),
        };
        if let Some(rest) = nth.checked_sub(1) {
            *nth = rest;
            return Ok(Sync::Done);
        }
        self.fault = None;
        Ok(outcome)
    }

    /// Counts a read. An error is the one that fails.
    fn read(&mut self) -> io::Result<()> {
        self.check_power()?;
        let Some(Fault::FailRead { nth }) = &mut self.fault else { return Ok(()) };
        if let Some(rest) = nth.checked_sub(1) {
            *nth = rest;
            return Ok(());
        }
        self.fault = None;
        Err(io::Error::other("the simulated read failed"))
    }

    /// Sees that there is room for a file to grow from `old` to `new` bytes, and takes it.
    fn resize(&mut self, old: u64, new: u64) -> io::Result<()> {
        let used = self.used - old.min(self.used) + new;
        if new > old && used > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.used = used;
        Ok(())
    }

    fn folder(&self, path: &Path) -> io::Result<Arc<Mutex<Folder>>> {
        match self.find(path)? {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Folder(Arc::clone(&self.root));
        for name in names(path)? {
            let Node::Folder(folder) = node else { return Err(io::ErrorKind::NotADirectory.into()) };
            node = lock(&folder).find(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The folder that holds the path's last name, and that name.
    fn place(&self, path: &Path) -> io::Result<(Arc<Mutex<Folder>>, OsString)> {
        let mut names = names(path)?;
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok((self.folder(&names.iter().collect::<PathBuf>())?, name))
    }
}

/// What a sync does.
enum Sync {
    Done,
    Skipped,
    Failed,
}

/// The names on the way from the root; a path that climbs is refused.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Ok(name)),
        Component::RootDir | Component::CurDir => None,
        Component::ParentDir | Component::Prefix(_) => Some(Err(io::ErrorKind::InvalidInput.into())),
    });
    names.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sync_failed() -> io::Error {
    io::Error::other("the simulated sync failed")
}
