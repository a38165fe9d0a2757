//! A member of the herd that calls its nodes as nodes do: all that benches know of the transport's interface.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use rdcq_runtime::{Host, security};
use rdcq_transport::{Answer, Connection, Endpoint, Limits, Pool, Scope, Security};
use rdcq_wire::message::{Announce, GetManifest, GetPieces, Goal, Hello, Release, Released};
use rdcq_wire::{Class, CloseCode, Context, Digest, List, Manifest, Request, Role, Span, frame};

use crate::herd;

/// How long anything may take before the bench fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// A push that no origin knows, of as many bytes as make the request 64.
const PUSH: u64 = 1 << 48;
/// One number for all calls, of as many bytes as a random one.
const TRACE: u64 = u64::MAX / 3;

/// An identity of the herd.
#[derive(Clone)]
pub(crate) struct Member {
    host: Host,
    security: Security,
}

impl Member {
    /// Reads the certificates in a folder.
    pub(crate) fn load(certs: &Path) -> anyhow::Result<Self> {
        Ok(Self { host: Host::system(), security: security(&herd::credentials(certs)?) })
    }

    /// A socket to dial from.
    pub(crate) fn dialler(&self) -> anyhow::Result<Dialler> {
        let Self { host, security } = self.clone();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::open(
            &host.env,
            host.network.as_ref(),
            any,
            security,
            Limits::default(),
            &host.bandwidth,
        )?;
        Ok(Dialler { host, endpoint })
    }

    /// Bytes of the Hello that a node of this identity sends.
    pub(crate) fn hello_len(&self) -> anyhow::Result<usize> {
        let own = self.security.identity.clone();
        let hello = Hello {
            herd: own.herd,
            node: own.node,
            roles: own.roles,
            serving: Some(Role::Tracker),
            oldest: rdcq_transport::PROTOCOL_VERSION,
            newest: rdcq_transport::PROTOCOL_VERSION,
            data_ports: List::default(),
        };
        Ok(frame::encode(Context { request: 0, trace: 0, time_left_ms: 0, class: Class::Normal }, &hello, 0)?
            .len())
    }
}

/// A socket of a member, from which it opens connections.
#[derive(Clone)]
pub(crate) struct Dialler {
    host: Host,
    endpoint: Endpoint,
}

impl Dialler {
    /// Opens a connection; it is there when the server's Hello has come.
    pub(crate) async fn connect(&self, addr: SocketAddr, role: Role) -> anyhow::Result<Held> {
        let deadline = self.host.env.now() + PATIENCE;
        let connection = self.endpoint.connect(addr, role, deadline).await?;
        Ok(Held { host: self.host.clone(), connection, role })
    }

    /// Somebody with a connection of its own, made with the first call.
    pub(crate) fn caller(&self, addr: SocketAddr, role: Role) -> Caller {
        let pool = Pool::new(self.host.env.clone(), self.endpoint.clone());
        Caller { host: self.host.clone(), pool, addr, role }
    }

    /// Closes all connections from this socket.
    pub(crate) fn close(&self) {
        self.endpoint.close(CloseCode::Done);
    }
}

/// One connection, closed when dropped.
pub(crate) struct Held {
    host: Host,
    connection: Connection,
    role: Role,
}

impl Held {
    pub(crate) fn is_alive(&self) -> bool {
        self.connection.is_usable()
    }

    /// Asks for what costs the node next to nothing.
    pub(crate) async fn ask(&self) -> anyhow::Result<()> {
        let scope = scope(&self.host);
        match self.role {
            Role::Tracker => drop(self.connection.call(scope, &leave(), Vec::new()).await?),
            _ => drop(self.connection.call(scope, &release(), Vec::new()).await?),
        }
        Ok(())
    }
}

/// Who calls a node through a pool, as nodes do.
#[derive(Clone)]
pub(crate) struct Caller {
    host: Host,
    pool: Pool,
    addr: SocketAddr,
    role: Role,
}

impl Caller {
    /// Asks an origin for what costs it next to nothing: to let go of what nobody holds.
    pub(crate) async fn ask(&self) -> anyhow::Result<()> {
        self.call(&release()).await.map(drop)
    }

    /// A content's manifest, checked.
    pub(crate) async fn manifest(&self, digest: Digest, manifest: Digest) -> anyhow::Result<Manifest> {
        let answer = self.call(&GetManifest { digest, manifest }).await?;
        let bytes = answer.body.collect().await?.concat();
        anyhow::ensure!(Digest::of(&bytes) == manifest, "another manifest than was promised");
        Ok(Manifest::decode(&bytes)?)
    }

    /// The bytes of some pieces, unchecked, and which they are.
    pub(crate) async fn pieces(&self, digest: Digest, span: Span) -> anyhow::Result<(Span, Vec<Bytes>)> {
        let answer = self.call(&GetPieces { digest, span }).await?;
        Ok((answer.message.span, answer.body.collect().await?))
    }

    async fn call<R: Request>(&self, request: &R) -> anyhow::Result<Answer<R::Reply>> {
        let call = self.pool.call(self.addr, self.role, scope(&self.host), request, Vec::new());
        call.await.with_context(|| format!("{} at {}", R::KIND, self.addr))
    }
}

/// Bytes of the request that [`Caller::ask`] makes and of its answer.
pub(crate) fn ask_lens() -> anyhow::Result<(usize, usize)> {
    // What a request is numbered after it has gone on for a while.
    let request = 100_000;
    let time_left_ms = u32::try_from(PATIENCE.as_millis())?;
    let context = Context { request, trace: TRACE, time_left_ms, class: Class::Normal };
    Ok((frame::encode(context, &release(), 0)?.len(), frame::encode(context, &Released {}, 0)?.len()))
}

fn scope(host: &Host) -> Scope {
    Scope { trace: TRACE, deadline: host.env.now() + PATIENCE, class: Class::Normal }
}

const fn release() -> Release {
    Release { push: PUSH, digest: Digest::from_bytes([1; Digest::LEN]) }
}

fn leave() -> Announce {
    Announce {
        digests: List::first_of([Digest::from_bytes([1; Digest::LEN])]),
        goal: Goal::Leave,
        port: 7405,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_64_bytes() {
        assert_eq!(ask_lens().unwrap(), (64, 25));
    }
}
