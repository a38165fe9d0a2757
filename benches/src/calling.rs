//! The processes that call a node or a bare server, both with the same loops and the same measuring.
//!
//! Orders: `open N`, `alive`, `close`, `handshakes SECONDS`, `requests IN_FLIGHT SECONDS`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use rdcq_wire::Role;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use crate::client::{Caller, Dialler, Held, Member};
use crate::processes;

/// Connections from one socket.
const PER_SOCKET: usize = 1000;
/// Handshakes at once while many connections are opened.
const OPENING: usize = 32;
/// Handshakes at once while they are counted.
const SHAKING: usize = 16;
/// Connections that are asked whether they still answer.
const SAMPLE: usize = 200;

/// One of the two that are compared.
pub(crate) trait Side: Send + Sync + 'static {
    /// What connections are opened from.
    type Socket: Clone + Send + Sync + 'static;
    /// A connection; closed when dropped.
    type Held: Send + Sync + 'static;

    fn socket(&self) -> anyhow::Result<Self::Socket>;

    /// Opens a connection and waits for the server's greeting, if there is one.
    fn connect(
        self: Arc<Self>,
        socket: Self::Socket,
    ) -> impl Future<Output = anyhow::Result<Self::Held>> + Send;

    fn is_alive(held: &Self::Held) -> bool;

    /// Asks for next to nothing on a connection, where the server answers.
    fn check(held: &Self::Held) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// One request on the one connection for requests, and its answer.
    fn ask(self: Arc<Self>, socket: Self::Socket) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Closes all connections from a socket.
    fn close(socket: &Self::Socket);
}

/// How many connections are alive.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Alive {
    pub(crate) usable: usize,
    /// Of a sample, how many answered a request.
    pub(crate) answered: usize,
    pub(crate) sample: usize,
}

/// How often something was done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) count: usize,
    /// Microseconds that the median, and 99 of 100, took at most.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Carries out orders until the parent goes away.
pub(crate) async fn run<S: Side>(side: S) -> anyhow::Result<()> {
    let side = Arc::new(side);
    let mut orders = processes::orders();
    let socket = side.socket()?;
    let (mut sockets, mut held) = (Vec::new(), Vec::new());
    processes::say("ready")?;
    while let Some(order) = orders.recv().await {
        let words: Vec<&str> = order.split_whitespace().collect();
        match words[..] {
            ["open", count] => {
                let started = Instant::now();
                (sockets, held) = open(&side, count.parse()?).await?;
                processes::answer(&started.elapsed().as_secs_f64())?;
            }
            ["alive"] => processes::answer(&alive::<S>(&held).await)?,
            ["close"] => {
                held.clear();
                sockets.drain(..).for_each(|socket| S::close(&socket));
                processes::answer(&())?;
            }
            ["handshakes", seconds] => {
                let (side, socket) = (Arc::clone(&side), socket.clone());
                let shake = move || {
                    let connecting = Arc::clone(&side).connect(socket.clone());
                    async move { connecting.await.map(drop) }
                };
                processes::answer(&measure(SHAKING, seconds.parse()?, shake).await?)?;
            }
            ["requests", in_flight, seconds] => {
                let (side, socket) = (Arc::clone(&side), socket.clone());
                // The first makes the connection.
                Arc::clone(&side).ask(socket.clone()).await?;
                let ask = move || Arc::clone(&side).ask(socket.clone());
                processes::answer(&measure(in_flight.parse()?, seconds.parse()?, ask).await?)?;
            }
            _ => anyhow::bail!("a caller is told {order:?}"),
        }
    }
    Ok(())
}

/// Opens connections, a few at a time. All or none.
async fn open<S: Side>(side: &Arc<S>, count: usize) -> anyhow::Result<(Vec<S::Socket>, Vec<S::Held>)> {
    let sockets: Vec<S::Socket> =
        (0..count.div_ceil(PER_SOCKET)).map(|_| side.socket()).collect::<Result<_, _>>()?;
    let (mut held, mut opening) = (Vec::with_capacity(count), JoinSet::new());
    for number in 0..count {
        if opening.len() >= OPENING {
            held.push(opened(&mut opening).await?);
        }
        opening.spawn(Arc::clone(side).connect(sockets[number / PER_SOCKET].clone()));
    }
    while !opening.is_empty() {
        held.push(opened(&mut opening).await?);
    }
    Ok((sockets, held))
}

async fn opened<T: 'static>(opening: &mut JoinSet<anyhow::Result<T>>) -> anyhow::Result<T> {
    opening.join_next().await.context("a connection that is being opened")??
}

async fn alive<S: Side>(held: &[S::Held]) -> Alive {
    let usable = held.iter().filter(|held| S::is_alive(held)).count();
    let sample = held.iter().step_by((held.len() / SAMPLE).max(1)).take(SAMPLE);
    let (mut answered, mut asked) = (0, 0);
    for held in sample {
        asked += 1;
        answered += usize::from(S::check(held).await.is_ok());
    }
    Alive { usable, answered, sample: asked }
}

/// Does something over and over for some seconds, `in_flight` at a time.
async fn measure<F>(
    in_flight: usize,
    seconds: f64,
    work: impl Fn() -> F + Clone + Send + 'static,
) -> anyhow::Result<Rate>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(seconds);
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let work = work.clone();
        workers.spawn(async move {
            let mut took_us = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                work().await?;
                took_us.push(began.elapsed().as_secs_f32() * 1e6);
            }
            anyhow::Ok(took_us)
        });
    }
    let mut took_us = Vec::new();
    while let Some(worker) = workers.join_next().await {
        took_us.extend(worker??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    took_us.sort_by(f32::total_cmp);
    let at = |share: f64| {
        let rank = (took_us.len() as f64 * share) as usize;
        took_us.get(rank.min(took_us.len().saturating_sub(1))).copied().map_or(f64::NAN, f64::from)
    };
    let count = took_us.len();
    Ok(Rate { per_second: count as f64 / elapsed, count, p50_us: at(0.5), p99_us: at(0.99) })
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder with ca.pem, node.pem and node.key.
    certs: PathBuf,
    /// Where the node listens.
    server: SocketAddr,
    /// As what it serves.
    role: Role,
}

/// Calls a node.
pub(crate) struct Rdcq {
    member: Member,
    server: SocketAddr,
    role: Role,
    asking: OnceCell<Caller>,
}

impl Rdcq {
    pub(crate) fn new(arguments: Arguments) -> anyhow::Result<Self> {
        let Arguments { certs, server, role } = arguments;
        Ok(Self { member: Member::load(&certs)?, server, role, asking: OnceCell::new() })
    }
}

impl Side for Rdcq {
    type Socket = Dialler;
    type Held = Held;

    fn socket(&self) -> anyhow::Result<Dialler> {
        self.member.dialler()
    }

    async fn connect(self: Arc<Self>, socket: Dialler) -> anyhow::Result<Held> {
        socket.connect(self.server, self.role).await
    }

    fn is_alive(held: &Held) -> bool {
        held.is_alive()
    }

    async fn check(held: &Held) -> anyhow::Result<()> {
        held.ask().await
    }

    async fn ask(self: Arc<Self>, socket: Dialler) -> anyhow::Result<()> {
        let caller = self.asking.get_or_init(|| async { socket.caller(self.server, self.role) }).await;
        caller.ask().await
    }

    fn close(socket: &Dialler) {
        socket.close();
    }
}
