//! Accepting: connections, then the requests on each.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rdcq_wire::message::{Failure, Hello};
use rdcq_wire::{CloseCode, Context, DecodeError, ErrorCode, Kind, ResetCode, Role, access, frame};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::endpoint::{Shared, tell};
use crate::service::{Caller, Reply};
use crate::stream::{Receiver, Sender, close};
use crate::{Body, CallError, IncomingCall, PROTOCOL_VERSION, Refusal, Scope, Service};

/// How long a reply may at least take to arrive once the handler is done, however little time the caller gave. A caller
/// that has died is noticed by the idle timeout.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one role on an endpoint.
pub(crate) struct Server<S> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) serving: Role,
    pub(crate) service: Arc<S>,
}

impl<S: Service> Server<S> {
    /// Accepts until the endpoint closes. Nothing that one peer does ends it.
    pub(crate) async fn run(self: Arc<Self>) {
        while let Some(incoming) = self.shared.quic.accept().await {
            let handshakes = &self.shared.handshakes;
            if self.shared.draining.is_cancelled() || self.shared.connections.available_permits() == 0 {
                tracing::debug!(remote = %incoming.remote_address(), "connection refused: draining or at the limit");
                incoming.refuse();
                continue;
            }
            let crowded = handshakes.available_permits() <= self.shared.limits.max_handshakes / 2;
            if crowded && incoming.may_retry() && !incoming.remote_address_validated() {
                // An error gives the attempt back, and drops it: it could not be asked, so it is refused.
                let _ = incoming.retry();
                continue;
            }
            // Waiting here is bounded: handshakes time out. Meanwhile attempts queue up to their own limit.
            let Ok(permit) = Arc::clone(handshakes).acquire_owned().await else { return };
            self.shared.env.spawn(Arc::clone(&self).admit(incoming, permit));
        }
    }

    /// One peer, from its first datagram to the end of its connection.
    async fn admit(self: Arc<Self>, incoming: quinn::Incoming, permit: OwnedSemaphorePermit) {
        let remote = incoming.remote_address();
        let handshake = async { incoming.accept()?.await };
        let connection = match timeout(self.shared.limits.handshake_timeout, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%remote, "handshake not done in time");
                return;
            }
        };
        drop(permit);
        if let Some(caller) = self.authenticate(&connection) {
            self.attend(connection, Arc::new(caller)).await;
        }
    }

    fn authenticate(&self, connection: &quinn::Connection) -> Option<Caller> {
        let remote = connection.remote_address();
        let own = &self.shared.security.identity;
        let refused = match self.shared.security.peer(connection) {
            Ok(peer) if peer.herd == own.herd => return Some(Caller { peer, remote }),
            Ok(peer) => format!("{peer} is not of herd {}", own.herd),
            Err(why) => why,
        };
        tracing::warn!(target: "rdcq::audit", %remote, reason = refused, "connection refused");
        close(connection, CloseCode::Denied, &refused);
        None
    }

    /// Greets, then takes requests until the connection is gone.
    async fn attend(self: Arc<Self>, connection: quinn::Connection, caller: Arc<Caller>) {
        if self.shared.draining.is_cancelled() {
            return close(&connection, CloseCode::ShuttingDown, "the node is going away");
        }
        let Ok(_room) = Arc::clone(&self.shared.connections).try_acquire_owned() else {
            return close(&connection, CloseCode::Busy, "the node has as many connections as it may");
        };
        let _listed = self.shared.list(connection.clone());
        self.shared.env.spawn(greet(connection.clone(), self.hello()));
        while let Ok((send, receive)) = connection.accept_bi().await {
            let sender = Sender::new(send, ResetCode::Failed);
            let receiver = Receiver::new(receive, connection.clone(), ResetCode::Refused);
            let request = Arc::clone(&self).handle(connection.clone(), Arc::clone(&caller), sender, receiver);
            self.shared.env.spawn(self.shared.calls.track_future(request));
        }
    }

    fn hello(&self) -> Hello {
        let own = self.shared.security.identity.clone();
        Hello {
            herd: own.herd,
            node: own.node,
            roles: own.roles,
            serving: self.serving,
            oldest: PROTOCOL_VERSION,
            newest: PROTOCOL_VERSION,
        }
    }

    /// One request, from its prefix to the end of its reply.
    async fn handle(
        self: Arc<Self>,
        connection: quinn::Connection,
        caller: Arc<Caller>,
        sender: Sender,
        mut receiver: Receiver,
    ) {
        let opening = timeout(self.shared.limits.hello_timeout, self.open(&caller, &mut receiver)).await;
        match opening {
            Ok(Ok(Opening::Request(Request { kind, header, context, body_len }))) => {
                let (reply, back) = Reply::new(sender);
                let call = IncomingCall {
                    scope: self.scope(context),
                    context,
                    kind,
                    header,
                    body: Body::last(receiver, body_len, None),
                    draining: self.shared.draining.clone(),
                    caller,
                    reply,
                };
                self.dispatch(&connection, call, back).await;
            }
            Ok(Ok(Opening::Refused(failure))) => {
                drop(receiver);
                refuse(sender, UNREAD, failure).await;
            }
            Ok(Ok(Opening::Skipped)) => end_soon(sender).await,
            // An error has closed the connection or is a client's that gave up; a slow one need not be answered either.
            Ok(Err(_)) | Err(_) => sender.reset(ResetCode::Cancelled),
        }
    }

    /// Reads a request's prefix and, if its caller may ask for that, its header.
    async fn open(&self, caller: &Caller, receiver: &mut Receiver) -> Result<Opening, CallError> {
        let prefix = receiver.prefix().await?;
        let prefix = prefix.ok_or_else(|| receiver.violated(DecodeError::Truncated))?;
        let kind = match prefix.known_kind() {
            Ok(kind) => kind,
            Err(_) if prefix.is_ignorable() => return Ok(Opening::Skipped),
            Err(unknown) => return Err(receiver.violated(unknown)),
        };
        if !access::is_request(kind) {
            return Err(receiver.violated(DecodeError::NotARequest(kind)));
        }
        if let Err(failure) = self.judge(caller, kind) {
            return Ok(Opening::Refused(failure));
        }
        let header = receiver.header(prefix).await?;
        let context = context(kind, &header).map_err(|error| receiver.violated(error))?;
        Ok(Opening::Request(Request { kind, header, context, body_len: prefix.body_len }))
    }

    /// Whether a request may be made here, now, by this caller.
    fn judge(&self, caller: &Caller, kind: Kind) -> Result<(), Failure> {
        let Caller { peer, remote } = caller;
        let serving = self.serving;
        if !access::serves(serving, kind) {
            let reason = format!("a {serving} does not serve {kind}; check the address");
            return Err(Failure::new(ErrorCode::Unsupported, reason));
        }
        if !access::allows(serving, kind, peer.roles) {
            tracing::warn!(target: "rdcq::audit", %peer, %remote, request = %kind, %serving, "request denied");
            let reason = format!(
                "{peer} may not ask a {serving} for {kind}; that takes a certificate of another role"
            );
            return Err(Failure::new(ErrorCode::Denied, reason));
        }
        if self.shared.draining.is_cancelled() {
            let reason = "the node is going away; ask another";
            return Err(Failure::new(ErrorCode::ShuttingDown, reason));
        }
        Ok(())
    }

    fn scope(&self, context: Context) -> Scope {
        let left = Duration::from_millis(context.time_left_ms.into()).min(self.shared.limits.max_call);
        Scope { trace: context.trace, deadline: self.shared.env.now() + left }
    }

    /// Lets the service handle a request until it is done, unwanted or out of time.
    async fn dispatch(
        &self,
        connection: &quinn::Connection,
        call: IncomingCall,
        mut back: oneshot::Receiver<Sender>,
    ) {
        let (kind, context, deadline) = (call.kind, call.context, call.scope.deadline);
        let peer = Arc::clone(&call.caller);
        let unwanted = call.unwanted();
        let service = Arc::clone(&self.service);
        let handler = AssertUnwindSafe(async { service.call(call).await }).catch_unwind();
        let outcome = tokio::select! {
            biased;
            () = unwanted => Outcome::Unwanted,
            result = handler => match result {
                Ok(result) => Outcome::Done(result),
                Err(_) => Outcome::Panicked,
            },
            () = sleep_until(deadline) => Outcome::TimedOut,
        };
        // The handler may have moved the call elsewhere, and still be replying there.
        let sender = match outcome {
            Outcome::Done(Ok(())) => timeout_at(deadline, back).await.ok().and_then(Result::ok),
            Outcome::Done(Err(_)) | Outcome::Unwanted | Outcome::TimedOut | Outcome::Panicked => {
                back.try_recv().ok()
            }
        };
        match &outcome {
            Outcome::Done(Err(Refusal::Protocol(error))) => {
                close(connection, CloseCode::Protocol, &error.to_string());
            }
            Outcome::Panicked => {
                tracing::error!(peer = %peer.peer, request = %kind, trace = context.trace, "the handler panicked");
            }
            _ => {}
        }
        if let Some(sender) = sender {
            let arrival = deadline.max(self.shared.env.now() + DELIVERY_TIMEOUT);
            conclude(sender, kind, context, outcome, arrival).await;
        }
    }
}

/// What a request begins with.
enum Opening {
    Request(Request),
    /// It is not to be served; nothing but its prefix was read.
    Refused(Failure),
    /// It is of a later version, and may be left out.
    Skipped,
}

struct Request {
    kind: Kind,
    header: Vec<u8>,
    context: Context,
    body_len: u32,
}

/// How a handler ended.
enum Outcome {
    Done(Result<(), Refusal>),
    Unwanted,
    TimedOut,
    Panicked,
}

/// The context of a reply to a request whose own was not read.
const UNREAD: Context = Context { request: 0, trace: 0, time_left_ms: 0 };

/// Reads what every header begins with, before its message is looked at.
fn context(kind: Kind, header: &[u8]) -> Result<Context, DecodeError> {
    #[derive(serde::Deserialize)]
    enum Envelope {
        V1(Context),
    }
    match postcard::take_from_bytes(header) {
        Ok((Envelope::V1(context), _)) => Ok(context),
        Err(_) => Err(DecodeError::Header(kind)),
    }
}

async fn greet(connection: quinn::Connection, hello: Hello) {
    if let Err(error) = tell(&connection, &hello).await {
        tracing::debug!(remote = %connection.remote_address(), %error, "the peer was not greeted");
    }
}

/// Ends a reply as its handler ended.
async fn conclude(sender: Sender, kind: Kind, context: Context, outcome: Outcome, arrival: Instant) {
    match outcome {
        Outcome::Done(Ok(())) if sender.is_begun() => end(sender, arrival).await,
        Outcome::Done(Ok(())) => {
            tracing::error!(request = %kind, trace = context.trace, "the handler replied nothing");
            let failure = Failure::new(ErrorCode::Internal, "the node has no reply to the request");
            refuse(sender, context, failure).await;
        }
        Outcome::Done(Err(Refusal::Failure(failure))) => refuse(sender, context, failure).await,
        Outcome::TimedOut => {
            let reason = format!("{kind} was not done in the time that the caller gave");
            refuse(sender, context, Failure::new(ErrorCode::TimedOut, reason)).await;
        }
        Outcome::Unwanted | Outcome::Done(Err(Refusal::Gone | Refusal::Protocol(_))) => {
            sender.reset(ResetCode::Cancelled);
        }
        Outcome::Panicked => sender.reset(ResetCode::Failed),
    }
}

/// Ends a reply with a failure; where a frame is half sent, a reset has to say it.
async fn refuse(mut sender: Sender, context: Context, failure: Failure) {
    if sender.is_torn() {
        return sender.reset(ResetCode::Failed);
    }
    let head = match frame::encode(context, &failure, 0) {
        Ok(head) => head,
        Err(error) => {
            tracing::error!(%error, "a failure could not be encoded");
            return sender.reset(ResetCode::Failed);
        }
    };
    match timeout(DELIVERY_TIMEOUT, sender.frame(head, Vec::new())).await {
        Ok(Ok(())) => end_soon(sender).await,
        Ok(Err(_)) | Err(_) => sender.reset(ResetCode::Cancelled),
    }
}

/// Ends a reply that is short.
async fn end_soon(sender: Sender) {
    end(sender, Instant::now() + DELIVERY_TIMEOUT).await;
}

/// Ends a reply, and waits until it has arrived: a drain must not close the connection before.
async fn end(mut sender: Sender, arrival: Instant) {
    if sender.is_torn() {
        return sender.reset(ResetCode::Failed);
    }
    sender.end();
    if timeout_at(arrival, sender.delivered()).await.is_ok() {
        sender.settle();
    }
}
