//! What a proxy answers.

use std::net::SocketAddr;
use std::sync::Arc;

use rdcq_runtime::failure_of_call;
use rdcq_transport::{Answer, IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{Commit, Failure, Offer, PutPieces, PutTag, Release, Resolve, Seal, Sealed};
use rdcq_wire::{Digest, ErrorCode, Identity, Kind, Name, Request, Role, TagQuery, Version};

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

    /// Passes a request and its body on to the origin as the body comes, and the answer back.
    async fn forward<R: Request>(&self, mut call: IncomingCall, request: &R) -> Result<(), Refusal> {
        let failed = |error| failure_of_call("origin", error);
        let scope = call.scope();
        let mut body = call.take_body();
        let origin = self.pool.get(self.origin, Role::Origin, scope.deadline).await.map_err(failed)?;
        let mut outgoing = origin.begin(scope, request, body.remaining()).await.map_err(failed)?;
        while let Some(chunk) = body.next().await? {
            if outgoing.send(chunk).await.is_err() {
                // The origin has answered before it heard everything; its answer says why.
                break;
            }
        }
        let answer: Answer<R::Reply> = outgoing.answer().await.map_err(failed)?;
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
        let Commit { push, name, version, digest } = call.request()?;
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
        };
        let put = self.pool.call(self.build_index, Role::BuildIndex, scope, &put, Vec::new()).await;
        let committed = put.map_err(|error| failure_of_call("build-index", error))?.message;
        self.seal(scope, push, digest).await?;
        self.release(scope, push, digest).await;
        call.reply(&committed, Vec::new()).await
    }

    async fn seal(&self, scope: Scope, push: u64, digest: Digest) -> Result<Sealed, Failure> {
        let sealed = self.pool.call(self.origin, Role::Origin, scope, &Seal { push, digest }, Vec::new()).await;
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
        match call.kind() {
            Kind::Offer => self.offer(call).await,
            Kind::PutPieces => self.put_pieces(call).await,
            Kind::Commit => self.commit(call).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("a proxy does not serve {kind}")).into())
            }
        }
    }
}
