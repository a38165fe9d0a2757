//! Connections that are kept for the next call.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rdcq_env::Env;
use rdcq_env::watch;
use rdcq_wire::{Request, Role};
use tokio::time::{Instant, timeout_at};

use crate::{Answer, CallError, ConnectError, Connection, Endpoint, Scope};

/// How long a dial may take. It goes on for the others when whoever began it gives up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections by address and role, opened when they are first needed. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    env: Env,
    endpoint: Endpoint,
    slots: Mutex<Slots>,
}

type Key = (SocketAddr, Role);
type Dialled = Option<Result<Connection, ConnectError>>;

#[derive(Default)]
struct Slots {
    by_key: BTreeMap<Key, Slot>,
    /// Counts uses, so that the slot used longest ago is known.
    uses: u64,
}

enum Slot {
    Dialling(watch::Receiver<Dialled>),
    Open { connection: Connection, used: u64 },
}

/// What a slot has for whoever asks.
enum Found {
    Open(Connection),
    Wait(watch::Receiver<Dialled>),
    Dial(watch::Sender<Dialled>, watch::Receiver<Dialled>),
}

impl Pool {
    /// A pool that dials from `endpoint`.
    pub fn new(env: Env, endpoint: Endpoint) -> Self {
        Self(Arc::new(Shared { env, endpoint, slots: Mutex::default() }))
    }

    /// A usable connection: one that is kept, or a new one. However many ask, there is one dial at a time.
    pub async fn get(
        &self,
        addr: SocketAddr,
        role: Role,
        deadline: Instant,
    ) -> Result<Connection, CallError> {
        Ok(self.find(addr, role, deadline).await?.0)
    }

    /// Asks and waits for the one answer. If a connection that was kept turns out to be dead, asks once more on a new one:
    /// all requests may be repeated.
    pub async fn call<R: Request>(
        &self,
        addr: SocketAddr,
        role: Role,
        scope: Scope,
        request: &R,
        body: Vec<Bytes>,
    ) -> Result<Answer<R::Reply>, CallError> {
        let (connection, origin) = self.find(addr, role, scope.deadline).await?;
        let result = connection.call(scope, request, body.clone()).await;
        match (result, origin) {
            (Err(CallError::Lost(_)), Origin::Kept) => {
                let connection = self.get(addr, role, scope.deadline).await?;
                connection.call(scope, request, body).await
            }
            (result, _) => result,
        }
    }

    async fn find(
        &self,
        addr: SocketAddr,
        role: Role,
        deadline: Instant,
    ) -> Result<(Connection, Origin), CallError> {
        let key = (addr, role);
        let mut dialled = match self.0.look_up(key) {
            Found::Open(connection) => return Ok((connection, Origin::Kept)),
            Found::Wait(dialled) => dialled,
            Found::Dial(result, dialled) => {
                self.0.env.spawn(Arc::clone(&self.0).dial(key, result));
                dialled
            }
        };
        let waiting = dialled.wait_for(Option::is_some);
        let result = match timeout_at(deadline, waiting).await {
            Ok(Ok(result)) => result,
            // The dial's task is gone without a word: the runtime is shutting down.
            Ok(Err(_)) => None,
            Err(_) => return Err(CallError::TimedOut),
        };
        let gone = || ConnectError::Invalid { addr, why: "the node is shutting down".to_owned().into() };
        Ok((result.unwrap_or_else(|| Err(gone()))?, Origin::New))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("endpoint", &self.0.endpoint).finish_non_exhaustive()
    }
}

/// Whether a connection was there before it was asked for.
#[derive(Clone, Copy)]
enum Origin {
    Kept,
    New,
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_up(&self, key: Key) -> Found {
        let mut slots = self.slots();
        slots.uses += 1;
        let now = slots.uses;
        match slots.by_key.get_mut(&key) {
            Some(Slot::Open { connection, used }) if connection.is_usable() => {
                *used = now;
                return Found::Open(connection.clone());
            }
            Some(Slot::Dialling(dialled)) => return Found::Wait(dialled.clone()),
            _ => {}
        }
        let (result, dialled) = watch::channel(None);
        slots.by_key.insert(key, Slot::Dialling(dialled.clone()));
        Found::Dial(result, dialled)
    }

    async fn dial(self: Arc<Self>, key: Key, result: watch::Sender<Dialled>) {
        let (addr, role) = key;
        let deadline = self.env.now() + DIAL_TIMEOUT;
        let dialled = self.endpoint.connect(addr, role, deadline).await;
        {
            let mut slots = self.slots();
            slots.uses += 1;
            let used = slots.uses;
            match &dialled {
                Ok(connection) => {
                    let connection = connection.clone();
                    slots.by_key.insert(key, Slot::Open { connection, used });
                    slots.tidy(self.endpoint.limits().max_pooled);
                }
                Err(_) => {
                    slots.by_key.remove(&key);
                }
            }
        }
        result.send_replace(Some(dialled));
    }
}

impl Slots {
    /// Lets go of connections that are of no use, and of those used longest ago while there are more than `max`.
    fn tidy(&mut self, max: usize) {
        self.by_key.retain(|_, slot| match slot {
            Slot::Open { connection, .. } => connection.is_usable(),
            Slot::Dialling(_) => true,
        });
        while self.by_key.len() > max {
            let open = self.by_key.iter().filter_map(|(key, slot)| match slot {
                Slot::Open { used, .. } => Some((*used, *key)),
                Slot::Dialling(_) => None,
            });
            let Some((_, oldest)) = open.min() else { return };
            self.by_key.remove(&oldest);
        }
    }
}
