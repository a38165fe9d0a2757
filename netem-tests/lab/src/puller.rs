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
}

/// Payload that the streams brought from when it counted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pulled {
    pub(crate) seconds: f64,
    pub(crate) bytes: Vec<u64>,
}

impl Pulled {
    /// What all streams brought.
    pub(crate) fn sum(&self) -> u64 {
        self.bytes.iter().sum()
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { config, origin, digest, manifest, class, pieces: span, streams, ms, from_ms } = arguments;
    let config = Config::parse(&std::fs::read_to_string(&config)?, &config.display().to_string())?;
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
    let scope = Scope { trace: 1, deadline: began + PATIENCE, class };
    let answer =
        pool.call(origin, Role::Origin, scope, &GetManifest { digest, manifest }, Vec::new()).await?;
    let pieces = Manifest::decode(&answer.body.collect().await?.concat())?.pieces.len();
    let received: Arc<[AtomicU64]> = (0..streams).map(|_| AtomicU64::new(0)).collect();
    let tasks: Vec<_> = (0..streams)
        .map(|stream| {
            let (pool, received) = (pool.clone(), Arc::clone(&received));
            tokio::spawn(async move {
                // Each begins elsewhere in the file.
                for number in (0..).map(|round: u32| stream.wrapping_mul(7919).wrapping_add(round) % pieces) {
                    let count = span.min(pieces - number);
                    let request = GetPieces { digest, span: Span { first: PieceIndex(number), count } };
                    let Ok(answer) = pool.call(origin, Role::Origin, scope, &request, Vec::new()).await
                    else {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let mut body = answer.body;
                    while let Ok(Some(chunk)) = body.next().await {
                        received[stream as usize].fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let look = || received.iter().map(|bytes| bytes.load(Ordering::Relaxed)).collect::<Vec<_>>();
    tokio::time::sleep_until(began + Duration::from_millis(from_ms)).await;
    let (since, before) = (host.env.now(), look());
    tokio::time::sleep_until(began + Duration::from_millis(ms)).await;
    let (seconds, after) = ((host.env.now() - since).as_secs_f64(), look());
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    // Or the origin would go on for somebody who is gone.
    endpoint.drain(Duration::from_millis(100)).await;
    let bytes = after.into_iter().zip(before).map(|(after, before)| after - before).collect();
    report::print(&Pulled { seconds, bytes })
}
