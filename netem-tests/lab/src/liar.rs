//! An agent that lies: it says that it has the whole file, sends wrong bytes to whoever asks it for pieces, and fetches none.
//!
//! In all else it is as the herd wants it: its certificate is good, the manifest that it gives is right, and pieces have the length
//! that they should have, so that who asks finds out as late as can be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use rdcq_config::Config;
use rdcq_env::Env;
use rdcq_runtime::{Bound, Host, Member, data_ports, load_credentials};
use rdcq_transport::{IncomingCall, Pool, Refusal, Scope, Service};
use rdcq_wire::message::{
    Announce, Complete, Encoding, Failure, GetManifest, GetPieces, Goal, Have, MAX_SPAN_BYTES, ManifestBody,
    Pieces, Watch,
};
use rdcq_wire::{Class, Digest, ErrorCode, Kind, List, Manifest, Role, Span};
use serde::{Deserialize, Serialize};

use crate::report;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The agent's settings.
    #[arg(long)]
    config: PathBuf,
    /// The file of which it says that it has it.
    #[arg(long)]
    digest: Digest,
    #[arg(long)]
    manifest: Digest,
}

/// Pieces that were told wrong to one who asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Lie {
    /// The node that asked.
    pub(crate) to: String,
    pub(crate) pieces: u32,
    pub(crate) bytes: u64,
}

/// Lies until it is killed; its first line is that it is ready, each other one is a lie.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { config: path, digest, manifest } = arguments;
    let config = Config::parse(&std::fs::read_to_string(&path)?, &path.display().to_string())?;
    let agent = config.agent.context("the settings are no agent's")?;
    let host = Host::system();
    let member = Member {
        credentials: Arc::new(load_credentials(&host.env, &config.identity).await?),
        data_dir: config.data_dir,
        limits: config.limits,
        transport: config.transport,
    };
    let bound = Bound::bind(&host, member, Role::Agent, agent.listen, data_ports(&agent.data_ports))?;
    let (endpoint, pool, env) = (bound.endpoint.clone(), bound.pool.clone(), host.env.clone());
    let origin = *config.herd.origins.first().context("the settings name no origin")?;
    let request = GetManifest { digest, manifest };
    let answer = pool.call(origin, Role::Origin, scope(&env), &request, Vec::new()).await?;
    let manifest = Manifest::decode(&answer.body.collect().await?.concat())?;
    endpoint.serve(Role::Agent, Arc::new(Liar { digest, manifest }));
    let tracker = *config.herd.trackers.first().context("the settings name no tracker")?;
    let digests = List::first_of([digest]);
    let announce = Announce { digests, goal: Goal::Seed, port: bound.addr().port() };
    let mut again = said(&pool, &env, tracker, &announce).await?;
    report::print(&"ready")?;
    loop {
        tokio::time::sleep(again).await;
        // Who knows it already asks it also when the tracker is gone.
        again = said(&pool, &env, tracker, &announce).await.unwrap_or(again);
    }
}

/// Tells the tracker that it has the file, and returns when that is to be repeated.
async fn said(
    pool: &Pool,
    env: &Env,
    tracker: std::net::SocketAddr,
    announce: &Announce,
) -> anyhow::Result<Duration> {
    let answer = pool.call(tracker, Role::Tracker, scope(env), announce, Vec::new()).await?;
    Ok(Duration::from_millis(answer.message.again_ms.into()))
}

fn scope(env: &Env) -> Scope {
    Scope { trace: env.random_u64(), deadline: env.now() + PATIENCE, class: Class::Normal }
}

struct Liar {
    digest: Digest,
    manifest: Manifest,
}

impl Service for Liar {
    async fn call(self: Arc<Self>, call: IncomingCall) -> Result<(), Refusal> {
        match call.kind() {
            Kind::Watch => self.watch(call).await,
            Kind::GetManifest => self.get_manifest(call).await,
            Kind::GetPieces => self.get_pieces(call).await,
            other => {
                Err(Failure::new(ErrorCode::Unsupported, format!("{other} is not what it is for")).into())
            }
        }
    }
}

impl Liar {
    /// It has everything.
    async fn watch(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let Watch { digest } = call.request()?;
        self.check(digest)?;
        let all = Span::new(0, self.manifest.pieces.len());
        call.reply(&Have { spans: List::first_of([all]), complete: Complete::Whole }, Vec::new()).await
    }

    async fn get_manifest(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let GetManifest { digest, .. } = call.request()?;
        self.check(digest)?;
        call.reply(&ManifestBody {}, vec![self.manifest.encode().into()]).await
    }

    /// At once, whoever else is being sent something, and as many as fit.
    async fn get_pieces(&self, mut call: IncomingCall) -> Result<(), Refusal> {
        let GetPieces { digest, span } = call.request()?;
        self.check(digest)?;
        let pieces = &self.manifest.pieces;
        let fitting = (1..=span.count).rev().find_map(|count| {
            let span = Span { count, ..span };
            let bytes = pieces.bytes_of_span(span).map(|range| range.end - range.start)?;
            (bytes <= MAX_SPAN_BYTES.into()).then_some((span, bytes))
        });
        let not_there = || Failure::new(ErrorCode::NotFound, format!("{span:?} are not in {digest}"));
        let (span, bytes) = fitting.ok_or_else(not_there)?;
        let wrong = Bytes::from(vec![WRONG; bytes as usize]);
        let to = call.peer().node.to_string();
        call.reply(&Pieces { span, encoding: Encoding::Raw }, vec![wrong]).await?;
        // Who reads what it says finds fewer lies than there were; nothing else goes wrong.
        let _ = report::print(&Lie { to, pieces: span.count, bytes });
        Ok(())
    }

    fn check(&self, digest: Digest) -> Result<(), Failure> {
        let not_here = || Failure::new(ErrorCode::NotFound, format!("{digest} is not here"));
        (digest == self.digest).then_some(()).ok_or_else(not_here)
    }
}

/// What all of its pieces consist of; those of the lab's files are random.
const WRONG: u8 = 0x5a;
