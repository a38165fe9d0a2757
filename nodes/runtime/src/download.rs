//! Brings one content to this node: the driver around the pure [`Swarm`](rdcq_swarm::Swarm).
//!
//! The swarm decides, the driver does: it finds neighbours, keeps a watch on what each of them has, sends the requests
//! that the swarm wants, checks and stores what comes, and tells the swarm how each thing went.

mod banned;
mod fetch;
mod neighbours;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdcq_env::{Env, watch};
use rdcq_store::{Begun, Check, ContentStore, Partial, StoreError};
use rdcq_swarm::{Action, Event, PeerId, PeerKind, RequestId, Settings, Start, Time};
use rdcq_transport::Pool;
use rdcq_wire::message::{Neighbour, Sources};
use rdcq_wire::{Class, Digest, Manifest, NodeId, PieceIndex, Role, Span};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::banned::Banned;
use self::neighbours::Wishes;
use crate::swarm_log::LoggedSwarm;

/// What is fetched, and by whom.
#[derive(Clone)]
pub struct Download {
    /// Clock and executors.
    pub env: Env,
    /// Connections to everybody.
    pub pool: Pool,
    /// Where the content goes.
    pub store: ContentStore,
    /// The content.
    pub digest: Digest,
    /// SHA-256 of its manifest, from the tag's record.
    pub manifest: Digest,
    /// Who is asked for neighbours.
    pub trackers: Vec<SocketAddr>,
    /// Who is asked for pieces when no tracker answers.
    pub origins: Vec<SocketAddr>,
    /// This node's name; it is nobody's neighbour of its own.
    pub node: NodeId,
    /// The port at which this node serves pieces.
    pub port: u16,
    /// The number of the command on whose behalf this is done.
    pub trace: u64,
    /// How much it matters beside others.
    pub class: Class,
}

/// Somebody who asked this node about the content that it is fetching, and so is fetching it too.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its name.
    pub node: NodeId,
    /// Where it serves.
    pub addr: SocketAddr,
}

/// How a download went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fetched {
    /// Where the bytes came from.
    pub sources: Sources,
}

/// Why a download ended without the content.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DownloadError {
    /// Nobody served for a long time.
    #[error(
        "nothing of {digest} came from anybody for {seconds} s: {why}; what was verified is kept, try again"
    )]
    Stalled {
        /// The content.
        digest: Digest,
        /// How long was waited.
        seconds: u64,
        /// What failed last.
        why: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

impl From<StoreError> for DownloadError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Download {
    /// After this long without a byte a download ends; a restarted server is back sooner.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// Fetches what is missing and makes the content whole. Verified bytes are counted into `progress` as
    /// `(done, size)`. Dropped half-way, it leaves what was verified for the next attempt.
    pub async fn run(
        self,
        arrivals: mpsc::Receiver<Arrival>,
        progress: watch::Sender<(u64, u64)>,
    ) -> Result<Fetched, DownloadError> {
        let (inputs, inbox) = mpsc::channel(INBOX);
        let wishes = Wishes::default();
        let seeking = self.env.spawn(neighbours::seek(self.clone(), wishes.clone(), inputs.clone()));
        let _seeking = AbortOnDropHandle::new(seeking);
        let mut inbox = inbox;
        let (manifest, known) = match self.store.manifest(&self.digest) {
            Some(manifest) => (manifest, Vec::new()),
            None => self.find_manifest(&mut inbox, &wishes).await?,
        };
        let mut fetched = Fetched::default();
        match self.store.begin(Arc::clone(&manifest)).await? {
            Begun::Complete => fetched.sources.held = manifest.pieces.size(),
            Begun::Partial(partial) => {
                let mut driver =
                    Driver::new(self.clone(), manifest, partial, inputs, inbox, arrivals, progress);
                driver.wishes = wishes;
                driver.join_all(known);
                driver.run().await?;
                fetched.sources = driver.sources();
                self.store.seal(&self.digest, Check::Pieces).await?;
            }
        }
        Ok(fetched)
    }

    /// Waits for neighbours and asks them for the manifest, agents first. Returns the neighbours, too.
    async fn find_manifest(
        &self,
        inbox: &mut mpsc::Receiver<Input>,
        wishes: &Wishes,
    ) -> Result<(Arc<Manifest>, Vec<Neighbour>), DownloadError> {
        let give_up = self.env.now() + Self::PATIENCE;
        let mut why = "no neighbour was found".to_owned();
        loop {
            let Ok(Some(input)) = tokio::time::timeout_at(give_up, inbox.recv()).await else {
                return Err(self.stalled(why));
            };
            let Input::Neighbours(neighbours) = input else { continue };
            match fetch::manifest(self, &neighbours).await {
                Ok(manifest) => return Ok((Arc::new(manifest), neighbours)),
                Err(error) => {
                    why = error;
                    wishes.more();
                }
            }
        }
    }

    fn stalled(&self, why: String) -> DownloadError {
        DownloadError::Stalled { digest: self.digest, seconds: Self::PATIENCE.as_secs(), why }
    }
}

/// Inputs that may wait for the driver; whoever has more waits with them.
const INBOX: usize = 1024;

/// What the driver's tasks tell it.
enum Input {
    Neighbours(Vec<Neighbour>),
    Has(PeerId, Vec<Span>),
    PeerLost(PeerId, String),
    /// Some of a request's answer has come.
    Bytes(RequestId),
    /// Whom a request was made of lives.
    Alive(RequestId),
    /// The node's own limit holds a request up.
    Held(RequestId),
    Verified(RequestId, Span, Role),
    Failed(RequestId, Trouble),
    StoreFailed(StoreError),
}

/// Why a request was not answered whole.
struct Trouble {
    failure: rdcq_swarm::Failure,
    why: String,
    /// Whose certificate answered, if anybody did.
    by: Option<NodeId>,
}

struct Peer {
    /// Its name, where it is known.
    node: Option<NodeId>,
    addr: SocketAddr,
    role: Role,
    /// Ends the watch when the peer is forgotten.
    _watch: AbortOnDropHandle<()>,
    /// Whether it has said what it has.
    has_spoken: bool,
    /// Offers that are being declined.
    declines: Vec<AbortOnDropHandle<()>>,
}

/// Bytes by the role of who sent them.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    origins: u64,
    agents: u64,
}

struct Driver {
    download: Download,
    manifest: Arc<Manifest>,
    partial: Partial,
    swarm: LoggedSwarm,
    started: Instant,
    peers: BTreeMap<PeerId, Peer>,
    banned: Banned,
    wishes: Wishes,
    /// How many were banned when others were asked for last.
    renewed_for: usize,
    next_peer: u32,
    requests: BTreeMap<RequestId, (PeerId, AbortOnDropHandle<()>)>,
    inputs: mpsc::Sender<Input>,
    inbox: mpsc::Receiver<Input>,
    arrivals: mpsc::Receiver<Arrival>,
    progress: watch::Sender<(u64, u64)>,
    held: u64,
    /// Verified bytes by who sent them, also in answer to a request that the swarm had given up by then.
    from: Sent,
    done: u64,
    last_heard: Instant,
    last_trouble: String,
}

impl Driver {
    fn new(
        download: Download,
        manifest: Arc<Manifest>,
        partial: Partial,
        inputs: mpsc::Sender<Input>,
        inbox: mpsc::Receiver<Input>,
        arrivals: mpsc::Receiver<Arrival>,
        progress: watch::Sender<(u64, u64)>,
    ) -> Self {
        let started = download.env.now();
        let have = partial.have();
        let lengths: Vec<u32> = manifest.pieces.iter().map(|piece| piece.len).collect();
        let held = have.iter().map(|piece| u64::from(lengths[piece.as_usize()])).sum();
        let swarm = LoggedSwarm::begin(Start {
            settings: Settings::default(),
            lengths,
            have: have.spans(),
            seed: download.env.random_u64(),
            now: Time::default(),
        });
        Self {
            swarm,
            started,
            last_heard: started,
            peers: BTreeMap::new(),
            banned: Banned::default(),
            wishes: Wishes::default(),
            renewed_for: 0,
            next_peer: 0,
            requests: BTreeMap::new(),
            held,
            from: Sent::default(),
            done: held,
            last_trouble: "nobody has it".to_owned(),
            download,
            manifest,
            partial,
            inputs,
            inbox,
            arrivals,
            progress,
        }
    }

    async fn run(&mut self) -> Result<(), DownloadError> {
        self.show_progress();
        while !self.swarm.is_complete() {
            self.act();
            let give_up = self.last_heard + Download::PATIENCE;
            let wake = self.swarm.poll_timeout().map_or(give_up, |at| (self.started + at.0).min(give_up));
            tokio::select! {
                biased;
                Some(input) = self.inbox.recv() => self.handle(input)?,
                Some(arrival) = self.arrivals.recv() => self.join(Neighbour {
                    node: Some(arrival.node),
                    role: Role::Agent,
                    addr: arrival.addr,
                }),
                () = tokio::time::sleep_until(wake) => {
                    if self.download.env.now() >= give_up {
                        return Err(self.download.stalled(self.last_trouble.clone()));
                    }
                    let now = self.now();
                    self.swarm.handle_timeout(now);
                }
            }
        }
        Ok(())
    }

    fn now(&self) -> Time {
        Time(self.download.env.now() - self.started)
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        self.swarm.handle_event(now, event);
    }

    fn handle(&mut self, input: Input) -> Result<(), DownloadError> {
        match input {
            Input::Neighbours(neighbours) => {
                self.join_all(neighbours);
                // Those few that are left would have to serve this node with all it lacks. Once for each ban: where there is nobody
                // else, asking again and again finds nobody either.
                if self.banned.len() > self.agents().max(self.renewed_for) {
                    self.renewed_for = self.banned.len();
                    self.wishes.others();
                }
            }
            Input::Has(peer, spans) => {
                if let Some(known) = self.peers.get_mut(&peer) {
                    known.has_spoken = true;
                }
                self.tell(Event::PeerHas { peer, spans });
            }
            Input::PeerLost(peer, why) => self.leave(peer, why),
            Input::Bytes(request) => {
                self.last_heard = self.download.env.now();
                self.tell(Event::Progress { request });
            }
            Input::Alive(request) => self.tell(Event::Alive { request }),
            Input::Held(request) => {
                self.last_heard = self.download.env.now();
                self.tell(Event::Alive { request });
            }
            Input::Verified(request, span, role) => self.verified(request, span, role),
            Input::Failed(request, trouble) => self.failed(request, trouble),
            Input::StoreFailed(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn join_all(&mut self, neighbours: Vec<Neighbour>) {
        neighbours.into_iter().for_each(|neighbour| self.join(neighbour));
    }

    fn join(&mut self, neighbour: Neighbour) {
        let is_banned = self.banned.contains(&neighbour);
        let Neighbour { node, role, addr } = neighbour;
        let myself = node.as_ref() == Some(&self.download.node) && role == Role::Agent;
        let known = self.peers.values().any(|peer| peer.addr == addr);
        let crowded = role != Role::Origin && self.agents() >= MAX_AGENTS;
        if myself || known || crowded || is_banned {
            return;
        }
        let id = PeerId(self.next_peer);
        self.next_peer += 1;
        let kind = if role == Role::Origin { PeerKind::Origin } else { PeerKind::Agent };
        let watch = neighbours::watch(self.download.clone(), addr, role, id, self.inputs.clone());
        let watch = AbortOnDropHandle::new(self.download.env.spawn(watch));
        self.peers
            .insert(id, Peer { node, addr, role, _watch: watch, has_spoken: false, declines: Vec::new() });
        self.tell(Event::PeerJoined { peer: id, kind });
    }

    /// How many agents it talks to.
    fn agents(&self) -> usize {
        self.peers.values().filter(|peer| peer.role != Role::Origin).count()
    }

    fn leave(&mut self, peer: PeerId, why: String) {
        if let Some(gone) = self.peers.remove(&peer) {
            self.last_trouble = why;
            self.requests.retain(|_, (asked, _)| *asked != peer);
            self.tell(Event::PeerLeft { peer });
            // It may be back already, or somebody else there instead. One that was never there is named again and again.
            if gone.has_spoken {
                self.wishes.more();
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.swarm.poll_action() {
            match action {
                Action::Request { request, peer, span } => self.request(request, peer, span),
                Action::Cancel { request } => drop(self.requests.remove(&request)),
                Action::Decline { peer, from } => self.decline(peer, from),
                Action::GiveUp { peer } => {
                    if let Some(Peer { addr, role, .. }) = self.peers.get(&peer) {
                        tracing::info!(%addr, %role, "silent; its pieces are asked elsewhere");
                        self.last_trouble = format!("{role} {addr} was silent");
                    }
                }
                Action::Ban { peer } => self.ban(peer),
            }
        }
    }

    fn ban(&mut self, peer: PeerId) {
        let Some(Peer { node, addr, role, .. }) = self.peers.remove(&peer) else { return };
        let (name, digest, evidence) =
            (node.as_ref().map_or("unknown", NodeId::as_str), self.download.digest, &self.last_trouble);
        tracing::warn!(target: "rdcq::audit", node = %name, %addr, %role, %digest, evidence, "banned: it sent wrong bytes");
        self.requests.retain(|_, (asked, _)| *asked != peer);
        self.banned.add(node, addr);
        self.wishes.more();
    }

    fn request(&mut self, request: RequestId, peer: PeerId, span: Span) {
        let Some(Peer { addr, role, .. }) = self.peers.get(&peer) else { return };
        let order = fetch::Order {
            addr: *addr,
            role: *role,
            request,
            span,
            manifest: Arc::clone(&self.manifest),
            partial: self.partial.clone(),
        };
        let task = self.download.env.spawn(fetch::pieces(self.download.clone(), order, self.inputs.clone()));
        self.requests.insert(request, (peer, AbortOnDropHandle::new(task)));
    }

    fn decline(&mut self, peer: PeerId, from: PieceIndex) {
        let Some(Peer { addr, role, declines, .. }) = self.peers.get_mut(&peer) else { return };
        declines.retain(|decline| !decline.is_finished());
        // An honest origin makes its next offer when it has heard of the last one, and may offer the same again.
        if declines.len() < MOST_DECLINES {
            let spans = self.swarm.covered(from);
            let decline = neighbours::decline(self.download.clone(), *addr, *role, spans);
            declines.push(AbortOnDropHandle::new(self.download.env.spawn(decline)));
        }
    }

    fn verified(&mut self, request: RequestId, span: Span, role: Role) {
        self.last_heard = self.download.env.now();
        let bytes: u64 = span.indices().map(|piece| self.bytes_of(piece)).sum();
        match role {
            Role::Origin => self.from.origins += bytes,
            _ => self.from.agents += bytes,
        }
        for piece in span.indices() {
            if !self.swarm.have().contains(piece) {
                self.done += self.bytes_of(piece);
            }
            self.tell(Event::PieceVerified { request, piece });
        }
        self.requests.remove(&request);
        self.tell(Event::RequestDone { request });
        self.show_progress();
    }

    fn failed(&mut self, request: RequestId, trouble: Trouble) {
        let Some((peer, _)) = self.requests.remove(&request) else { return };
        let Trouble { failure, why, by } = trouble;
        tracing::debug!(%why, "a request for pieces failed");
        self.last_trouble.clone_from(&why);
        if let (Some(by), Some(peer)) = (by, self.peers.get_mut(&peer)) {
            peer.node = Some(by);
        }
        let lost = matches!(failure, rdcq_swarm::Failure::Lost);
        self.tell(Event::RequestFailed { request, failure });
        if lost {
            self.leave(peer, why);
        }
    }

    fn bytes_of(&self, piece: PieceIndex) -> u64 {
        self.manifest.pieces.piece(piece).map_or(0, |piece| piece.len.into())
    }

    fn show_progress(&self) {
        self.progress.send_replace((self.done, self.manifest.pieces.size()));
    }

    fn sources(&self) -> Sources {
        let Sent { origins, agents } = self.from;
        Sources { origins, agents, held: self.held, duplicate: self.swarm.report().duplicate_bytes }
    }
}

/// Offers of one origin that are declined at once.
const MOST_DECLINES: usize = 4;

/// Most agents that one download talks to. Origins do not count: some pieces only they have.
const MAX_AGENTS: usize = 64;
