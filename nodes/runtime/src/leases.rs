//! Content that is in use must not be dropped, and content that is being dropped must not be promised.
//!
//! A push or a pull pins a digest from the moment it is told that something of it is there. Dropping is a claim: it
//! begins with an inquiry at the build-index, and succeeds only if nobody pinned the digest since the inquiry began.
//! So whichever comes first wins, and neither sees half of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_wire::Digest;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Who uses which content until when. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Leases(Arc<Shared>);

struct Shared {
    env: Env,
    state: Mutex<State>,
    /// Rung when a drop ends, for those who want to pin what was being dropped.
    dropped: Notify,
}

#[derive(Default)]
struct State {
    holders: BTreeMap<Digest, BTreeMap<u64, Instant>>,
    /// Digests asked about, and whether somebody pinned them since.
    inquiries: BTreeMap<Digest, Pinned>,
    dropping: BTreeSet<Digest>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pinned {
    No,
    Since,
}

impl Leases {
    /// No lease.
    pub fn new(env: Env) -> Self {
        Self(Arc::new(Shared { env, state: Mutex::default(), dropped: Notify::new() }))
    }

    /// Pins a digest for `holder`, or prolongs its pin. Waits while the digest is being dropped.
    pub async fn pin(&self, digest: Digest, holder: u64, lease: Duration) {
        loop {
            let dropped = self.0.dropped.notified();
            tokio::pin!(dropped);
            dropped.as_mut().enable();
            if self.try_pin(digest, holder, lease) {
                return;
            }
            dropped.await;
        }
    }

    fn try_pin(&self, digest: Digest, holder: u64, lease: Duration) -> bool {
        let mut state = self.lock();
        if state.dropping.contains(&digest) {
            return false;
        }
        if let Some(pinned) = state.inquiries.get_mut(&digest) {
            *pinned = Pinned::Since;
        }
        let until = self.0.env.now() + lease;
        let held = state.holders.entry(digest).or_default().entry(holder).or_insert(until);
        // A short pin does not end a long one early.
        *held = until.max(*held);
        true
    }

    /// Ends a holder's pin.
    pub fn release(&self, digest: &Digest, holder: u64) {
        let mut state = self.lock();
        if let Some(holders) = state.holders.get_mut(digest) {
            holders.remove(&holder);
            if holders.is_empty() {
                state.holders.remove(digest);
            }
        }
    }

    /// Whether somebody uses the digest now.
    pub fn is_pinned(&self, digest: &Digest) -> bool {
        self.lock().is_pinned(digest, self.0.env.now())
    }

    /// Begins an inquiry about a digest that nobody uses; `None` if somebody does, or it is being dropped.
    pub fn inquire(&self, digest: Digest) -> Option<Claim> {
        let mut state = self.lock();
        if state.is_pinned(&digest, self.0.env.now())
            || state.dropping.contains(&digest)
            || state.inquiries.contains_key(&digest)
        {
            return None;
        }
        state.inquiries.insert(digest, Pinned::No);
        Some(Claim { leases: self.clone(), digest })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_pinned(&mut self, digest: &Digest, now: Instant) -> bool {
        let Some(holders) = self.holders.get_mut(digest) else { return false };
        holders.retain(|_, until| *until > now);
        let pinned = !holders.is_empty();
        if !pinned {
            self.holders.remove(digest);
        }
        pinned
    }
}

/// An inquiry about one digest, which may end in the right to drop it.
pub struct Claim {
    leases: Leases,
    digest: Digest,
}

impl Claim {
    /// The digest asked about.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Takes the right to drop, unless somebody pinned the digest since the inquiry began. It lasts as long as the
    /// claim is kept.
    pub fn begin_drop(&self) -> bool {
        let mut state = self.leases.lock();
        if state.inquiries.get(&self.digest) != Some(&Pinned::No) {
            return false;
        }
        state.dropping.insert(self.digest);
        true
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        state.inquiries.remove(&self.digest);
        state.dropping.remove(&self.digest);
        drop(state);
        self.leases.0.dropped.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use rdcq_env::SimDisk;

    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    fn leases() -> (Leases, Digest) {
        (Leases::new(Env::simulated(1, SimDisk::default())), Digest::of(b"x"))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pinned_cannot_be_inquired_about_until_its_lease_ends() {
        let (leases, digest) = leases();
        leases.pin(digest, 1, LEASE).await;
        assert!(leases.inquire(digest).is_none());
        tokio::time::advance(LEASE).await;
        assert!(leases.inquire(digest).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_pin_does_not_end_a_long_one() {
        let (leases, digest) = leases();
        leases.pin(digest, 1, 2 * LEASE).await;
        leases.pin(digest, 1, LEASE).await;
        tokio::time::advance(LEASE).await;
        assert!(leases.is_pinned(&digest));
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_two_holders_is_enough() {
        let (leases, digest) = leases();
        leases.pin(digest, 1, LEASE).await;
        leases.pin(digest, 2, LEASE).await;
        leases.release(&digest, 1);
        assert!(leases.is_pinned(&digest));
        leases.release(&digest, 2);
        assert!(!leases.is_pinned(&digest));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pin_taken_and_released_during_the_inquiry_still_stops_the_drop() {
        let (leases, digest) = leases();
        let claim = leases.inquire(digest).unwrap();
        leases.pin(digest, 1, LEASE).await;
        leases.release(&digest, 1);
        assert!(!claim.begin_drop());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pin_waits_until_a_drop_that_began_is_over() {
        let (leases, digest) = leases();
        let claim = leases.inquire(digest).unwrap();
        assert!(claim.begin_drop());
        let pin = leases.pin(digest, 1, LEASE);
        tokio::pin!(pin);
        assert!(futures_util::poll!(&mut pin).is_pending());
        drop(claim);
        pin.await;
        assert!(leases.is_pinned(&digest));
    }
}
