//! A node that asks an origin for pieces on many streams at once, and throws them away.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use rdcq_config::Config;
use rdcq_runtime::{Host, load_credentials, security};
use rdcq_transport::{Endpoint, Limits, Pool, Scope};
use rdcq_wire::message::{GetManifest, GetPieces};
use rdcq_wire::{Class, Digest, Manifest, PieceIndex, Role, Span};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::report;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The node's settings, for its certificate.
    #[arg(long)]
    config: PathBuf,
    /// The origin.
    #[arg(long)]
    origin: SocketAddr,
    #[arg(long)]
    digest: Digest,
    #[arg(long)]
    manifest: Digest,
    #[arg(long)]
    class: Class,
    /// Pieces asked for at once.
    #[arg(long)]
    pieces: u32,
    /// Requests under way at once.
    #[arg(long)]
    streams: u32,
    /// For how long, in milliseconds.
    #[arg(long)]
    ms: u64,
    /// When what is received begins to count, in milliseconds.
    #[arg(long, default_value_t = 0)]
    from_ms: u64,
    /// When it wants nothing for a while, in milliseconds: from and until.
    #[arg(long, num_args = 2, value_names = ["FROM", "UNTIL"])]
    rest_ms: Vec<u64>,
}

/// Payload that the streams brought from when it counted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pulled {
    pub(crate) seconds: f64,
    pub(crate) bytes: Vec<u64>,
    /// Requests that ended before all was there, while they counted.
    pub(crate) failed: u64,
}

impl Pulled {
    /// What all streams brought.
    pub(crate) fn sum(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config =
        Config::parse(&std::fs::read_to_string(&arguments.config)?, &arguments.config.display().to_string())?;
    let host = Host::system();
    let credentials = load_credentials(&host.env, &config.identity).await?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let endpoint = Endpoint::open(
        &host.env,
        host.network.as_ref(),
        any,
        security(&credentials),
        Limits::default(),
        &host.bandwidth,
    )?;
    let pool = Pool::new(host.env.clone(), endpoint.clone());
    let began = host.env.now();
    let at = |ms| began + Duration::from_millis(ms);
    let streams = Streams::new(pool, &arguments, began).await?;
    let (rest, until) = match *arguments.rest_ms {
        [from, until] => (at(from), at(until)),
        _ => (at(arguments.ms), at(arguments.ms)),
    };
    let first = streams.start();
    tokio::time::sleep_until(at(arguments.from_ms)).await;
    let (since, before) = (host.env.now(), streams.look());
    tokio::time::sleep_until(rest).await;
    // What is under way is cancelled.
    drop(first);
    tokio::time::sleep_until(until).await;
    let second = streams.start();
    tokio::time::sleep_until(at(arguments.ms)).await;
    let (seconds, after) = ((host.env.now() - since).as_secs_f64(), streams.look());
    drop(second);
    // Or the origin would go on for somebody who is gone.
    endpoint.drain(Duration::from_millis(100)).await;
    let bytes = after.bytes.into_iter().zip(before.bytes).map(|(after, before)| after - before).collect();
    report::print(&Pulled { seconds, bytes, failed: after.failed - before.failed })
}

/// Streams that ask for one span after the other.
struct Streams(Arc<Shared>);

struct Shared {
    pool: Pool,
    origin: SocketAddr,
    scope: Scope,
    digest: Digest,
    /// Pieces of the file.
    pieces: u32,
    /// Pieces asked for at once.
    span: u32,
    received: Box<[AtomicU64]>,
    failed: AtomicU64,
}

/// What came until now.
struct Look {
    bytes: Vec<u64>,
    failed: u64,
}

impl Streams {
    async fn new(pool: Pool, arguments: &Arguments, began: Instant) -> anyhow::Result<Self> {
        let Arguments { origin, digest, manifest, class, pieces: span, streams, .. } = *arguments;
        let scope = Scope { trace: 1, deadline: began + PATIENCE, class };
        let answer =
            pool.call(origin, Role::Origin, scope, &GetManifest { digest, manifest }, Vec::new()).await?;
        let pieces = Manifest::decode(&answer.body.collect().await?.concat())?.pieces.len();
        let received = (0..streams).map(|_| AtomicU64::new(0)).collect();
        let failed = AtomicU64::new(0);
        Ok(Self(Arc::new(Shared { pool, origin, scope, digest, pieces, span, received, failed })))
    }

    /// They ask until what is returned is dropped.
    fn start(&self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for stream in 0..self.0.received.len() {
            let shared = Arc::clone(&self.0);
            tasks.spawn(async move { shared.ask(stream).await });
        }
        tasks
    }

    fn look(&self) -> Look {
        let bytes = self.0.received.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect();
        Look { bytes, failed: self.0.failed.load(Ordering::Relaxed) }
    }
}

impl Shared {
    async fn ask(&self, stream: usize) {
        // Each begins elsewhere in the file.
        let mut number = (stream as u32).wrapping_mul(7919);
        loop {
            number = number.wrapping_add(1) % self.pieces;
            if !self.ask_for(stream, number).await {
                self.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Whether all that was asked for came.
    async fn ask_for(&self, stream: usize, first: u32) -> bool {
        let span = Span { first: PieceIndex(first), count: self.span.min(self.pieces - first) };
        let request = GetPieces { digest: self.digest, span };
        let answer = self.pool.call(self.origin, Role::Origin, self.scope, &request, Vec::new()).await;
        let Ok(mut body) = answer.map(|answer| answer.body) else { return false };
        loop {
            match body.next().await {
                Ok(Some(chunk)) => self.received[stream].fetch_add(chunk.len() as u64, Ordering::Relaxed),
                Ok(None) => return true,
                Err(_) => return false,
            };
        }
    }
}
