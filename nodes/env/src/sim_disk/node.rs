//! Files and folders that remember how to go back to their last sync.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex};

use super::lock;
use crate::disk::{DirEntry, EntryKind, FileAttributes, Mode, Stamp};

/// What a name stands for. Clones are the same file or folder.
#[derive(Clone)]
pub(super) enum Node {
    File(Arc<Mutex<File>>),
    Folder(Arc<Mutex<Folder>>),
}

pub(super) struct File {
    bytes: Vec<u8>,
    /// How to take back each change since the last sync, oldest first.
    unsynced: Vec<Restore>,
    /// How often it was written to.
    writes: u64,
    /// They survive a crash: no promise rests on their being lost. There is no clock here, so a write leaves the time as it is.
    attributes: FileAttributes,
    syncs: Syncs,
}

#[derive(Default, PartialEq, Eq)]
enum Syncs {
    #[default]
    Work,
    /// A sync has failed: the kernel takes the pages for clean and forgets them.
    DoNothing,
}

/// The bytes that a change replaced, and the file's length before it.
struct Restore {
    at: usize,
    bytes: Vec<u8>,
    len: usize,
}

impl File {
    pub(super) fn new(mode: Mode) -> Self {
        let attributes = FileAttributes { mode: mode.bits(), modified_unix_ns: 0 };
        Self { bytes: Vec::new(), unsynced: Vec::new(), writes: 0, attributes, syncs: Syncs::default() }
    }

    pub(super) const fn attributes(&self) -> FileAttributes {
        self.attributes
    }

    pub(super) const fn set_attributes(&mut self, attributes: FileAttributes) {
        self.attributes = attributes;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.remember(at, end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.remember(len, usize::MAX);
        self.bytes.resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        if self.syncs == Syncs::Work {
            self.unsynced.clear();
        }
    }

    pub(super) fn fail_syncs(&mut self) {
        self.syncs = Syncs::DoNothing;
    }

    pub(super) fn stamp(&self) -> Stamp {
        Stamp { len: self.bytes.len() as u64, written: self.writes.into() }
    }

    fn remember(&mut self, from: usize, to: usize) {
        self.writes += 1;
        let len = self.bytes.len();
        let from = from.min(len);
        let bytes = self.bytes[from..to.clamp(from, len)].to_vec();
        self.unsynced.push(Restore { at: from, bytes, len });
    }

    fn crash(&mut self, survivors: &mut dyn FnMut(usize) -> usize) {
        let kept = survivors(self.unsynced.len());
        for Restore { at, bytes, len } in self.unsynced.drain(kept..).rev() {
            self.bytes.resize(len, 0);
            self.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        self.unsynced.clear();
        self.syncs = Syncs::Work;
    }
}

#[derive(Default)]
pub(super) struct Folder {
    entries: BTreeMap<OsString, Node>,
    /// How to take back each change since the last sync, oldest first.
    unsynced: Vec<Rename>,
}

/// What names stood for before a change.
struct Rename {
    before: Vec<(OsString, Option<Node>)>,
    origin: Origin,
}

#[derive(PartialEq, Eq)]
enum Origin {
    Here,
    /// The other half of the change is in another folder. No file system forgets a file that was only moved, so this half
    /// survives a crash only by a sync.
    MovedAway,
}

impl Folder {
    pub(super) fn find(&self, name: &OsStr) -> Option<Node> {
        self.entries.get(name).cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn list(&self) -> Vec<DirEntry> {
        let kind = |node: &Node| match node {
            Node::File(_) => EntryKind::File,
            Node::Folder(_) => EntryKind::Directory,
        };
        self.entries.iter().map(|(name, node)| DirEntry { name: name.clone(), kind: kind(node) }).collect()
    }

    pub(super) fn put(&mut self, name: OsString, node: Node) {
        let before = self.entries.insert(name.clone(), node);
        self.unsynced.push(Rename { before: vec![(name, before)], origin: Origin::Here });
    }

    pub(super) fn remove(&mut self, name: OsString) {
        self.take_out(name, Origin::Here);
    }

    pub(super) fn give_away(&mut self, name: OsString) {
        self.take_out(name, Origin::MovedAway);
    }

    fn take_out(&mut self, name: OsString, origin: Origin) {
        let before = self.entries.remove(&name);
        self.unsynced.push(Rename { before: vec![(name, before)], origin });
    }

    pub(super) fn rename(&mut self, old: OsString, new: OsString, node: Node) {
        let source = self.entries.remove(&old);
        let target = self.entries.insert(new.clone(), node);
        self.unsynced.push(Rename { before: vec![(old, source), (new, target)], origin: Origin::Here });
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
    }

    pub(super) fn crash(&mut self, survivors: &mut dyn FnMut(usize) -> usize) {
        let moved = self.unsynced.iter().position(|change| change.origin == Origin::MovedAway);
        let kept = survivors(moved.unwrap_or(self.unsynced.len()));
        for (name, before) in
            self.unsynced.drain(kept..).rev().flat_map(|change| change.before.into_iter().rev())
        {
            match before {
                Some(node) => self.entries.insert(name, node),
                None => self.entries.remove(&name),
            };
        }
        self.unsynced.clear();
        for node in self.entries.values() {
            match node {
                Node::File(file) => lock(file).crash(survivors),
                Node::Folder(folder) => lock(folder).crash(survivors),
            }
        }
    }

    /// Bytes of all files in the folder and below.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |node: &Node| match node {
            Node::File(file) => lock(file).bytes.len() as u64,
            Node::Folder(folder) => lock(folder).bytes(),
        };
        self.entries.values().map(bytes).sum()
    }
}
