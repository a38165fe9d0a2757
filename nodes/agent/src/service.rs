//! What an agent answers.

use std::sync::Arc;
use std::time::Duration;

use rdcq_config::HerdAddresses;
use rdcq_env::{Env, watch};
use rdcq_runtime::{
    Arrival, Collector, DownloadError, Fetched, Leases, Uploads, content, failure_of_call, failure_of_store,
};
use rdcq_store::ContentStore;
use rdcq_transport::{IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{
    Collect, Collected, Failure, Found, GetManifest, GetPieces, Lend, ManifestBody, Progress, Pull, Pulled,
    Release, Released, Resolve, Verified, Watch,
};
use rdcq_wire::{Digest, ErrorCode, Kind, List, PieceSet, Record, Role, Span, TagQuery};
use tokio::time::{sleep, timeout};

use crate::downloads::Downloads;
use crate::loans::Loans;
use crate::seeder::Seeder;

/// How long content stays pinned after the last word of the client that pulled it.
const DELIVERY_LEASE: Duration = Duration::from_secs(60);
/// How often a client hears of progress at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often it hears that there is none, and its pin is prolonged: of hundreds of contents most wait for their turn.
const STANDSTILL_EVERY: Duration = Duration::from_secs(5);
/// How long a build-index may take to answer.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct Agent {
    pub(crate) env: Env,
    pub(crate) pool: Pool,
    pub(crate) store: ContentStore,
    pub(crate) uploads: Uploads,
    pub(crate) leases: Leases,
    /// None where clients cannot be lent anything.
    pub(crate) loans: Option<Loans>,
    pub(crate) collector: Collector,
    pub(crate) seeder: Seeder,
    pub(crate) downloads: Downloads,
    pub(crate) herd: HerdAddresses,
}

impl Agent {
    async fn pull(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Pull { query } = call.request()?;
        let started = self.env.now();
        let record = self.resolve(call.scope(), query).await?;
        let holder = call.scope().trace;
        self.leases.pin(record.digest, holder, DELIVERY_LEASE).await;
        call.reply(&Found { record: record.clone() }, Vec::new()).await?;
        let fetched = self.follow(&mut call, &record).await?;
        self.leases.pin(record.digest, holder, DELIVERY_LEASE).await;
        self.seeder.announce_soon();
        let elapsed_ms = u64::try_from((self.env.now() - started).as_millis()).unwrap_or(u64::MAX);
        call.reply(&Pulled { record, sources: fetched.sources, elapsed_ms }, Vec::new()).await
    }

    /// Waits for the content, and tells the client how far it is.
    async fn follow(&self, call: &mut IncomingCall, record: &Record) -> Result<Fetched, Refusal> {
        let (scope, holder) = (call.scope(), call.scope().trace);
        let download = self.downloads.join(record, scope);
        let mut told = PieceSet::empty(0);
        let (outcome, mut progress) = (download.outcome(record.digest), download.progress.clone());
        tokio::pin!(outcome);
        // What is here from before is told soon.
        let mut is_behind = true;
        loop {
            tokio::select! {
                biased;
                () = call.cancelled() => return Err(Refusal::Gone),
                outcome = &mut outcome => return outcome.map_err(|error| failure_of_download(&error).into()),
                () = sleep(PROGRESS_EVERY), if is_behind => {}
                () = news_of(&mut progress) => {}
            }
            self.leases.pin(record.digest, holder, DELIVERY_LEASE).await;
            let (done, size) = progress.see();
            call.reply(&Progress { done, size }, Vec::new()).await?;
            let spans = self.fresh_pieces(&record.digest, &mut told);
            is_behind = spans.len() == Verified::MAX_SPANS;
            if !spans.is_empty() {
                call.reply(&Verified { spans }, Vec::new()).await?;
            }
        }
    }

    /// Runs of pieces that are here and were not told of, which then count as told. What does not fit waits for the next time.
    fn fresh_pieces(&self, digest: &Digest, told: &mut PieceSet) -> List<Span, { Verified::MAX_SPANS }> {
        let Some(have) = self.store.have(digest) else { return List::default() };
        if told.pieces() != have.pieces() {
            *told = PieceSet::empty(have.pieces());
        }
        let mut fresh = PieceSet::empty(have.pieces());
        for piece in have.iter().filter(|piece| !told.contains(*piece)) {
            fresh.insert(piece);
        }
        let spans = List::first_of(fresh.spans());
        spans.iter().for_each(|span: &Span| told.insert_span(*span));
        spans
    }

    async fn resolve(&self, scope: Scope, query: TagQuery) -> Result<Record, Failure> {
        let request = Resolve { query };
        let mut failure = Failure::new(ErrorCode::Unavailable, "the settings name no build-index");
        for addr in &self.herd.build_indexes {
            let scope = Scope { deadline: scope.deadline.min(self.env.now() + RESOLVE_PATIENCE), ..scope };
            match self.pool.call(*addr, Role::BuildIndex, scope, &request, Vec::new()).await {
                Ok(answer) => return Ok(answer.message.record),
                Err(error) => failure = failure_of_call("build-index", error),
            }
            if failure.code == ErrorCode::NotFound {
                break;
            }
        }
        Err(failure)
    }

    /// Answers from the store, to an agent as soon as it is there; a client's question about content that is not here is
    /// passed on to an origin.
    async fn get_manifest(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let request: GetManifest = call.request()?;
        let from_agent = call.peer().roles.contains(Role::Agent);
        if from_agent {
            self.await_manifest(&mut call, &request.digest).await?;
        }
        if self.store.manifest(&request.digest).is_some() || from_agent {
            return content::get_manifest(&self.store, call).await;
        }
        let mut failure = Failure::new(ErrorCode::Unavailable, "the settings name no origin");
        for addr in &self.herd.origins {
            match self.pool.call(*addr, Role::Origin, call.scope(), &request, Vec::new()).await {
                Ok(answer) => {
                    let body =
                        answer.body.collect().await.map_err(|error| failure_of_call("origin", error))?;
                    return call.reply(&ManifestBody {}, body).await;
                }
                Err(error) => failure = failure_of_call("origin", error),
            }
        }
        Err(failure.into())
    }

    /// What this agent fetches it soon has, so that nobody who wants it of this agent need ask again and again.
    async fn await_manifest(&self, call: &mut IncomingCall, digest: &Digest) -> Result<(), Refusal> {
        if self.store.manifest(digest).is_some() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = call.cancelled() => Err(Refusal::Gone),
            () = call.draining() => Err(Failure::new(ErrorCode::ShuttingDown, "going away").into()),
            () = self.downloads.known(digest) => Ok(()),
        }
    }

    /// Answers from the store; a client that delivers keeps its content pinned.
    async fn get_pieces(&self, call: IncomingCall) -> Result<(), Refusal> {
        if !call.peer().roles.contains(Role::Agent) {
            let request: GetPieces = call.request()?;
            if self.store.have(&request.digest).is_some() {
                self.leases.pin(request.digest, call.scope().trace, DELIVERY_LEASE).await;
            }
        }
        content::get_pieces(&self.store, &self.uploads, call).await
    }

    /// Tells a client where to pick up the file of content, which stays pinned as for one that is sent the bytes.
    async fn lend(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Lend { digest } = call.request()?;
        let Some(loans) = &self.loans else {
            return Err(Failure::new(ErrorCode::Unsupported, "no desk here; ask for the pieces").into());
        };
        if self.store.have(&digest).is_some() {
            self.leases.pin(digest, call.scope().trace, DELIVERY_LEASE).await;
        }
        // Also once it is pinned: it may have been dropped until then.
        if self.store.have(&digest).is_none() {
            return Err(Failure::new(ErrorCode::NotFound, format!("{digest} is not here")).into());
        }
        let lent = loans.lend(digest)?;
        call.reply(&lent, Vec::new()).await
    }

    /// Answers from the store; who asks while this agent seeks the same becomes its neighbour.
    async fn watch(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let request: Watch = call.request()?;
        let arrival = Arrival { node: call.peer().node.clone(), addr: call.remote() };
        self.downloads.arrived(&request.digest, arrival);
        self.await_manifest(&mut call, &request.digest).await?;
        content::watch(&self.store, call).await
    }

    /// A client has delivered what it pulled.
    async fn release(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Release { push, digest } = call.request()?;
        self.leases.release(&digest, push);
        call.reply(&Released {}, Vec::new()).await
    }

    async fn collect(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Collect { digests } = call.request()?;
        let (collector, seeder) = (self.collector.clone(), self.seeder.clone());
        self.env.spawn(async move {
            let dropped = collector.collect(digests.into_vec()).await;
            seeder.leave(dropped).await;
        });
        call.reply(&Collected {}, Vec::new()).await
    }
}

/// Waits until something has come, and a moment for more, or for long.
async fn news_of(progress: &mut watch::Receiver<(u64, u64)>) {
    match timeout(STANDSTILL_EVERY, progress.changed()).await {
        Ok(Ok(())) => sleep(PROGRESS_EVERY).await,
        // There is no more; how it ended is known in a moment.
        Ok(Err(_)) => sleep(STANDSTILL_EVERY).await,
        Err(_) => {}
    }
}

fn failure_of_download(error: &DownloadError) -> Failure {
    match error {
        DownloadError::Stalled { .. } => Failure::new(ErrorCode::Unavailable, error.to_string()),
        DownloadError::Store(error) => failure_of_store(error),
    }
}

impl Service for Agent {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        // Boxed one by one: a request takes as much memory as its own handler needs.
        match call.kind() {
            Kind::Pull => Box::pin(self.pull(call)).await,
            Kind::GetManifest => Box::pin(self.get_manifest(call)).await,
            Kind::GetPieces => Box::pin(self.get_pieces(call)).await,
            Kind::Watch => Box::pin(self.watch(call)).await,
            Kind::Lend => Box::pin(self.lend(call)).await,
            Kind::Release => Box::pin(self.release(call)).await,
            Kind::Collect => Box::pin(self.collect(call)).await,
            kind => {
                Err(Failure::new(ErrorCode::Unsupported, format!("an agent does not serve {kind}")).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// When news of progress that was made at some times come.
    async fn told(made: impl IntoIterator<Item = u64>, times: usize) -> Vec<u128> {
        let (tell, mut progress) = watch::channel((0, 10));
        let (began, made) = (Instant::now(), made.into_iter());
        let making = async move {
            for at in made {
                tokio::time::sleep_until(began + Duration::from_millis(at)).await;
                tell.send_replace((at, 10));
            }
            // Dropped, it closes the channel.
            sleep(Duration::from_secs(60)).await;
        };
        let telling = async {
            let mut told = Vec::new();
            for _ in 0..times {
                news_of(&mut progress).await;
                progress.see();
                told.push(began.elapsed().as_millis());
            }
            told
        };
        tokio::select! {
            told = telling => told,
            () = making => Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_told_soon_and_gathered_and_that_there_is_none_now_and_then() {
        assert_eq!(told([30, 40, 60, 150], 2).await, [130, 250]);
        assert_eq!(told([], 3).await, [5000, 10_000, 15_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_what_has_ended_does_not_spin() {
        let (tell, mut progress) = watch::channel((0, 10));
        drop(tell);
        let began = Instant::now();
        news_of(&mut progress).await;
        assert_eq!(began.elapsed(), STANDSTILL_EVERY);
    }
}
