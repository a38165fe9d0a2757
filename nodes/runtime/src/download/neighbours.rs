//! Finding neighbours, and hearing from each what it has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdcq_swarm::{PeerId, SEEK_SOONEST};
use rdcq_transport::{Answer, CallError, Scope};
use rdcq_wire::message::{Announce, Decline, Goal, Have, Neighbour, Neighbours, Seek, Watch};
use rdcq_wire::{ErrorCode, List, Request, Role, Span};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;

use super::{Download, Input};

/// How long a tracker may take to answer.
const TRACKER_PATIENCE: Duration = Duration::from_secs(2);
/// How long one watch may last before it is renewed.
const WATCH_LIFE: Duration = Duration::from_secs(3600);
/// How long a peer that does not have the content yet is left alone before it is asked again.
const WATCH_RETRY: Duration = Duration::from_millis(50);
/// How long an origin may take to hear what it need not offer: what it hears later is outdated.
const DECLINE_PATIENCE: Duration = Duration::from_secs(1);
/// How often such a peer is asked before it counts as gone until a tracker names it again.
const WATCH_TRIES: u32 = 20;

/// Wishes to hear from the tracker before it has said to ask again. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub(super) struct Wishes(Arc<Wished>);

#[derive(Default)]
struct Wished {
    others: AtomicBool,
    any: Notify,
}

impl Wishes {
    /// Wishes for other neighbours. A tracker names those that it has named before, whatever has become of them; to one that comes
    /// back, it names others.
    pub(super) fn others(&self) {
        self.0.others.store(true, Ordering::Relaxed);
        self.0.any.notify_one();
    }

    /// Wishes for whoever is there by now: one was lost.
    pub(super) fn more(&self) {
        self.0.any.notify_one();
    }

    fn takes_others(&self) -> bool {
        self.0.others.swap(false, Ordering::Relaxed)
    }
}

/// Asks trackers who else has or seeks the content, again and again, and passes on whom they name. If none answers, the
/// origins are all there is.
pub(super) async fn seek(download: Download, wishes: Wishes, inputs: mpsc::Sender<Input>) {
    let request = Seek { digest: download.digest, port: download.port };
    let leave =
        Announce { digests: List::first_of([download.digest]), goal: Goal::Leave, port: download.port };
    loop {
        if wishes.takes_others() {
            // Whoever has heard of this node already still asks it.
            ask_trackers(&download, &leave).await;
        }
        let asked = download.env.now();
        let (neighbours, again) = match ask_trackers(&download, &request).await {
            Some(Answer { message: Neighbours { neighbours, again_ms }, .. }) => {
                (neighbours.into_vec(), Duration::from_millis(again_ms.into()))
            }
            None => (known_origins(&download), SEEK_SOONEST),
        };
        if inputs.send(Input::Neighbours(neighbours)).await.is_err() {
            return;
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(again.max(SEEK_SOONEST)) => {}
            () = wishes.0.any.notified() => sleep_until(asked + SEEK_SOONEST).await,
        }
    }
}

/// Asks the first tracker that answers.
async fn ask_trackers<R: Request>(download: &Download, request: &R) -> Option<Answer<R::Reply>> {
    for tracker in &download.trackers {
        let scope = Scope {
            trace: download.trace,
            deadline: download.env.now() + TRACKER_PATIENCE,
            class: download.class,
        };
        match download.pool.call(*tracker, Role::Tracker, scope, request, Vec::new()).await {
            Ok(answer) => return Some(answer),
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
