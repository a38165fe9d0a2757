//! Accepting connections on one socket.

use std::sync::Arc;

use rdcq_wire::{CloseCode, Identity};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::endpoint::{Dispatch, Shared};
use crate::link::{Link, Side};
use crate::stream::close;

/// Accepts on a socket until the endpoint closes, and keeps the service until then. Nothing that one peer does ends it.
pub(crate) async fn run(shared: Arc<Shared>, port: usize, _service: Arc<dyn Dispatch>) {
    let own = shared.port_at(port);
    while let Some(incoming) = own.quic.accept().await {
        let handshakes = &own.handshakes;
        if shared.draining.is_cancelled() || own.connections.available_permits() == 0 {
            tracing::debug!(remote = %incoming.remote_address(), "connection refused: draining or at the limit");
            incoming.refuse();
            continue;
        }
        let crowded = handshakes.available_permits() <= shared.limits.max_handshakes / 2;
        if crowded && incoming.may_retry() && !incoming.remote_address_validated() {
            // An error gives the attempt back, and drops it: it could not be asked, so it is refused.
            let _ = incoming.retry();
            continue;
        }
        // Waiting here is bounded: handshakes time out. Meanwhile attempts queue up to their own limit.
        let Ok(permit) = Arc::clone(handshakes).acquire_owned().await else { return };
        own.env.spawn(admit(Arc::clone(&shared), port, incoming, permit));
    }
}

/// One peer, from its first datagram to the end of its connection.
async fn admit(shared: Arc<Shared>, port: usize, incoming: quinn::Incoming, permit: OwnedSemaphorePermit) {
    let Some(link) = shake_hands(&shared, port, incoming).await else { return };
    drop(permit);
    let own = shared.port_at(port);
    if shared.draining.is_cancelled() {
        return close(&link.quic, CloseCode::ShuttingDown, "the node is going away");
    }
    let Ok(_room) = Arc::clone(&own.connections).try_acquire_owned() else {
        return close(&link.quic, CloseCode::Busy, "the node has as many connections as it may");
    };
    own.env.spawn(Arc::clone(&shared).greet(Arc::clone(&link)));
    shared.attend(link, None).await;
}

/// The handshake, and who it was done with.
async fn shake_hands(shared: &Shared, port: usize, incoming: quinn::Incoming) -> Option<Arc<Link>> {
    let own = shared.port_at(port);
    let remote = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let quic = match timeout(shared.limits.handshake_timeout, handshake).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%remote, "handshake not done in time");
            return None;
        }
    };
    match authenticate(shared, &quic) {
        Ok(peer) => Some(Link::new(&own.env, quic, peer, own.plane, Side::Accepted)),
        Err(why) => {
            tracing::warn!(target: "rdcq::audit", %remote, reason = why, "connection refused");
            close(&quic, CloseCode::Denied, &why);
            None
        }
    }
}

fn authenticate(shared: &Shared, quic: &quinn::Connection) -> Result<Identity, String> {
    let security = shared.security();
    let peer = security.peer(quic)?;
    if peer.herd != security.identity.herd {
        return Err(format!("{peer} is not of herd {}", security.identity.herd));
    }
    Ok(peer)
}
