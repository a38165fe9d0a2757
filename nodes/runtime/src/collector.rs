//! Drops content that no live version names.
//!
//! A hint or the periodic sweep names candidates; the build-index says which of them still have a name; what has none,
//! and nobody uses, goes. If the build-index cannot be reached nothing goes.

use std::net::SocketAddr;
use std::time::Duration;

use rdcq_env::Env;
use rdcq_store::ContentStore;
use rdcq_transport::{CallError, Pool, Scope};
use rdcq_wire::message::Live;
use rdcq_wire::{Class, Digest, List, Role};

use crate::{Claim, Leases};

/// Drops content of one store. Cheap to clone.
#[derive(Clone)]
pub struct Collector {
    env: Env,
    pool: Pool,
    store: ContentStore,
    leases: Leases,
    build_indexes: Vec<SocketAddr>,
}

impl Collector {
    /// How long the build-index may take to answer one question.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A collector for `store`, which respects `leases`.
    pub const fn new(
        env: Env,
        pool: Pool,
        store: ContentStore,
        leases: Leases,
        build_indexes: Vec<SocketAddr>,
    ) -> Self {
        Self { env, pool, store, leases, build_indexes }
    }

    /// Looks at everything in the store, and returns what was dropped.
    pub async fn sweep(&self) -> Vec<Digest> {
        self.collect([self.store.digests(), self.store.partial_digests()].concat()).await
    }

    /// Looks at these digests, and returns those that were dropped.
    pub async fn collect(&self, digests: Vec<Digest>) -> Vec<Digest> {
        let held = digests.into_iter().filter(|digest| self.store.have(digest).is_some());
        let claims: Vec<Claim> = held.filter_map(|digest| self.leases.inquire(digest)).collect();
        let mut dropped = Vec::new();
        let mut claims = claims.into_iter().peekable();
        while claims.peek().is_some() {
            let batch: Vec<Claim> = claims.by_ref().take(Live::MAX).collect();
            match self.nameless(batch).await {
                Ok(nameless) => self.drop_all(nameless, &mut dropped).await,
                Err(error) => {
                    tracing::warn!(%error, "nothing is dropped: the build-index does not say what is live");
                    break;
                }
            }
        }
        dropped
    }

    /// The claims on content that no live version names. Every build-index must say so: one that knows fewer tags than
    /// another must not cost the other's content.
    async fn nameless(&self, claims: Vec<Claim>) -> Result<Vec<Claim>, CallError> {
        let question = Live { digests: List::first_of(claims.iter().map(Claim::digest)) };
        let mut named = vec![self.build_indexes.is_empty(); claims.len()];
        for addr in &self.build_indexes {
            let scope = Scope {
                trace: self.env.random_u64(),
                deadline: self.env.now() + Self::PATIENCE,
                class: Class::Normal,
            };
            let answer = self.pool.call(*addr, Role::BuildIndex, scope, &question, Vec::new()).await?;
            let live = answer.message.live;
            if live.len() != claims.len() {
                return Ok(Vec::new());
            }
            named.iter_mut().zip(live.iter()).for_each(|(named, live)| *named |= live);
        }
        Ok(claims.into_iter().zip(named).filter(|(_, named)| !named).map(|(claim, _)| claim).collect())
    }

    async fn drop_all(&self, claims: Vec<Claim>, dropped: &mut Vec<Digest>) {
        for claim in claims {
            let digest = claim.digest();
            if !claim.begin_drop() {
                continue;
            }
            match self.store.remove(&digest).await {
                Ok(()) => {
                    tracing::info!(%digest, "dropped: no live version names it");
                    dropped.push(digest);
                }
                Err(error) => tracing::error!(%digest, %error, "content without a name could not be dropped"),
            }
        }
    }
}
