//! Connections that are kept for the next call.

mod slots;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rdcq_env::Env;
use rdcq_env::watch;
use rdcq_wire::{NodeId, Request, Role};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::endpoint::Adopt;
use crate::link::{Link, Side};
use crate::{Answer, CallError, ConnectError, Connection, Endpoint, Plane, Scope};

use slots::{Found, Slots};

/// How long a dial may take. It goes on for the others when whoever began it gives up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often connections are looked at that nobody uses, or that are old.
const SWEEP: Duration = Duration::from_secs(30);

/// Connections by address and role, opened when they are first needed. Cheap to clone; clones share everything.
///
/// A peer that serves and has connected by itself is called on the connection that it opened. If both sides dial at the
/// same moment, either keeps the same one of the two.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    env: Env,
    endpoint: Endpoint,
    slots: Mutex<Slots>,
}

/// Where a connection leads, and what the peer serves there.
type Key = (SocketAddr, Role);
type Dialled = Option<Result<Connection, ConnectError>>;

/// Whether a connection was there before it was asked for.
#[derive(Clone, Copy)]
enum Origin {
    Kept,
    New,
}

impl Pool {
    /// A pool that dials from `endpoint`, which has no other.
    pub fn new(env: Env, endpoint: Endpoint) -> Self {
        let shared = Arc::new(Shared { env, endpoint, slots: Mutex::default() });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        shared.endpoint.offer_to(weak.clone());
        shared.env.spawn(sweep(weak));
        Self(shared)
    }

    /// A usable control connection: one that is kept, or a new one. However many ask, there is one dial at a time.
    pub async fn get(
        &self,
        addr: SocketAddr,
        role: Role,
        deadline: Instant,
    ) -> Result<Connection, CallError> {
        Ok(self.find(Plane::Control, (addr, role), deadline).await?.0)
    }

    /// A usable data connection to the node whose control address is `addr`. One without data sockets is given its pieces,
    /// and asked for them, on its control connection.
    pub async fn get_data(
        &self,
        addr: SocketAddr,
        role: Role,
        deadline: Instant,
    ) -> Result<Connection, CallError> {
        Ok(self.find_data(addr, role, deadline).await?.0)
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
        let (connection, origin) = self.route::<R>(addr, role, scope.deadline).await?;
        let result = connection.call(scope, request, body.clone()).await;
        match (result, origin) {
            (Err(CallError::Lost(_)), Origin::Kept) => {
                let (connection, _) = self.route::<R>(addr, role, scope.deadline).await?;
                connection.call(scope, request, body).await
            }
            (result, _) => result,
        }
    }

    async fn route<R: Request>(
        &self,
        addr: SocketAddr,
        role: Role,
        deadline: Instant,
    ) -> Result<(Connection, Origin), CallError> {
        if R::KIND.carries_pieces() {
            self.find_data(addr, role, deadline).await
        } else {
            self.find(Plane::Control, (addr, role), deadline).await
        }
    }

    async fn find_data(
        &self,
        addr: SocketAddr,
        role: Role,
        deadline: Instant,
    ) -> Result<(Connection, Origin), CallError> {
        let control = self.find(Plane::Control, (addr, role), deadline).await?;
        let link = Arc::clone(control.0.link());
        // A node whose data port does not answer may be gone altogether, or back on other ports.
        let watched = link.begin_call();
        let found = tokio::select! {
            biased;
            found = self.find_beside(control, role, deadline) => found,
            error = link.quic.closed() => Err(error.into()),
        };
        drop(watched);
        match found {
            Err(_) if !link.is_usable() => {
                let control = self.find(Plane::Control, (addr, role), deadline).await?;
                self.find_beside(control, role, deadline).await
            }
            found => found,
        }
    }

    /// A data connection to the node that a control connection leads to; the latter if one of them has no data sockets.
    async fn find_beside(
        &self,
        (control, origin): (Connection, Origin),
        role: Role,
        deadline: Instant,
    ) -> Result<(Connection, Origin), CallError> {
        let endpoint = &self.0.endpoint;
        let at = control.link().data_addr(&endpoint.identity().node);
        let (Some(at), Some(plane)) = (at, endpoint.data_plane(control.peer())) else {
            return Ok((control, origin));
        };
        let (data, origin) = self.find(plane, (at, role), deadline).await?;
        // Its certificate may have been renewed in between, for other roles.
        let (there, wanted) = (data.peer(), control.peer());
        if (&there.herd, &there.node) == (&wanted.herd, &wanted.node) {
            return Ok((data, origin));
        }
        let peer = Box::new(data.peer().clone());
        Err(ConnectError::WrongPeer { addr: at, expect: role, peer }.into())
    }

    async fn find(
        &self,
        plane: Plane,
        key: Key,
        deadline: Instant,
    ) -> Result<(Connection, Origin), CallError> {
        loop {
            let found = self.0.slots().look_up(key, || self.0.env.now());
            let mut dialled = match found {
                Found::Open(connection) => return Ok((connection, Origin::Kept)),
                Found::Wait(dialled) => dialled,
                Found::Dial(result, dialled) => {
                    self.0.env.spawn(Arc::clone(&self.0).dial(plane, key, result));
                    dialled
                }
                // The last dials failed, and the next one is not due.
                Found::Later { until, error } if until >= deadline => return Err(error.into()),
                Found::Later { until, .. } => {
                    sleep_until(until).await;
                    continue;
                }
            };
            let waiting = dialled.wait_for(Option::is_some);
            let result = match timeout_at(deadline, waiting).await {
                Ok(Ok(result)) => result,
                // The dial's task is gone without a word: the runtime is shutting down.
                Ok(Err(_)) => None,
                Err(_) => return Err(CallError::TimedOut),
            };
            let addr = key.0;
            let gone = || ConnectError::Invalid { addr, why: "the node is shutting down".to_owned().into() };
            return Ok((result.unwrap_or_else(|| Err(gone()))?, Origin::New));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("endpoint", &self.0.endpoint).finish_non_exhaustive()
    }
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(self: Arc<Self>, plane: Plane, key: Key, result: watch::Sender<Dialled>) {
        let (addr, role) = key;
        let deadline = self.env.now() + DIAL_TIMEOUT;
        let dialled = self.endpoint.connect_on(plane, addr, role, deadline).await;
        let (now, jitter) = (self.env.now(), self.env.rng().random());
        let ours = dialled.as_ref().is_ok_and(|connection| self.stays(connection));
        let settled = {
            let mut slots = self.slots();
            let settled = slots.settle_dial(key, dialled, ours, now, jitter);
            slots.tidy(self.endpoint.limits().max_pooled, now);
            settled
        };
        result.send_replace(Some(settled));
    }

    /// Whether a connection stays if there is a second one with the same peer, opened from the other side: the one that
    /// the smaller node dialled does, by name, and by port if one certificate serves both.
    fn stays(&self, connection: &Connection) -> bool {
        let link = connection.link();
        let own = (self.endpoint.identity().node, self.endpoint.port_of(link.plane));
        let peer = (link.peer.node.clone(), link.remote().port());
        stays(&own, &peer, link.side)
    }
}

/// Whether the smaller node dialled. Between two that look the same, as copies of one machine do, either keeps what it
/// dialled itself: they cannot agree, and must not close each other's choice.
fn stays(own: &(NodeId, u16), peer: &(NodeId, u16), side: Side) -> bool {
    own == peer && side == Side::Dialled || own != peer && (own < peer) == (side == Side::Dialled)
}

impl Adopt for Shared {
    fn adopt(&self, link: &Arc<Link>, serving: Role) {
        let connection = Connection::new(Arc::clone(link));
        let stays = self.stays(&connection);
        let mut slots = self.slots();
        slots.take_in((link.remote(), serving), connection, stays);
        slots.tidy(self.endpoint.limits().max_pooled, self.env.now());
    }
}

/// Lets go of what nobody uses, for as long as there is a pool.
async fn sweep(pool: Weak<Shared>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let limits = pool.endpoint.limits();
        let now = pool.env.now();
        let mut slots = pool.slots();
        slots.expire(limits.close_idle, limits.max_age);
        slots.forget(now);
        slots.tidy(limits.max_pooled, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_keep_the_same_connection_and_two_copies_each_their_own() {
        let [a, b] = ["a", "b"].map(|name| name.parse::<NodeId>().unwrap());
        let sides = |own: (&NodeId, u16), peer: (&NodeId, u16)| {
            [Side::Dialled, Side::Accepted]
                .map(|side| stays(&(own.0.clone(), own.1), &(peer.0.clone(), peer.1), side))
        };
        // Either side speaks of the connection that `a`, or the lower port, dialled.
        assert_eq!((sides((&a, 2), (&b, 1)), sides((&b, 1), (&a, 2))), ([true, false], [false, true]));
        assert_eq!((sides((&a, 1), (&a, 2)), sides((&a, 2), (&a, 1))), ([true, false], [false, true]));
        assert_eq!(sides((&a, 1), (&a, 1)), [true, false]);
    }
}
