//! Tells the trackers what this host has whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdcq_env::Env;
use rdcq_store::ContentStore;
use rdcq_transport::{Pool, Scope};
use rdcq_wire::message::{Announce, Goal};
use rdcq_wire::{Class, Digest, Role};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How long a tracker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How soon everything is announced again while no tracker answers.
const RETRY: Duration = Duration::from_secs(2);

/// Announces content, again and again. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seeder {
    env: Env,
    pool: Pool,
    store: ContentStore,
    trackers: Vec<SocketAddr>,
    port: u16,
    more: Arc<Notify>,
}

impl Seeder {
    pub(crate) fn new(
        env: Env,
        pool: Pool,
        store: ContentStore,
        trackers: Vec<SocketAddr>,
        port: u16,
    ) -> Self {
        Self { env, pool, store, trackers, port, more: Arc::default() }
    }

    /// Begins to announce, until `stop`.
    pub(crate) fn run(&self, stop: &CancellationToken) {
        let (seeder, stop) = (self.clone(), stop.clone());
        self.env.spawn(async move {
            loop {
                let again = seeder.announce_all().await;
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = seeder.more.notified() => {}
                    () = tokio::time::sleep(again) => {}
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
        for digest in digests {
            self.announce(digest, Goal::Leave).await;
        }
    }

    async fn announce_all(&self) -> Duration {
        let mut again = RETRY;
        for digest in self.store.digests() {
            match self.announce(digest, Goal::Seed).await {
                Some(next) => again = next,
                None => return RETRY,
            }
        }
        again
    }

    /// Announces to the first tracker that answers, and says when it wants to hear again.
    async fn announce(&self, digest: Digest, goal: Goal) -> Option<Duration> {
        let announce = Announce { digest, goal, port: self.port };
        for tracker in &self.trackers {
            let scope = Scope {
                trace: self.env.random_u64(),
                deadline: self.env.now() + PATIENCE,
                class: Class::Normal,
            };
            match self.pool.call(*tracker, Role::Tracker, scope, &announce, Vec::new()).await {
                Ok(answer) => {
                    return Some(Duration::from_millis(answer.message.again_ms.into()).max(RETRY / 2));
                }
                Err(error) => tracing::debug!(%tracker, %error, "a tracker does not answer"),
            }
        }
        None
    }
}
