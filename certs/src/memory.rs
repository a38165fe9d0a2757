//! Certificates that were found good, so that the arithmetic is done once for each.
//!
//! When a list changes, all that are connected are judged again: ten thousand signature checks would take seconds. What
//! is remembered is only what cannot change: which key signed these very bytes, and what they are for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdcq_wire::Digest;

use crate::refusal::Side;

/// How many certificates a generation holds: more than a node has connections. Two of them take 5 MB at most.
const GENERATION: usize = 16 * 1024;

/// What was found out about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The digest of the name and the key of the CA that signed it.
    pub(crate) signer: Digest,
    server: bool,
    client: bool,
}

impl Known {
    /// Whether it may be shown by this side.
    pub(crate) fn serves(&self, side: Side) -> bool {
        match side {
            Side::Server => self.server,
            Side::Client => self.client,
            Side::Either => self.server || self.client,
        }
    }
}

/// The certificates found good last. Half of them are forgotten at once when there are too many: those that were not
/// shown for the longest time.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: BTreeMap<Digest, Known>,
    old: BTreeMap<Digest, Known>,
}

impl Memory {
    pub(crate) fn find(&self, cert: &Digest) -> Option<Known> {
        let mut generations = self.lock();
        if let Some(known) = generations.young.get(cert) {
            return Some(*known);
        }
        let known = generations.old.remove(cert)?;
        generations.add(*cert, known);
        Some(known)
    }

    /// Remembers that the holder of `signer` signed the certificate, and that it may be shown by `side`.
    pub(crate) fn add(&self, cert: Digest, signer: Digest, side: Side) {
        let before = self.find(&cert).filter(|known| known.signer == signer);
        let was = |side: fn(&Known) -> bool| before.as_ref().is_some_and(side);
        let server = side == Side::Server || was(|known| known.server);
        let client = side == Side::Client || was(|known| known.client);
        // Which of the two it is for was not found out.
        if side != Side::Either {
            self.lock().add(cert, Known { signer, server, client });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn add(&mut self, cert: Digest, known: Known) {
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(cert, known);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn a_side_that_was_not_checked_is_not_known() {
        let memory = Memory::default();
        memory.add(digest(1), digest(0), Side::Either);
        assert_eq!(memory.find(&digest(1)), None);
        memory.add(digest(1), digest(0), Side::Client);
        let known = memory.find(&digest(1)).unwrap();
        assert!(known.serves(Side::Client) && known.serves(Side::Either) && !known.serves(Side::Server));
        memory.add(digest(1), digest(0), Side::Server);
        assert!(memory.find(&digest(1)).is_some_and(|known| known.serves(Side::Client)));
        memory.add(digest(1), digest(9), Side::Server);
        assert!(memory.find(&digest(1)).is_some_and(|known| !known.serves(Side::Client)));
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes_in_the_end() {
        let memory = Memory::default();
        for number in 0..4 * GENERATION {
            memory.add(digest(number), digest(0), Side::Client);
            assert!(memory.find(&digest(0)).is_some(), "forgotten after {number}");
        }
        assert!(memory.find(&digest(1)).is_none());
        let generations = memory.lock();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
    }
}
