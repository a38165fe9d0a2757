//! Questions to one node of the herd, whatever it serves.

use std::net::SocketAddr;

use rdcq_transport::{CallError, ConnectError};
use rdcq_wire::{Kind, Request, Role, access};

use crate::{OperationError, Session};

/// Dials to find out what an unknown address serves: as a guess, as its certificate says, as it says itself.
const DIALS: usize = 3;

/// A reply, its body, and the role that gave it.
pub(crate) struct Reply<M> {
    pub(crate) message: M,
    pub(crate) body: Vec<u8>,
    pub(crate) role: Role,
}

/// Asks the node at an address. What it serves is found out if the caller does not know.
pub(crate) async fn ask<R: Request>(
    session: &Session,
    role: Option<Role>,
    addr: SocketAddr,
    request: &R,
) -> Result<Reply<R::Reply>, OperationError> {
    let mut guess = role.unwrap_or(Role::Agent);
    for _ in 1..DIALS {
        let error = match ask_as(session, guess, addr, request).await {
            Err(error) if role.is_none() => error,
            outcome => return of_role(outcome, guess),
        };
        match served_instead(session, R::KIND, &error) {
            Some(serving) if serving != guess => guess = serving,
            _ => return of_role(Err(error), guess),
        }
    }
    of_role(ask_as(session, guess, addr, request).await, guess)
}

async fn ask_as<R: Request>(
    session: &Session,
    role: Role,
    addr: SocketAddr,
    request: &R,
) -> Result<Reply<R::Reply>, CallError> {
    let scope = session.scope(Session::PATIENCE);
    let answer = session.pool.call(addr, role, scope, request, Vec::new()).await?;
    let (message, body) = (answer.message, answer.body.collect().await?.concat());
    Ok(Reply { message, body, role })
}

fn of_role<T>(outcome: Result<T, CallError>, role: Role) -> Result<T, OperationError> {
    outcome.map_err(|error| OperationError::of_call(role.name(), error))
}

/// The role that a node of this herd serves, or may serve, as it did not serve the one that was wanted.
fn served_instead(session: &Session, request: Kind, error: &CallError) -> Option<Role> {
    match error {
        CallError::Connect(ConnectError::WrongRole { serving, .. }) => *serving,
        CallError::Connect(ConnectError::WrongPeer { peer, .. }) if peer.herd == session.identity().herd => {
            peer.roles.iter().find(|role| access::serves(*role, request))
        }
        _ => None,
    }
}
