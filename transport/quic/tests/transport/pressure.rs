//! Peers that take much and give little: what each can cost is bounded, a bystander does not notice, and nothing is left.

mod claimed;
mod strangers;
mod torn;
mod unread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rdcq_transport::{Connection, IncomingCall, Limits, Refusal};
use rdcq_wire::message::GetPieces;
use rdcq_wire::{Context, Kind};

use crate::pair::{Pair, get_pieces, pieces, reply_pieces, soon};
use crate::raw::{CONTEXT, Port};

const MIB: u64 = 1024 * 1024;
/// What one connection can make the transport keep.
struct Windows {
    /// Of replies until they are acknowledged.
    send: u64,
    /// Of one stream that nobody reads.
    stream: u64,
    /// Of all streams that nobody reads.
    connection: u64,
}

const fn windows(port: Port) -> Windows {
    match port {
        Port::Control => Windows { send: MIB / 4, stream: MIB / 4, connection: MIB / 4 },
        Port::Data => Windows { send: 8 * MIB, stream: 4 * MIB, connection: 16 * MIB },
    }
}

/// What a body is handed over in.
const CHUNK: usize = 32 * 1024;
/// How many streams these peers use.
const STREAMS: u32 = 64;
/// How long a peer may keep the server waiting in these tests; a machine under load takes a while to say Hello.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing has to happen to say that it does not.
const SHORT: Duration = Duration::from_millis(300);

/// Limits that let a test see their end.
fn limits() -> Limits {
    Limits { max_streams: STREAMS, hello_timeout: PATIENCE, ..Limits::default() }
}

/// The same with an end to silence, too.
fn limits_of_silence() -> Limits {
    Limits { idle_timeout: Duration::from_secs(2), keep_alive: Duration::from_secs(1), ..limits() }
}

/// A header's beginning of a call that is over soon.
fn brief() -> Context {
    Context { time_left_ms: SHORT.as_millis() as u32, ..CONTEXT }
}

/// Waits for what another task does.
async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A number that goes up while something lives.
#[derive(Clone, Default)]
struct Live(Arc<AtomicUsize>);

struct Alive(Arc<AtomicUsize>);

impl Live {
    fn enter(&self) -> Alive {
        self.0.fetch_add(1, Ordering::SeqCst);
        Alive(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A service that replies without end to whoever asks for [`ENDLESS`], and counts what was taken from it; bodies it leaves
/// unread. A bystander asks for anything else.
#[derive(Clone, Default)]
struct Generous {
    taken: Arc<AtomicU64>,
    calls: Live,
}

const ENDLESS: u32 = 1_000_000;

impl Generous {
    fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    async fn serve(self, mut call: IncomingCall) -> Result<(), Refusal> {
        let _alive = self.calls.enter();
        if call.kind() == Kind::PutPieces {
            return std::future::pending().await;
        }
        let request: GetPieces = call.request()?;
        if request.span.first.0 < ENDLESS {
            return reply_pieces(call).await;
        }
        let chunk = Bytes::from(vec![7; CHUNK]);
        loop {
            call.reply(&pieces(0), vec![chunk.clone()]).await?;
            self.taken.fetch_add(CHUNK as u64, Ordering::SeqCst);
        }
    }
}

async fn works<F, Fut>(pair: &Pair<F>, bystander: &Connection)
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    let answer = bystander.call(pair.scope(), &get_pieces(1), Vec::new()).await.unwrap();
    assert_eq!(answer.body.collect().await.unwrap().concat(), b"piece");
}

/// Waits for what becomes of another peer, while the bystander goes on.
async fn works_until<F, Fut>(pair: &Pair<F>, bystander: &Connection, mut holds: impl FnMut() -> bool)
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    soon(async {
        loop {
            works(pair, bystander).await;
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The server has no call left: it can go away at once.
async fn nothing_is_left<F, Fut>(pair: &Pair<F>)
where
    F: Fn(IncomingCall) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Refusal>> + Send,
{
    let begun = pair.env.now();
    pair.server.drain(Duration::from_secs(20)).await;
    let took = pair.env.now() - begun;
    assert!(took < Duration::from_secs(5), "a call held up the drain for {took:?}");
}
