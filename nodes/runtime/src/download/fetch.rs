//! Fetching: a manifest, a span of pieces.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use rand::seq::SliceRandom;
use rdcq_store::{Partial, StoreError};
use rdcq_swarm::{Failure, RequestId};
use rdcq_transport::{CallError, Connection, Expected, Scope};
use rdcq_wire::message::{GetManifest, GetPieces, Neighbour, Pieces};
use rdcq_wire::{Class, Digest, ErrorCode, Manifest, Role, Span};
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use super::{Download, Input, Trouble};

/// How long a manifest may take.
const MANIFEST_PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever was asked for a manifest is waited for before somebody else is asked, too.
const MANIFEST_HEDGE: Duration = Duration::from_secs(1);
/// How long one request for pieces may take. The swarm gives a silent peer up much sooner.
const PIECES_PATIENCE: Duration = Duration::from_secs(600);
/// How often the swarm hears of a request whose bytes are coming: each word of it costs as much as some datagrams.
const STILL_COMING: Duration = Duration::from_millis(50);
/// How often the swarm hears of a request whose bytes are being written: well within the silence that it bears.
const STILL_WRITING: Duration = Duration::from_millis(250);
/// How often it is looked whether a peer lives from which a request has no bytes yet: often enough within the silence that the
/// swarm bears, and later than most answers.
const STILL_ALIVE: Duration = Duration::from_millis(400);
/// How long a request may last in which a peer lives and sends nothing of what it was asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Agents asked for a manifest before the origins are: each may have it, none must.
const AGENTS_ASKED: usize = 2;

/// Asks neighbours for the manifest until one has it; says what failed last if none does. Agents come first, which wait
/// until they have it if they fetch it themselves: an origin would send it to each of thousands. The tracker names those
/// who asked it before; should some wait for one another all the same, they do so for seconds.
pub(super) async fn manifest(download: &Download, neighbours: &[Neighbour]) -> Result<Manifest, String> {
    let (mut agents, mut origins): (Vec<_>, Vec<_>) = neighbours.iter().partition(|n| n.role == Role::Agent);
    agents.retain(|neighbour| neighbour.node.as_ref() != Some(&download.node));
    agents.shuffle(&mut download.env.rng());
    origins.shuffle(&mut download.env.rng());
    agents.truncate(AGENTS_ASKED);
    agents.extend(origins);
    let mut others = agents.into_iter().peekable();
    let mut asked: FuturesUnordered<BoxFuture<'static, _>> = FuturesUnordered::new();
    let mut why = "no neighbour was found".to_owned();
    loop {
        match others.next() {
            Some(neighbour) => asked.push(manifest_from(download.clone(), neighbour.clone()).boxed()),
            None if asked.is_empty() => return Err(why),
            None => {}
        }
        let hedge =
            download.env.now() + if others.peek().is_some() { MANIFEST_HEDGE } else { MANIFEST_PATIENCE };
        match timeout_at(hedge, asked.next()).await {
            Ok(Some(Ok(manifest))) => return Ok(manifest),
            Ok(Some(Err(error))) => why = error,
            Ok(None) | Err(_) => {}
        }
    }
}

/// Asks one neighbour for the manifest. Pieces will be asked of it next, so a connection for them is opened meanwhile.
async fn manifest_from(download: Download, from: Neighbour) -> Result<Manifest, String> {
    let (pool, addr, role) = (download.pool.clone(), from.addr, from.role);
    let deadline = download.env.now() + MANIFEST_PATIENCE;
    // Whoever asks for pieces tells what is wrong with it.
    let dialling = download.env.spawn(async move { pool.get_data(addr, role, deadline).await.ok() });
    let _dialling = AbortOnDropHandle::new(dialling);
    let scope = Scope { trace: download.trace, deadline, class: download.class };
    let request = GetManifest { digest: download.digest, manifest: download.manifest };
    let answer = download.pool.call(addr, role, scope, &request, Vec::new()).await;
    let body = answer.map_err(|error| told(&from, error))?.body;
    let bytes = body.collect().await.map_err(|error| told(&from, error))?.concat();
    let manifest = checked(&bytes, &download);
    if manifest.is_none() {
        let digest = download.digest;
        tracing::warn!(target: "rdcq::audit", %addr, %role, %digest, "it sent a wrong manifest");
    }
    manifest.ok_or_else(|| told(&from, "it sent a wrong manifest"))
}

/// What went wrong, and with whom.
fn told(from: &Neighbour, error: impl Display) -> String {
    format!("{} {}: {error}", from.role, from.addr)
}

/// The manifest that the tag's record promised, or nothing.
fn checked(bytes: &[u8], download: &Download) -> Option<Manifest> {
    if Digest::of(bytes) != download.manifest {
        return None;
    }
    Manifest::decode(bytes).ok().filter(|manifest| manifest.content == download.digest)
}

/// One request for pieces.
pub(super) struct Order {
    pub(super) addr: SocketAddr,
    pub(super) role: Role,
    pub(super) request: RequestId,
    pub(super) span: Span,
    pub(super) manifest: Arc<Manifest>,
    pub(super) partial: Partial,
}

impl Order {
    /// What went wrong, and with whom.
    fn told(&self, error: &CallError) -> String {
        format!("{} {}: {error}", self.role, self.addr)
    }
}

/// Fetches, checks and stores a span, and says how it went.
pub(super) async fn pieces(download: Download, order: Order, inputs: mpsc::Sender<Input>) {
    let deadline = download.env.now() + PIECES_PATIENCE;
    let input = match download.pool.get_data(order.addr, order.role, deadline).await {
        // The bytes stay on the thread that receives them.
        Ok(connection) => {
            let env = connection.env().clone();
            // It is there already, or data would have nowhere to go; nobody waits for another one.
            let control = download.pool.get(order.addr, order.role, download.env.now()).await.ok();
            let life = Life::new(connection.clone(), control);
            let fetching = fetch(download, order, connection, life, inputs.clone());
            match AbortOnDropHandle::new(env.spawn(fetching)).await {
                Ok(input) => input,
                Err(stopped) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
                // The runtime is shutting down.
                Err(_) => return,
            }
        }
        Err(error) => {
            let trouble = Trouble { failure: kind_of(&error), why: order.told(&error), by: None };
            Input::Failed(order.request, trouble)
        }
    };
    // The driver may be gone; then nobody needs to know.
    let _ = inputs.send(input).await;
}

async fn fetch(
    download: Download,
    order: Order,
    connection: Connection,
    life: Life,
    inputs: mpsc::Sender<Input>,
) -> Input {
    let request = order.request;
    let by = connection.peer().node.clone();
    let failed = |failure, why| Input::Failed(request, Trouble { failure, why, by: Some(by) });
    let _expected = make_room(connection, download.class, &order, &inputs).await;
    match life.attend(&download, &order, &inputs, receive(&download, &order, &inputs)).await {
        Ok((span, bytes)) => match store(&order, span, bytes, &inputs).await {
            Ok(()) => Input::Verified(request, span, order.role),
            Err(error @ StoreError::WrongBytes { .. }) => {
                failed(Failure::WrongBytes, format!("{} {}: {error}", order.role, order.addr))
            }
            Err(error) => Input::StoreFailed(error),
        },
        Err((failure, why)) => failed(failure, why),
    }
}

/// Whether anything at all comes from a peer. One that serves many downloads, or many nodes, over a slow link lets a request wait
/// for long without being silent.
struct Life {
    connections: Vec<Connection>,
    heard: u64,
}

impl Life {
    fn new(data: Connection, control: Option<Connection>) -> Self {
        let connections: Vec<Connection> = [data].into_iter().chain(control).collect();
        let heard = Self::heard(&connections);
        Self { connections, heard }
    }

    fn heard(connections: &[Connection]) -> u64 {
        connections.iter().map(Connection::datagrams_received).sum()
    }

    /// Whether the peer was heard of since this was asked last.
    fn goes_on(&mut self) -> bool {
        let heard = Self::heard(&self.connections);
        std::mem::replace(&mut self.heard, heard) != heard
    }

    /// Waits for what is received, and tells the swarm meanwhile that the peer lives, if it does.
    async fn attend<T>(
        mut self,
        download: &Download,
        order: &Order,
        inputs: &mpsc::Sender<Input>,
        receiving: impl Future<Output = T>,
    ) -> T {
        let until = download.env.now() + LONGEST_WAIT;
        tokio::pin!(receiving);
        loop {
            tokio::select! {
                biased;
                received = &mut receiving => return received,
                () = tokio::time::sleep(STILL_ALIVE) => {
                    if self.goes_on() && download.env.now() < until {
                        // A full inbox means that the driver will not believe in silence before it has read it.
                        let _ = inputs.try_send(Input::Alive(order.request));
                    }
                }
            }
        }
    }
}

/// Checks and stores what came. However long the disk takes, a peer whose bytes are here is not silent.
async fn store(
    order: &Order,
    span: Span,
    bytes: Bytes,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), StoreError> {
    let writing = order.partial.write_span(span, vec![bytes]);
    tokio::pin!(writing);
    loop {
        tokio::select! {
            biased;
            written = &mut writing => return written,
            () = tokio::time::sleep(STILL_WRITING) => {
                // A full inbox means that the driver will not believe in silence before it has read it.
                let _ = inputs.try_send(Input::Bytes(order.request));
            }
        }
    }
}

async fn receive(
    download: &Download,
    order: &Order,
    inputs: &mpsc::Sender<Input>,
) -> Result<(Span, Bytes), (Failure, String)> {
    let failed = |error: CallError| (kind_of(&error), order.told(&error));
    let scope = Scope {
        trace: download.trace,
        deadline: download.env.now() + PIECES_PATIENCE,
        class: download.class,
    };
    let request = GetPieces { digest: download.digest, span: order.span };
    let call = download.pool.call(order.addr, order.role, scope, &request, Vec::new());
    let answer = call.await.map_err(failed)?;
    let Pieces { span, .. } = answer.message;
    let mut body = answer.body;
    let announced = u64::from(body.remaining());
    let wanted = order.manifest.pieces.bytes_of_span(span).map(|range| range.end - range.start);
    if span.first != order.span.first || span.count > order.span.count || wanted != Some(announced) {
        let why = format!("{} {}: it answered {span:?} with {announced} bytes", order.role, order.addr);
        return Err((Failure::WrongBytes, why));
    }
    let mut bytes = order.partial.buffer(usize::try_from(announced).unwrap_or(usize::MAX));
    let mut told = None;
    while body.next_batch(|chunk| bytes.extend_from_slice(chunk)).await.map_err(failed)? {
        let now = download.env.now();
        if told.is_none_or(|told| now >= told + STILL_COMING) {
            told = Some(now);
            // A full inbox means that the driver will not believe in silence before it has read it.
            let _ = inputs.try_send(Input::Bytes(order.request));
        }
    }
    Ok((span, bytes.freeze()))
}

/// Waits until the node may take in what is about to be asked for. The swarm is told meanwhile that it is not the peer who is
/// silent.
async fn make_room(
    connection: Connection,
    class: Class,
    order: &Order,
    inputs: &mpsc::Sender<Input>,
) -> Option<Expected> {
    let range = order.manifest.pieces.bytes_of_span(order.span);
    let bytes = range.map_or(0, |range| range.end - range.start);
    let expecting = connection.expect(class, bytes);
    tokio::pin!(expecting);
    loop {
        tokio::select! {
            biased;
            expected = &mut expecting => return Some(expected),
            () = tokio::time::sleep(STILL_WRITING) => {
                // If the peer is gone, the call finds out.
                if !connection.is_usable() {
                    return None;
                }
                // A full inbox means that the driver will not believe in silence before it has read it.
                let _ = inputs.try_send(Input::Held(order.request));
            }
        }
    }
}

fn kind_of(error: &CallError) -> Failure {
    match error {
        CallError::Failed(failure) => match failure.code {
            ErrorCode::Busy => {
                Failure::Busy { retry_after: Duration::from_millis(failure.retry_after_ms.into()) }
            }
            _ => Failure::NotHeld,
        },
        CallError::Protocol(_) => Failure::WrongBytes,
        _ => Failure::Lost,
    }
}
