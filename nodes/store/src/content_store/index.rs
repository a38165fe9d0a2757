//! What the store holds, in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdcq_wire::{Digest, Manifest};

use super::partial::PartialContent;

/// One digest's content.
#[derive(Clone)]
pub(super) enum Holding {
    Complete(Arc<Manifest>),
    Partial(Arc<PartialContent>),
}

impl Holding {
    pub(super) fn manifest(&self) -> &Arc<Manifest> {
        match self {
            Self::Complete(manifest) => manifest,
            Self::Partial(partial) => partial.manifest(),
        }
    }
}

/// A place in the line of those who begin, seal or remove one digest.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// All content, and who is changing which.
#[derive(Default)]
pub(super) struct Index {
    pub(super) holdings: BTreeMap<Digest, Holding>,
    turns: BTreeMap<Digest, Turn>,
}

impl Index {
    pub(super) const fn new(holdings: BTreeMap<Digest, Holding>) -> Self {
        Self { holdings, turns: BTreeMap::new() }
    }

    /// The lock that whoever changes what is held under `digest` must hold.
    pub(super) fn turn(&mut self, digest: Digest) -> Turn {
        self.turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(self.turns.entry(digest).or_default())
    }
}
