//! Tells the trackers what this host has whole.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_store::ContentStore;
use rdcq_transport::{Pool, Scope};
use rdcq_wire::message::{Announce, Goal};
use rdcq_wire::{Class, Digest, List, Role};
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

/// How long a tracker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon everything is announced again while no tracker answers, or once another does.
const RETRY: Duration = Duration::from_secs(2);

/// How soon it is looked again for content, if there was none to announce: who brings some says so, unless its client went away.
const IDLE: Duration = Duration::from_secs(5);

/// Announces content, again and again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seeder {
    env: Env,
    pool: Pool,
    store: ContentStore,
    trackers: Vec<SocketAddr>,
    port: u16,
    more: Arc<Notify>,
    told: Arc<Mutex<Told>>,
}

/// What was announced since everything was announced last, and to whom: what is new is announced alone.
#[derive(Default)]
struct Told {
    tracker: Option<SocketAddr>,
    digests: BTreeSet<Digest>,
}

impl Told {
    fn new_among(&self, mut held: Vec<Digest>) -> Vec<Digest> {
        held.retain(|digest| !self.digests.contains(digest));
        held
    }

    /// Notes that a tracker heard of some contents. If it is another than before, which knows nothing of the rest, everything is to
    /// be announced anew soon: `false`.
    fn note(&mut self, tracker: SocketAddr, digests: &[Digest]) -> bool {
        let is_known = self.tracker.replace(tracker).is_none_or(|before| before == tracker);
        self.digests.extend(digests);
        is_known
    }

    fn forget(&mut self, digests: &[Digest]) {
        for digest in digests {
            self.digests.remove(digest);
        }
    }
}

impl Seeder {
    pub(crate) fn new(
        env: Env,
        pool: Pool,
        store: ContentStore,
        trackers: Vec<SocketAddr>,
        port: u16,
    ) -> Self {
        Self { env, pool, store, trackers, port, more: Arc::default(), told: Arc::default() }
    }

    /// Begins to announce, until `stop`.
    pub(crate) fn run(&self, stop: &CancellationToken) {
        let (seeder, stop) = (self.clone(), stop.clone());
        self.env.spawn(async move {
            loop {
                *seeder.told() = Told::default();
                let again = seeder.announce_new().await;
                let mut all_again = seeder.env.now() + again;
                loop {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = sleep_until(all_again) => break,
                        () = seeder.more.notified() => {
                            let again = seeder.announce_new().await;
                            all_again = all_again.min(seeder.env.now() + again);
                        }
                    }
                }
            }
        });
    }

    /// Announces soon, because there is something new.
    pub(crate) fn announce_soon(&self) {
        self.more.notify_one();
    }

    /// Takes content back that is no longer here.
    pub(crate) async fn leave(&self, digests: Vec<Digest>) {
        self.told().forget(&digests);
        for batch in digests.chunks(Announce::MAX) {
            self.announce(batch, Goal::Leave).await;
        }
    }

    /// Announces what was not announced yet, and says when to announce everything.
    async fn announce_new(&self) -> Duration {
        let new = self.told().new_among(self.store.digests());
        let mut again = IDLE;
        for batch in new.chunks(Announce::MAX) {
            let Some((tracker, next)) = self.announce(batch, Goal::Seed).await else { return RETRY };
            let is_known = self.told().note(tracker, batch);
            again = again.min(if is_known { next } else { RETRY });
        }
        again
    }

    /// Announces to the first tracker that answers, and says which that is and when it wants to hear again.
    async fn announce(&self, digests: &[Digest], goal: Goal) -> Option<(SocketAddr, Duration)> {
        let digests = List::first_of(digests.iter().copied());
        let announce = Announce { digests, goal, port: self.port };
        // Whoever answered last is asked first, or each batch would wait for one that is gone.
        let last = self.told().tracker;
        for tracker in last.iter().chain(self.trackers.iter().filter(|tracker| Some(**tracker) != last)) {
            let scope = Scope {
                trace: self.env.random_u64(),
                deadline: self.env.now() + PATIENCE,
                class: Class::Normal,
            };
            match self.pool.call(*tracker, Role::Tracker, scope, &announce, Vec::new()).await {
                Ok(answer) => {
                    let again = Duration::from_millis(answer.message.again_ms.into());
                    return Some((*tracker, again.max(RETRY / 2)));
                }
                Err(error) => tracing::debug!(%tracker, %error, "a tracker does not answer"),
            }
        }
        None
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_announced_and_another_tracker_is_noticed() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        let [first, second] = [1, 2].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let mut told = Told::default();
        assert_eq!(told.new_among(vec![a, b]), [a, b]);
        assert!(told.note(first, &[a, b]));
        assert_eq!(told.new_among(vec![a, b, c]), [c]);
        assert!(!told.note(second, &[c]), "it does not know the others");
        assert!(told.note(second, &[b]), "by now it is the one that answers");
        told.forget(&[a]);
        assert_eq!(told.new_among(vec![a, b]), [a], "it was dropped, and is here again");
    }
}
