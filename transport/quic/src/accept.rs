//! Accepting connections on one socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::Incoming;
use rdcq_wire::{CloseCode, Identity};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use crate::admission::{Admission, Attempt, Load, NoSlot, Outcome, Pass, Ticket, Verdict};
use crate::attend::{Listed, attend};
use crate::audit::Why;
use crate::endpoint::{Dispatch, Judged, Port, Shared};
use crate::link::{Link, Side};
use crate::stream::close;

/// Accepts on a socket until the endpoint closes, and keeps the service until then. Nothing that one peer does ends it.
pub(crate) async fn run(shared: Arc<Shared>, port: usize, _service: Arc<dyn Dispatch>) {
    // Bounded by the handshakes under way, each of which ends once.
    let (ended, mut endings) = mpsc::channel(shared.limits.max_handshakes);
    let admission = Admission::new(shared.limits.max_handshakes);
    let mut door = Door { shared, port, admission, waiting: BTreeMap::new(), ended };
    loop {
        let wake = door.admission.wake_at(door.shared.env.now(), door.load());
        tokio::select! {
            biased;
            Some((pass, outcome)) = endings.recv() => {
                door.admission.finished(door.shared.env.now(), pass, outcome);
                door.settle();
            }
            incoming = door.shared.port_at(port).quic.accept() => {
                let Some(incoming) = incoming else { return };
                door.settle();
                door.judge(incoming);
            }
            () = sleep_until(wake.unwrap_or_else(|| door.shared.env.now())), if wake.is_some() => door.settle(),
        }
    }
}

/// Who stands at a socket's door.
struct Door {
    shared: Arc<Shared>,
    port: usize,
    admission: Admission,
    waiting: BTreeMap<Ticket, Incoming>,
    ended: mpsc::Sender<(Pass, Outcome)>,
}

impl Door {
    fn port(&self) -> &Port {
        self.shared.port_at(self.port)
    }

    fn load(&self) -> Load {
        if self.shared.activity.is_busy(self.shared.env.now()) { Load::Busy } else { Load::Idle }
    }

    /// What becomes of somebody who knocks.
    fn judge(&mut self, incoming: Incoming) {
        let remote = incoming.remote_address();
        if self.shared.draining.is_cancelled() {
            return self.refuse(incoming, "draining");
        }
        if self.port().peers().is_full() {
            return self.refuse(incoming, "full");
        }
        let attempt = Attempt { ip: remote.ip(), validated: incoming.remote_address_validated() };
        let verdict = self.admission.attempt(self.shared.env.now(), self.load(), attempt);
        self.carry_out(incoming, verdict);
    }

    /// Looks whether anybody who waits has waited enough.
    fn settle(&mut self) {
        while let Some((ticket, verdict)) = self.admission.poll(self.shared.env.now(), self.load()) {
            match self.waiting.remove(&ticket) {
                Some(incoming) => self.carry_out(incoming, verdict),
                None => debug_assert!(false, "somebody waits for whom nobody kept the door"),
            }
        }
    }

    fn carry_out(&mut self, incoming: Incoming, verdict: Verdict) {
        match verdict {
            Verdict::Admit(pass) => {
                let admitted = admit(Arc::clone(&self.shared), self.port, incoming, pass, self.ended.clone());
                self.port().env.spawn(admitted);
            }
            Verdict::Retry => {
                self.port().counters.refused("address-not-proven");
                // An error gives the attempt back, and drops it: it could not be asked, so it is refused.
                let _ = incoming.retry();
            }
            Verdict::Wait(ticket) => drop(self.waiting.insert(ticket, incoming)),
            Verdict::Refuse => self.refuse(incoming, "crowded"),
            Verdict::Ignore => {
                self.port().counters.refused("failed-before");
                incoming.ignore();
            }
        }
    }

    fn refuse(&self, incoming: Incoming, why: &'static str) {
        self.port().counters.refused(why);
        tracing::debug!(remote = %incoming.remote_address(), why, "connection refused");
        incoming.refuse();
    }
}

/// One peer, from its first datagram to the end of its connection.
async fn admit(
    shared: Arc<Shared>,
    port: usize,
    incoming: Incoming,
    pass: Pass,
    ended: mpsc::Sender<(Pass, Outcome)>,
) {
    let remote = incoming.remote_address();
    let mut ending = Ending { pass: Some(pass), outcome: Outcome::Failed, ended };
    let shaken = shake_hands(&shared, port, incoming).await;
    if shaken.is_ok() {
        ending.outcome = Outcome::Done;
    }
    drop(ending);
    let (link, judged) = match shaken {
        Ok(shaken) => shaken,
        Err((why, reason)) => {
            return shared.audit.refused(&shared.port_at(port).counters, remote, why, &reason);
        }
    };
    let own = shared.port_at(port);
    own.counters.handshakes.fetch_add(1, Ordering::Relaxed);
    if shared.draining.is_cancelled() {
        return close(&link.quic, CloseCode::ShuttingDown, "the node is going away");
    }
    // The handshake's task is large; the connection's, of which there are thousands, is not.
    match Listed::accepted(&shared, &link, judged) {
        Ok(listed) => drop(own.env.spawn(attend(listed, None))),
        Err(NoSlot::Full) => {
            own.counters.refused("full");
            close(&link.quic, CloseCode::Busy, "the node has as many connections as it may");
        }
        Err(NoSlot::TooMany) => {
            shared.audit.refused(&own.counters, remote, Why::TooMany, &link.peer.to_string());
            close(&link.quic, CloseCode::Busy, "this node has as many connections here as it may");
        }
    }
}

/// Hands a pass back, also if the judge of a peer panics.
struct Ending {
    pass: Option<Pass>,
    outcome: Outcome,
    ended: mpsc::Sender<(Pass, Outcome)>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            // There is room for every pass; the door is gone only when the endpoint is.
            let _ = self.ended.try_send((pass, self.outcome));
        }
    }
}

/// The handshake, and who it was done with; or why there is none, and in what words.
async fn shake_hands(
    shared: &Shared,
    port: usize,
    incoming: Incoming,
) -> Result<(Arc<Link>, Judged), (Why, String)> {
    let own = shared.port_at(port);
    let handshake = async { incoming.accept()?.await };
    let quic = match timeout(shared.limits.handshake_timeout, handshake).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(quinn::ConnectionError::TransportError(error))) => {
            return Err((Why::Handshake, (shared.security().explain)(&error.reason)));
        }
        Ok(Err(error)) => return Err((Why::Handshake, error.to_string())),
        Err(_) => return Err((Why::Handshake, "not done in time".to_owned())),
    };
    let judged = shared.judged();
    match authenticate(shared, &quic) {
        Ok(peer) => Ok((shared.link(own, quic, peer, Side::Accepted), judged)),
        Err(why) => {
            close(&quic, CloseCode::Denied, &why);
            Err((Why::Peer, why))
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
