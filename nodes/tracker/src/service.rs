//! What a tracker answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_transport::{IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{
    Announce, Announced, Collect, Collected, Failure, Goal, Neighbour, Neighbours, Seek,
};
use rdcq_wire::{Class, Digest, ErrorCode, Kind, List, Role};

use crate::registry::{Does, Noted, Registry};

/// How long an agent may take to hear a hint.
const HINT_PATIENCE: Duration = Duration::from_secs(5);
/// When a full registry may have room again.
const FULL_RETRY: Duration = Duration::from_secs(5);

pub(crate) struct Tracker {
    env: Env,
    pool: Pool,
    registry: Mutex<Registry>,
    origins: Vec<SocketAddr>,
}

impl Tracker {
    pub(crate) const fn new(env: Env, pool: Pool, registry: Registry, origins: Vec<SocketAddr>) -> Self {
        Self { env, pool, registry: Mutex::new(registry), origins }
    }

    /// Names others that have or seek the same, whether or not there is room to note who asks.
    async fn seek(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Seek { digest, port } = call.request()?;
        let (node, addr) = (&call.peer().node, SocketAddr::new(call.remote().ip(), port));
        let (mut neighbours, again) = {
            let (now, mut rng) = (self.env.now(), self.env.rng());
            let mut registry = self.registry();
            let _ = registry.note(now, digest, node, addr, Does::Seeks);
            (registry.neighbours(now, &digest, node, &mut rng), registry.seek_again(now, &digest, node))
        };
        let origin = |addr: &SocketAddr| Neighbour { node: None, role: Role::Origin, addr: *addr };
        neighbours.extend(self.origins.iter().map(origin));
        let reply = Neighbours { neighbours: List::first_of(neighbours), again_ms: ms(again) };
        call.reply(&reply, Vec::new()).await
    }

    async fn announce(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Announce { digests, goal, port } = call.request()?;
        let (node, addr) = (&call.peer().node, SocketAddr::new(call.remote().ip(), port));
        let (again, is_full) = {
            let now = self.env.now();
            let mut registry = self.registry();
            let mut is_full = false;
            for digest in digests.iter() {
                match goal {
                    // What is in force already needs no room.
                    Goal::Seed => {
                        is_full |= registry.note(now, *digest, node, addr, Does::Seeds) == Noted::Full
                    }
                    Goal::Leave => registry.forget(digest, node),
                }
            }
            (registry.announce_again(), is_full)
        };
        if is_full {
            return Err(full().into());
        }
        call.reply(&Announced { again_ms: ms(again) }, Vec::new()).await
    }

    /// Passes the hint on to every agent that is known to have the content.
    async fn collect(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Collect { digests } = call.request()?;
        let mut hints: BTreeMap<SocketAddr, Vec<Digest>> = BTreeMap::new();
        let now = self.env.now();
        for digest in digests.iter() {
            for (_, addr) in self.registry().holders(now, digest) {
                hints.entry(addr).or_default().push(*digest);
            }
        }
        let trace = call.scope().trace;
        for (addr, digests) in hints {
            let (pool, deadline) = (self.pool.clone(), now + HINT_PATIENCE);
            self.env.spawn(async move {
                let hint = Collect { digests: List::first_of(digests) };
                if let Err(error) = pool.call(addr, Role::Agent, Scope { trace, deadline, class: Class::Normal }, &hint, Vec::new()).await {
                    tracing::info!(%addr, %error, "an agent did not hear that content lost its name; its sweep will");
                }
            });
        }
        call.reply(&Collected {}, Vec::new()).await
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service for Tracker {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        // Boxed one by one: a request takes as much memory as its own handler needs.
        match call.kind() {
            Kind::Seek => Box::pin(self.seek(call)).await,
            Kind::Announce => Box::pin(self.announce(call)).await,
            Kind::Collect => Box::pin(self.collect(call)).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("a tracker does not serve {kind}")).into())
            }
        }
    }
}

fn full() -> Failure {
    let (all, each) = (Registry::MAX_ENTRIES, Registry::MAX_OF_ONE);
    let text = format!("a tracker knows {all} announcements, {each} of one agent, and takes no more");
    Failure { retry_after_ms: ms(FULL_RETRY), ..Failure::new(ErrorCode::Busy, text) }
}

fn ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
