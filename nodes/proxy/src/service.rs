//! What a proxy answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use rdcq_runtime::failure_of_call;
use rdcq_transport::{Answer, Body, IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{Commit, Failure, Offer, PutPieces, PutTag, Release, Resolve, Seal, Sealed};
use rdcq_wire::{Digest, ErrorCode, Identity, Kind, Name, Request, Role, TagQuery, Version};

/// How long a body may stand still. A sender that is alive sends more within a round trip.
const SILENCE: Duration = Duration::from_secs(10);

pub(crate) struct Proxy {
    pool: Pool,
    origin: SocketAddr,
    build_index: SocketAddr,
}

impl Proxy {
    pub(crate) const fn new(pool: Pool, origin: SocketAddr, build_index: SocketAddr) -> Self {
        Self { pool, origin, build_index }
    }

    async fn offer(&self, call: IncomingCall) -> Result<(), Refusal> {
        let offer: Offer = call.request()?;
        may_name(call.peer(), &offer.name)?;
        self.refuse_conflict(call.scope(), &offer.name, offer.version.as_ref(), offer.digest).await?;
        self.forward(call, &offer).await
    }

    async fn put_pieces(&self, call: IncomingCall) -> Result<(), Refusal> {
        let put: PutPieces = call.request()?;
        self.forward(call, &put).await
    }

    /// Passes a request and its body on to the origin, and the answer back.
    ///
    /// The body is taken in first, a span at most: a client that sends slowly, or nothing, holds a stream of its own
    /// connection and none of those that all pushes share on the way to the origin.
    async fn forward<R: Request>(&self, mut call: IncomingCall, request: &R) -> Result<(), Refusal> {
        let failed = |error| failure_of_call("origin", error);
        let scope = call.scope();
        let body = take_in(call.take_body()).await?;
        let answer = self.pool.call(self.origin, Role::Origin, scope, request, body).await;
        let answer: Answer<R::Reply> = answer.map_err(failed)?;
        call.reply(&answer.message, Vec::new()).await
    }

    /// A push that is bound to lose is told before it sends anything.
    async fn refuse_conflict(
        &self,
        scope: Scope,
        name: &Name,
        version: Option<&Version>,
        digest: Digest,
    ) -> Result<(), Failure> {
        let Some(version) = version else { return Ok(()) };
        let query = TagQuery { key: name.key.clone(), version: Some(version.clone()) };
        match self.pool.call(self.build_index, Role::BuildIndex, scope, &Resolve { query }, Vec::new()).await
        {
            Ok(answer) if answer.message.record.digest != digest => {
                Err(conflict(&answer.message.record.tag(), answer.message.record.digest))
            }
            Ok(_) => Ok(()),
            Err(error) => match failure_of_call("build-index", error) {
                failure if failure.code == ErrorCode::NotFound => Ok(()),
                failure => Err(failure),
            },
        }
    }

    /// Seals, names, and only then lets the origin forget that a push was under way.
    ///
    /// An origin that restarted in between has forgotten the pin, and might have dropped what had no name yet: so it is
    /// asked once more before anybody is told that the push succeeded. What is whole is sealed at no cost.
    async fn commit(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Commit { push, name, version, digest, attributes } = call.request()?;
        may_name(call.peer(), &name)?;
        let scope = call.scope();
        let sealed = self.seal(scope, push, digest).await?;
        let put = PutTag {
            push,
            name,
            version,
            digest,
            manifest: sealed.manifest,
            size: sealed.size,
            pieces: sealed.pieces,
            by: call.peer().node.clone(),
            attributes,
        };
        let put = self.pool.call(self.build_index, Role::BuildIndex, scope, &put, Vec::new()).await;
        let committed = put.map_err(|error| failure_of_call("build-index", error))?.message;
        self.seal(scope, push, digest).await?;
        self.release(scope, push, digest).await;
        call.reply(&committed, Vec::new()).await
    }

    async fn seal(&self, scope: Scope, push: u64, digest: Digest) -> Result<Sealed, Failure> {
        let sealed =
            self.pool.call(self.origin, Role::Origin, scope, &Seal { push, digest }, Vec::new()).await;
        Ok(sealed.map_err(|error| failure_of_call("origin", error))?.message)
    }

    /// Ends the pin. If that fails the lease ends it, later.
    async fn release(&self, scope: Scope, push: u64, digest: Digest) {
        let release = Release { push, digest };
        if let Err(error) = self.pool.call(self.origin, Role::Origin, scope, &release, Vec::new()).await {
            tracing::info!(%digest, %error, "a pin is left to its lease");
        }
    }
}

/// Takes a body in, unless its sender falls silent.
async fn take_in(mut body: Body) -> Result<Vec<Bytes>, Refusal> {
    let mut chunks = Vec::new();
    loop {
        let next = tokio::time::timeout(SILENCE, body.next()).await;
        let silent =
            |_| Failure::new(ErrorCode::TimedOut, format!("no byte of the body came for {SILENCE:?}"));
        match next.map_err(silent)?? {
            Some(chunk) => chunks.push(chunk),
            None => return Ok(chunks),
        }
    }
}

/// Clients and agents push under their own host's name; operators under any.
fn may_name(peer: &Identity, name: &Name) -> Result<(), Failure> {
    let own = peer.node.as_str();
    let key = name.key.as_str();
    let is_own = name.host == peer.node && key.strip_prefix(own).is_some_and(|rest| rest.starts_with('-'));
    if is_own || peer.roles.contains(Role::Operator) {
        return Ok(());
    }
    tracing::warn!(target: "rdcq::audit", peer = %peer, key, "denied: a push under another host's name");
    let text =
        format!("{own} may only push tags of its own, which begin with \"{own}-\"; {key:?} is not one");
    Err(Failure::new(ErrorCode::Denied, text))
}

fn conflict(tag: &str, standing: Digest) -> Failure {
    let text = format!(
        "{tag} stands with other content, {standing}; push another version, or remove this one first"
    );
    Failure { standing: Some(standing), ..Failure::new(ErrorCode::Conflict, text) }
}

impl Service for Proxy {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        // Boxed one by one: a request takes as much memory as its own handler needs.
        match call.kind() {
            Kind::Offer => Box::pin(self.offer(call)).await,
            Kind::PutPieces => Box::pin(self.put_pieces(call)).await,
            Kind::Commit => Box::pin(self.commit(call)).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("a proxy does not serve {kind}")).into())
            }
        }
    }
}
