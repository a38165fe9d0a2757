//! Serving: one request, from its prefix to the end of its reply.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll};
use rdcq_wire::message::Failure;
use rdcq_wire::{Class, CloseCode, Context, DecodeError, ErrorCode, Kind, ResetCode, Role, access, frame};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::endpoint::{Dispatch, Shared};
use crate::link::Link;
use crate::service::{Parts, Reply, busy};
use crate::soon;
use crate::stream::{Receiver, ReplyEnd, Sender, close};
use crate::{Body, CallError, IncomingCall, Refusal, Scope, Service};

/// How long a reply may at least take to arrive once the handler is done, however little time the caller gave. A caller
/// that has died is noticed by the idle timeout.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one role.
pub(crate) struct Server<S> {
    pub(crate) serving: Role,
    pub(crate) service: Arc<S>,
}

impl<S: Service> Dispatch for Server<S> {
    /// One request, from its prefix to the end of its reply.
    fn handle(
        self: Arc<Self>,
        shared: Arc<Shared>,
        link: Arc<Link>,
        mut sender: Sender,
        mut receiver: Receiver,
    ) -> BoxFuture<'static, ()> {
        // Not an `async fn`, which would keep all of these twice.
        Box::pin(async move {
            let opening = self.open(&shared, &link, &mut receiver);
            let opening = soon::within(shared.limits.hello_timeout, opening).await;
            let Request { kind, header, context, body_len } = match opening {
                Ok(Ok(Opening::Request(request))) => request,
                Ok(Ok(Opening::Refused(failure))) => {
                    drop(receiver);
                    return refuse(sender, UNREAD, failure).await;
                }
                Ok(Ok(Opening::Skipped)) => return end_short(sender),
                // An error has closed the connection or is a client's that gave up; a slow one need not be answered either.
                Ok(Err(_)) | Err(_) => return sender.reset(ResetCode::Cancelled),
            };
            let scope = scope(&shared, context);
            if kind.carries_pieces() && body_len > 0 {
                // Boxed: other requests are not to take the memory that this needs.
                let room = Box::pin(make_room(&link, scope, body_len, sender.unwanted()));
                if let Err(outcome) = room.await {
                    drop(receiver);
                    return conclude(sender, kind, context, outcome, shared.env.now()).await;
                }
            }
            // What comes with a request is in memory until it is dealt with.
            let _body = match shared.replies.try_reserve(&link.peer.node, body_len.into()) {
                Ok(reservation) => reservation,
                Err(delay) => {
                    drop(receiver);
                    shared.port(link.plane).counters.refused("memory");
                    return refuse(sender, context, busy(delay)).await;
                }
            };
            sender.pace(&link, kind, scope.class);
            let (reply, back) = Reply::new(sender);
            let call = IncomingCall(Box::new(Parts {
                scope,
                context,
                kind,
                header,
                body: Body::last(receiver, body_len, None),
                draining: shared.draining.clone(),
                replies: shared.replies.clone(),
                link: Arc::clone(&link),
                reply,
            }));
            let outcome = self.dispatch(call).await;
            match &outcome {
                Outcome::Done(Err(Refusal::Protocol(error))) => {
                    close(&link.quic, CloseCode::Protocol, &error.to_string());
                }
                Outcome::Panicked => {
                    tracing::error!(peer = %link.peer, request = %kind, trace = context.trace, "the handler panicked");
                }
                _ => {}
            }
            if let Some(sender) = come_back(back, &outcome, scope.deadline).await {
                let arrival = scope.deadline.max(shared.env.now() + DELIVERY_TIMEOUT);
                conclude(sender, kind, context, outcome, arrival).await;
            }
        })
    }
}

impl<S: Service> Server<S> {
    /// Reads a request's prefix and, if its caller may ask for that, its header.
    async fn open(
        &self,
        shared: &Shared,
        link: &Link,
        receiver: &mut Receiver,
    ) -> Result<Opening, CallError> {
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
        if let Err(failure) = self.judge(shared, link, kind) {
            return Ok(Opening::Refused(failure));
        }
        let header = receiver.header(prefix).await?;
        let context = context(kind, &header).map_err(|error| receiver.violated(error))?;
        Ok(Opening::Request(Request { kind, header, context, body_len: prefix.body_len }))
    }

    /// Whether a request may be made here, now, by this caller.
    fn judge(&self, shared: &Shared, link: &Link, kind: Kind) -> Result<(), Failure> {
        let Link { peer, .. } = link;
        let serving = self.serving;
        if !access::serves(serving, kind) {
            let reason = format!("a {serving} does not serve {kind}; check the address");
            return Err(Failure::new(ErrorCode::Unsupported, reason));
        }
        if !access::allows(serving, kind, peer.roles) {
            let remote = link.remote();
            tracing::warn!(target: "rdcq::audit", %peer, %remote, request = %kind, %serving, "request denied");
            let reason = format!(
                "{peer} may not ask a {serving} for {kind}; that takes a certificate of another role"
            );
            return Err(Failure::new(ErrorCode::Denied, reason));
        }
        if shared.draining.is_cancelled() {
            let reason = "the node is going away; ask another";
            return Err(Failure::new(ErrorCode::ShuttingDown, reason));
        }
        Ok(())
    }

    /// Lets the service handle a request until it is done, unwanted or out of time.
    async fn dispatch(&self, call: IncomingCall) -> Outcome {
        let (unwanted, deadline) = (call.unwanted(), call.0.scope.deadline);
        let service = Arc::clone(&self.service);
        let mut handler = pin!(AssertUnwindSafe(async move { service.call(call).await }).catch_unwind());
        let done = match poll!(&mut handler) {
            // Most are done at once, and need neither timer nor watch.
            Poll::Ready(done) => done,
            Poll::Pending => {
                // Boxed, for most requests need neither.
                let (unwanted, late) = (Box::pin(unwanted), Box::pin(sleep_until(deadline)));
                tokio::select! {
                    biased;
                    () = unwanted => return Outcome::Unwanted,
                    done = handler => done,
                    () = late => return Outcome::TimedOut,
                }
            }
        };
        done.map_or(Outcome::Panicked, Outcome::Done)
    }
}

/// Waits until the node may take in what comes with a request, or says why it will not. Until it is read, the peer sends no more than
/// the windows of the stream and of the connection.
async fn make_room(
    link: &Arc<Link>,
    scope: Scope,
    body_len: u32,
    unwanted: impl Future<Output = ()>,
) -> Result<(), Outcome> {
    if link.is_to_own_host() {
        return Ok(());
    }
    tokio::select! {
        biased;
        () = link.admit(scope.class, body_len.into()) => Ok(()),
        () = unwanted => Err(Outcome::Unwanted),
        () = sleep_until(scope.deadline) => Err(Outcome::TimedOut),
    }
}

/// The half that was replied on. The handler may have moved the call elsewhere, and still be replying there.
async fn come_back(
    mut back: oneshot::Receiver<Sender>,
    outcome: &Outcome,
    deadline: Instant,
) -> Option<Sender> {
    match outcome {
        Outcome::Done(Ok(())) => soon::until(deadline, back).await.ok()?.ok(),
        Outcome::Done(Err(_)) | Outcome::Unwanted | Outcome::TimedOut | Outcome::Panicked => {
            back.try_recv().ok()
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
const UNREAD: Context = Context { request: 0, trace: 0, time_left_ms: 0, class: Class::Normal };

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

fn scope(shared: &Shared, context: Context) -> Scope {
    let left = Duration::from_millis(context.time_left_ms.into()).min(shared.limits.max_call);
    Scope { trace: context.trace, deadline: shared.env.now() + left, class: context.class }
}

/// Ends a reply as its handler ended.
async fn conclude(sender: Sender, kind: Kind, context: Context, outcome: Outcome, arrival: Instant) {
    match outcome {
        Outcome::Done(Ok(())) if sender.is_short() => end_short(sender),
        Outcome::Done(Ok(())) if sender.is_begun() => Box::pin(end(sender, arrival)).await,
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

/// Ends a reply with a failure; where a frame is half sent, a reset has to say it. Boxed: what is served is not to take
/// the memory that this needs.
fn refuse(sender: Sender, context: Context, failure: Failure) -> BoxFuture<'static, ()> {
    Box::pin(say_failure(sender, context, failure))
}

async fn say_failure(mut sender: Sender, context: Context, failure: Failure) {
    sender.tell_end(ReplyEnd::Lost);
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
        Ok(Ok(())) => end_short(sender),
        Ok(Err(_)) | Err(_) => sender.reset(ResetCode::Cancelled),
    }
}

/// Ends a reply, and waits until it has arrived: a drain must not close the connection before.
async fn end(mut sender: Sender, arrival: Instant) {
    if sender.is_torn() {
        return sender.reset(ResetCode::Failed);
    }
    sender.end();
    if let Ok(end) = timeout_at(arrival, sender.delivered()).await {
        sender.tell_end(end);
        sender.settle();
    }
}

/// Ends a reply without waiting for its arrival: QUIC sees to that as long as the connection lives, and a drain gives what is
/// short a moment before it closes.
fn end_short(mut sender: Sender) {
    if sender.is_torn() {
        return sender.reset(ResetCode::Failed);
    }
    sender.end();
    sender.settle();
}
