//! Finding neighbours, and hearing from each what it has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdcq_swarm::PeerId;
use rdcq_transport::{CallError, Scope};
use rdcq_wire::message::{Announce, Decline, Goal, Have, Neighbour, Neighbours, Watch};
use rdcq_wire::{ErrorCode, List, Role, Span};
use tokio::sync::mpsc;

use super::{Download, Input};

/// How long a tracker may take to answer.
const TRACKER_PATIENCE: Duration = Duration::from_secs(2);
/// How soon trackers are tried again when none answers.
const TRACKER_RETRY: Duration = Duration::from_millis(500);
/// How long one watch may last before it is renewed.
const WATCH_LIFE: Duration = Duration::from_secs(3600);
/// How long a peer that does not have the content yet is left alone before it is asked again.
const WATCH_RETRY: Duration = Duration::from_millis(50);
/// How long an origin may take to hear what it need not offer: what it hears later is outdated.
const DECLINE_PATIENCE: Duration = Duration::from_secs(1);
/// How often such a peer is asked before it counts as gone until a tracker names it again.
const WATCH_TRIES: u32 = 20;

/// A wish for other neighbours. A tracker names those that it has named before, whatever has become of them; to one that comes
/// back, it names others.
#[derive(Clone, Default)]
pub(super) struct Renewal(Arc<AtomicBool>);

impl Renewal {
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Announces that this node seeks the content, again and again, and passes on whom the trackers name. If none
/// answers, the origins are all there is.
pub(super) async fn announce(download: Download, renewal: Renewal, inputs: mpsc::Sender<Input>) {
    loop {
        if renewal.take() {
            // Whoever has heard of this node already still asks it.
            tell_trackers(&download, Goal::Leave).await;
        }
        let (neighbours, again) = match tell_trackers(&download, Goal::Seek).await {
            Some(Neighbours { neighbours, again_ms }) => {
                (neighbours.into_vec(), Duration::from_millis(again_ms.into()))
            }
            None => (known_origins(&download), TRACKER_RETRY),
        };
        if inputs.send(Input::Neighbours(neighbours)).await.is_err() {
            return;
        }
        tokio::time::sleep(again.max(TRACKER_RETRY / 10)).await;
    }
}

async fn tell_trackers(download: &Download, goal: Goal) -> Option<Neighbours> {
    let announce = Announce { digest: download.digest, goal, port: download.port };
    for tracker in &download.trackers {
        let scope = Scope {
            trace: download.trace,
            deadline: download.env.now() + TRACKER_PATIENCE,
            class: download.class,
        };
        match download.pool.call(*tracker, Role::Tracker, scope, &announce, Vec::new()).await {
            Ok(answer) => return Some(answer.message),
            Err(error) => tracing::warn!(%tracker, %error, "a tracker does not answer"),
        }
    }
    None
}

fn known_origins(download: &Download) -> Vec<Neighbour> {
    download.origins.iter().map(|addr| Neighbour { node: None, role: Role::Origin, addr: *addr }).collect()
}

/// Listens to what one peer has, until it has everything or is lost.
pub(super) async fn watch(
    download: Download,
    addr: SocketAddr,
    role: Role,
    peer: PeerId,
    inputs: mpsc::Sender<Input>,
) {
    let mut tries = 0;
    let error = loop {
        match watch_once(&download, addr, role, peer, &inputs).await {
            Ok(()) => return,
            Err(CallError::Failed(failure)) if failure.code == ErrorCode::NotFound && tries < WATCH_TRIES => {
                tries += 1;
                tokio::time::sleep(WATCH_RETRY).await;
            }
            Err(error) => break error,
        }
    };
    let why = format!("{role} {addr} was lost: {error}");
    // The driver may be gone; then nobody needs to know.
    let _ = inputs.send(Input::PeerLost(peer, why)).await;
}

async fn watch_once(
    download: &Download,
    addr: SocketAddr,
    role: Role,
    peer: PeerId,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), CallError> {
    let scope =
        Scope { trace: download.trace, deadline: download.env.now() + WATCH_LIFE, class: download.class };
    let connection = download.pool.get(addr, role, download.env.now() + TRACKER_PATIENCE).await?;
    let mut exchange = connection.exchange(scope, &Watch { digest: download.digest }).await?;
    while let Some(frame) = exchange.next().await? {
        let have: Have = frame.decode()?;
        if inputs.send(Input::Has(peer, have.spans.into_vec())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Tells an origin which pieces come from elsewhere.
pub(super) async fn decline(download: Download, addr: SocketAddr, role: Role, covered: Vec<Span>) {
    let deadline = download.env.now() + DECLINE_PATIENCE;
    let scope = Scope { trace: download.trace, deadline, class: download.class };
    let decline = Decline { digest: download.digest, spans: List::first_of(covered) };
    // One that does not hear it offers the same once more.
    if let Err(error) = download.pool.call(addr, role, scope, &decline, Vec::new()).await {
        tracing::debug!(%addr, %role, %error, "it does not hear what it need not offer");
    }
}
