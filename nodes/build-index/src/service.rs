//! What a build-index answers.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdcq_config::HerdAddresses;
use rdcq_env::Env;
use rdcq_store::LogError;
use rdcq_transport::{IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{
    Collect, Committed, Failure, List as ListTags, Listing, Live, Liveness, PutTag, RemoveTag, Removed,
    Resolve, Resolved,
};
use rdcq_wire::{Class, Digest, ErrorCode, Kind, List, Record, Role};

use crate::tags::{Tags, TagsError, Taken};

/// How long an origin or a tracker may take to hear a hint; what misses it is found by the sweeps.
const HINT_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct BuildIndex {
    env: Env,
    pool: Pool,
    tags: Tags,
    herd: HerdAddresses,
}

impl BuildIndex {
    pub(crate) const fn new(env: Env, pool: Pool, tags: Tags, herd: HerdAddresses) -> Self {
        Self { env, pool, tags, herd }
    }

    async fn resolve(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Resolve { query } = call.request()?;
        let found = self.tags.resolve(&query).map_err(|error| failure(&error))?;
        let record = found.ok_or_else(|| failure(&TagsError::NotFound(query)))?;
        call.reply(&Resolved { record }, Vec::new()).await
    }

    async fn list(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let ListTags { what, after, limit } = call.request()?;
        let (mut body, mut records) = (Vec::new(), 0);
        let mut take = |record: &Record| {
            if records == limit || !Listing::push(&mut body, record) {
                return Taken::Full;
            }
            records += 1;
            Taken::Yes
        };
        let next = self.tags.list(&what, after.as_ref(), &mut take).map_err(|error| failure(&error))?;
        call.reply(&Listing { records, next }, vec![body.into()]).await
    }

    async fn live(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Live { digests } = call.request()?;
        let live: Result<Vec<bool>, _> = digests.iter().map(|digest| self.tags.is_live(digest)).collect();
        let live = live.map_err(|error| failure(&error))?;
        call.reply(&Liveness { live: List::first_of(live) }, Vec::new()).await
    }

    async fn put(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let put: PutTag = call.request()?;
        let (record, fresh) = self.tags.put(put).await.map_err(|error| failure(&error))?;
        tracing::info!(target: "rdcq::audit", tag = record.tag(), digest = %record.digest, by = %record.by, "pushed");
        call.reply(&Committed { record, fresh }, Vec::new()).await
    }

    async fn remove(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let RemoveTag { query } = call.request()?;
        let by = call.peer().node.clone();
        let record = self.tags.remove(query, by).await.map_err(|error| failure(&error))?;
        tracing::info!(target: "rdcq::audit", tag = record.tag(), digest = %record.digest, by = %record.by, "removed");
        if !self.tags.is_live(&record.digest).map_err(|error| failure(&error))? {
            self.hint(call.scope().trace, record.digest);
        }
        call.reply(&Removed { record }, Vec::new()).await
    }

    /// Tells origins and trackers that a digest has lost its last name.
    fn hint(&self, trace: u64, digest: Digest) {
        let origins = self.herd.origins.iter().map(|addr| (*addr, Role::Origin));
        let trackers = self.herd.trackers.iter().map(|addr| (*addr, Role::Tracker));
        for (addr, role) in origins.chain(trackers) {
            self.env.spawn(hint_one(
                self.pool.clone(),
                addr,
                role,
                digest,
                trace,
                self.env.now() + HINT_PATIENCE,
            ));
        }
    }
}

async fn hint_one(
    pool: Pool,
    addr: SocketAddr,
    role: Role,
    digest: Digest,
    trace: u64,
    deadline: tokio::time::Instant,
) {
    let hint = Collect { digests: List::first_of([digest]) };
    if let Err(error) =
        pool.call(addr, role, Scope { trace, deadline, class: Class::Normal }, &hint, Vec::new()).await
    {
        tracing::info!(%role, %addr, %error, "did not hear that content lost its name; its sweep will find it");
    }
}

fn failure(error: &TagsError) -> Failure {
    let (code, standing) = match error {
        TagsError::NotFound(_) => (ErrorCode::NotFound, None),
        TagsError::Conflict { standing, .. } => (ErrorCode::Conflict, Some(*standing)),
        TagsError::Log(error) if is_full(error) => (ErrorCode::NoSpace, None),
        TagsError::OtherHost { .. } => (ErrorCode::Denied, None),
        TagsError::Stopped => (ErrorCode::Unavailable, None),
        _ => (ErrorCode::Internal, None),
    };
    Failure { standing, ..Failure::new(code, error.to_string()) }
}

fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
}

impl Service for BuildIndex {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        // Boxed one by one: a request takes as much memory as its own handler needs.
        match call.kind() {
            Kind::Resolve => Box::pin(self.resolve(call)).await,
            Kind::List => Box::pin(self.list(call)).await,
            Kind::Live => Box::pin(self.live(call)).await,
            Kind::PutTag => Box::pin(self.put(call)).await,
            Kind::RemoveTag => Box::pin(self.remove(call)).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("a build-index does not serve {kind}"))
                    .into())
            }
        }
    }
}
