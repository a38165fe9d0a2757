//! What a tracker answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_transport::{IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{Announce, Collect, Collected, Failure, Goal, Neighbour, Neighbours};
use rdcq_wire::{Class, Digest, ErrorCode, Kind, List, Role};

use crate::registry::{Noted, Registry};

/// How soon an agent that seeks asks again: one that knows too few knows more that soon.
const SEEK_AGAIN: Duration = Duration::from_millis(500);
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

    async fn announce(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Announce { digest, goal, port } = call.request()?;
        let addr = SocketAddr::new(call.remote().ip(), port);
        let (noted, mut neighbours, ttl) = {
            let (now, mut rng) = (self.env.now(), self.env.rng());
            let mut registry = self.registry();
            let noted = registry.note(now, digest, &call.peer().node, addr, goal);
            let neighbours = match goal {
                Goal::Seek => registry.neighbours(now, &digest, &call.peer().node, &mut rng),
                Goal::Seed | Goal::Leave => Vec::new(),
            };
            (noted, neighbours, registry.ttl())
        };
        if noted == Noted::Full && goal == Goal::Seed {
            let text =
                format!("this tracker knows {} announcements and takes no more", Registry::MAX_ENTRIES);
            let retry_after_ms = u32::try_from(FULL_RETRY.as_millis()).unwrap_or(u32::MAX);
            return Err(Failure { retry_after_ms, ..Failure::new(ErrorCode::Busy, text) }.into());
        }
        let again = if goal == Goal::Seek { SEEK_AGAIN } else { ttl / 3 };
        if goal == Goal::Seek {
            let origin = |addr: &SocketAddr| Neighbour { node: None, role: Role::Origin, addr: *addr };
            neighbours.extend(self.origins.iter().map(origin));
        }
        let reply = Neighbours {
            neighbours: List::first_of(neighbours),
            again_ms: u32::try_from(again.as_millis()).unwrap_or(u32::MAX),
        };
        call.reply(&reply, Vec::new()).await
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
            Kind::Announce => Box::pin(self.announce(call)).await,
            Kind::Collect => Box::pin(self.collect(call)).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("a tracker does not serve {kind}")).into())
            }
        }
    }
}
