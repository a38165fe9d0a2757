//! The control stream: who speaks, as what, and what it says until the connection ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rdcq_wire::message::{Drain, Hello, Ping, Reason};
use rdcq_wire::{Class, CloseCode, Context, DecodeError, Identity, Kind, Message, ResetCode, Role, frame};
use tokio::time::timeout;

use crate::link::Link;
use crate::stream::{Head, Receiver, Sender, close};
use crate::{CallError, ConnectError, Lost, PROTOCOL_VERSION};

/// What a word that answers nothing carries.
const NOBODY_S: Context = Context { request: 0, trace: 0, time_left_ms: 0, class: Class::Normal };

/// Opens this side's control stream and says Hello on it.
pub(crate) async fn introduce(link: &Link, hello: &Hello) -> Result<(), CallError> {
    let mut sender = Sender::new(link.quic.open_uni().await?, ResetCode::Cancelled);
    sender.frame(frame::encode(NOBODY_S, hello, 0)?, Vec::new()).await?;
    // Lower than any reply: a dropped stream must not take back what was said.
    sender.settle();
    link.keep_control(sender);
    Ok(())
}

/// Says something on the control stream, which waits until there is room for it, and puts the stream back.
pub(crate) async fn say<M: Message>(link: Arc<Link>, mut sender: Sender, message: M) {
    let Ok(head) = frame::encode(NOBODY_S, &message, 0) else { return };
    if sender.frame(head, Vec::new()).await.is_ok() {
        link.keep_control(sender);
    }
}

/// Says the last word on the control stream, and waits until the peer has it.
pub(crate) async fn say_farewell(link: &Link, grace: Duration) {
    let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
    let Some(mut sender) = link.take_control() else { return };
    let Ok(head) = frame::encode(NOBODY_S, &Drain { grace_ms }, 0) else { return };
    if sender.frame(head, Vec::new()).await.is_ok() {
        sender.end();
        sender.delivered().await;
    }
}

/// Waits for the peer's control stream.
pub(crate) async fn hear(link: &Arc<Link>) -> Result<Receiver, quinn::ConnectionError> {
    Ok(Receiver::new(link.quic.accept_uni().await?, Arc::clone(link), ResetCode::Refused))
}

/// The first word on a peer's control stream.
pub(crate) async fn hello(words: &mut Receiver) -> Result<Hello, CallError> {
    let head: Option<Head> = words.frame().await?;
    let head = head.ok_or(CallError::Protocol(DecodeError::Truncated))?;
    head.decode().map_err(CallError::Protocol)
}

/// Listens to a server that was dialled until it has said Hello, and checks that it is who and what was wanted.
pub(crate) async fn meet(
    link: &Arc<Link>,
    own: &Identity,
    addr: SocketAddr,
    expect: Role,
) -> Result<Receiver, (CloseCode, ConnectError)> {
    let peer = &link.peer;
    if peer.herd != own.herd || !peer.roles.contains(expect) {
        let error = ConnectError::WrongPeer { addr, expect, peer: Box::new(peer.clone()) };
        return Err((CloseCode::WrongPeer, error));
    }
    let lost = |error| (CloseCode::Protocol, ConnectError::from_quic(addr, &error));
    let mut words = hear(link).await.map_err(lost)?;
    let hello = hello(&mut words).await.map_err(|error| {
        let error = match (error, link.quic.close_reason()) {
            (CallError::Protocol(why), _) => ConnectError::NoHello { addr, why },
            (_, Some(error)) => ConnectError::from_quic(addr, &error),
            (error, None) => ConnectError::Lost { addr, why: Lost::Quic(Reason::from(error.to_string())) },
        };
        (CloseCode::Protocol, error)
    })?;
    if !(hello.oldest..=hello.newest).contains(&PROTOCOL_VERSION) {
        let error = ConnectError::Version { addr, oldest: hello.oldest, newest: hello.newest };
        return Err((CloseCode::Protocol, error));
    }
    let wrong = |error| (CloseCode::WrongPeer, error);
    contradiction(peer, &hello).map_err(|why| wrong(ConnectError::Contradiction { addr, why }))?;
    if hello.serving != Some(expect) {
        return Err(wrong(ConnectError::WrongRole { addr, expect, serving: hello.serving }));
    }
    link.note(&hello);
    Ok(words)
}

/// What a peer says of itself must be what its certificate says.
fn contradiction(peer: &Identity, hello: &Hello) -> Result<(), Reason> {
    let Hello { herd, node, roles, serving, .. } = hello;
    let called = Identity { herd: herd.clone(), node: node.clone(), roles: *roles };
    if called != *peer {
        return Err(format!("its word is {called}, its certificate is {peer}").into());
    }
    match serving {
        Some(role) if !peer.roles.contains(*role) => {
            Err(format!("it serves as {role}, its certificate is {peer}").into())
        }
        _ => Ok(()),
    }
}

/// Listens to a client that dialled until it has said Hello in time; closes the connection of one that does not, or that
/// says what its certificate does not.
pub(crate) async fn be_met(link: &Arc<Link>, patience: Duration) -> Option<Receiver> {
    let heard = async {
        let mut words = hear(link).await.ok()?;
        let hello = hello(&mut words).await;
        Some((words, hello))
    };
    let (words, hello) = match timeout(patience, heard).await {
        Ok(heard) => heard?,
        Err(_) => {
            close(&link.quic, CloseCode::NoHello, "no hello in time");
            return None;
        }
    };
    let hello = match hello {
        Ok(hello) => hello,
        Err(CallError::Protocol(error)) => {
            words.violated(error);
            return None;
        }
        // It took the stream back, or the connection is gone.
        Err(_) => {
            close(&link.quic, CloseCode::NoHello, "the control stream was reset before its hello");
            return None;
        }
    };
    if !(hello.oldest..=hello.newest).contains(&PROTOCOL_VERSION) {
        close(&link.quic, CloseCode::Protocol, "no version of the protocol in common");
        return None;
    }
    if let Err(why) = contradiction(&link.peer, &hello) {
        close(&link.quic, CloseCode::WrongPeer, &why.to_string());
        return None;
    }
    link.note(&hello);
    Some(words)
}

/// Heeds the next word of a peer that was met: whether there may be another. If not, it has said everything, or what it
/// said has closed the connection.
pub(crate) async fn heed(link: &Link, words: &mut Receiver) -> bool {
    let Ok(Some(head)) = words.frame().await else {
        words.settle();
        return false;
    };
    let heeded = match head.kind {
        Kind::Ping => head.decode::<Ping>().map(drop),
        Kind::Drain => head.decode::<Drain>().map(|Drain { .. }| link.retire()),
        got => Err(DecodeError::UnexpectedKind { wanted: Kind::Drain, got }),
    };
    let bare = |()| match head.body_len {
        0 => Ok(()),
        _ => Err(DecodeError::UnexpectedKind { wanted: Kind::Drain, got: head.kind }),
    };
    heeded.and_then(bare).map_err(|error| words.violated(error)).is_ok()
}
