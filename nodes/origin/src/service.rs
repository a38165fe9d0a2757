//! What an origin answers.

use std::sync::Arc;
use std::time::Duration;

use rdcq_env::Env;
use rdcq_runtime::{Collector, Leases, Seed, content, failure_of_store};
use rdcq_store::{Begun, Check, ContentStore};
use rdcq_transport::{IncomingCall, Refusal, Service};
use rdcq_wire::message::{
    Collect, Collected, Failure, Offer, PutPieces, Release, Released, Seal, Sealed, Stored, Wanted,
};
use rdcq_wire::{Digest, ErrorCode, Kind, List, Manifest};

pub(crate) struct Origin {
    env: Env,
    store: ContentStore,
    seed: Seed,
    leases: Leases,
    collector: Collector,
    push_lease: Duration,
}

impl Origin {
    pub(crate) fn new(
        env: Env,
        store: ContentStore,
        leases: Leases,
        collector: Collector,
        push_lease: Duration,
    ) -> Self {
        let seed = Seed::new(env.clone(), store.clone());
        Self { env, store, seed, leases, collector, push_lease }
    }

    /// Pins the content, and says what is missing of it.
    async fn offer(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let offer: Offer = call.request()?;
        let bytes = call.take_body().collect().await?.concat();
        let manifest = Manifest::decode(&bytes)
            .map_err(|error| Failure::new(ErrorCode::BadRequest, format!("the offer's manifest: {error}")))?;
        if manifest.content != offer.digest {
            let text = format!("the offer is of {} and its manifest of {}", offer.digest, manifest.content);
            return Err(Failure::new(ErrorCode::BadRequest, text).into());
        }
        self.leases.pin(offer.digest, offer.push, self.push_lease).await;
        let begun = self.store.begin(Arc::new(manifest)).await.map_err(|error| failure_of_store(&error))?;
        let missing = match begun {
            Begun::Complete => Vec::new(),
            Begun::Partial(partial) => partial.have().missing_spans(),
        };
        let lease_ms = u32::try_from(self.push_lease.as_millis()).unwrap_or(u32::MAX);
        call.reply(&Wanted { lease_ms, missing: List::first_of(missing) }, Vec::new()).await
    }

    async fn put_pieces(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let PutPieces { push, digest, span } = call.request()?;
        let manifest = self.store.manifest(&digest).ok_or_else(|| not_offered(&digest))?;
        let announced = u64::from(call.body().remaining());
        let wanted = manifest.pieces.bytes_of_span(span).map(|range| range.end - range.start);
        if wanted != Some(announced) {
            let text = format!("{span:?} of {digest} have {wanted:?} bytes, not {announced}");
            return Err(Failure::new(ErrorCode::BadRequest, text).into());
        }
        self.leases.pin(digest, push, self.push_lease).await;
        let mut body = call.take_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await? {
            bytes.push(chunk);
            // A slow line may take longer for a span than the lease lasts.
            self.leases.pin(digest, push, self.push_lease).await;
        }
        match self.store.begin(manifest).await.map_err(|error| failure_of_store(&error))? {
            Begun::Complete => {}
            Begun::Partial(partial) => {
                partial.write_span(span, bytes).await.map_err(|error| failure_of_store(&error))?;
            }
        }
        self.leases.pin(digest, push, self.push_lease).await;
        call.reply(&Stored {}, Vec::new()).await
    }

    /// Reads everything back, and answers when it is durable.
    async fn seal(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Seal { push, digest } = call.request()?;
        let manifest = self.store.manifest(&digest).ok_or_else(|| not_offered(&digest))?;
        self.leases.pin(digest, push, self.push_lease.max(call.scope().deadline - self.env.now())).await;
        let sealed = self.store.seal(&digest, Check::Whole).await;
        sealed.map_err(|error| failure_of_store(&error))?;
        let reply = Sealed {
            manifest: Digest::of(&manifest.encode()),
            size: manifest.pieces.size(),
            pieces: manifest.pieces.len(),
        };
        call.reply(&reply, Vec::new()).await
    }

    async fn release(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Release { push, digest } = call.request()?;
        self.leases.release(&digest, push);
        call.reply(&Released {}, Vec::new()).await
    }

    async fn collect(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Collect { digests } = call.request()?;
        let collector = self.collector.clone();
        self.env.spawn(async move { collector.collect(digests.into_vec()).await });
        call.reply(&Collected {}, Vec::new()).await
    }
}

fn not_offered(digest: &Digest) -> Failure {
    Failure::new(
        ErrorCode::NotFound,
        format!("{digest} was not offered, or its push has ended; offer it again"),
    )
}

impl Service for Origin {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        // Boxed one by one: a request takes as much memory as its own handler needs.
        match call.kind() {
            Kind::Offer => Box::pin(self.offer(call)).await,
            Kind::PutPieces => Box::pin(self.put_pieces(call)).await,
            Kind::Seal => Box::pin(self.seal(call)).await,
            Kind::Release => Box::pin(self.release(call)).await,
            Kind::GetManifest => Box::pin(content::get_manifest(&self.store, call)).await,
            Kind::GetPieces => Box::pin(self.seed.get_pieces(call)).await,
            Kind::Watch => Box::pin(self.seed.watch(call)).await,
            Kind::Decline => Box::pin(self.seed.decline(call)).await,
            Kind::Collect => Box::pin(self.collect(call)).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("an origin does not serve {kind}")).into())
            }
        }
    }
}
