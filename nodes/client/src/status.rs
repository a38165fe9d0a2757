//! How nodes are doing.

use std::net::SocketAddr;

use rdcq_transport::{CallError, ConnectError};
use rdcq_wire::message::{PeerTraffic, Status, StatusReport};
use rdcq_wire::{ErrorCode, Role, access};

use crate::{OperationError, Session};

/// What a node tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of the role that was asked.
    pub report: StatusReport,
    /// Of whom it has connections with, the busiest first.
    pub peers: Vec<PeerTraffic>,
}

/// Dials to find out what an unknown address serves: as a guess, as its certificate says, as it says itself.
const DIALS: usize = 3;

/// Asks the node at an address how it is doing. What it serves is found out if the caller does not know.
pub async fn status(session: &Session, role: Option<Role>, addr: SocketAddr) -> Result<Told, OperationError> {
    let mut guess = role.unwrap_or(Role::Agent);
    for _ in 1..DIALS {
        let error = match ask(session, guess, addr).await {
            Err(error) if role.is_none() => error,
            outcome => return told(outcome, guess),
        };
        match served_instead(session, &error) {
            Some(serving) if serving != guess => guess = serving,
            _ => return told(Err(error), guess),
        }
    }
    told(ask(session, guess, addr).await, guess)
}

async fn ask(session: &Session, role: Role, addr: SocketAddr) -> Result<Option<Told>, CallError> {
    let scope = session.scope(Session::PATIENCE);
    let answer = session.pool.call(addr, role, scope, &Status {}, Vec::new()).await?;
    let (report, body): (StatusReport, _) = (answer.message, answer.body.collect().await?.concat());
    Ok(report.read(&body).map(|peers| Told { report, peers }))
}

fn told(outcome: Result<Option<Told>, CallError>, role: Role) -> Result<Told, OperationError> {
    let told = outcome.map_err(|error| OperationError::of_call(role.name(), error))?;
    told.ok_or_else(|| {
        OperationError::new(ErrorCode::Integrity, format!("the {role} sent a malformed status report"))
    })
}

/// The role that a node of this herd serves, or may serve, as it did not serve the one that was wanted.
fn served_instead(session: &Session, error: &CallError) -> Option<Role> {
    match error {
        CallError::Connect(ConnectError::WrongRole { serving, .. }) => *serving,
        CallError::Connect(ConnectError::WrongPeer { peer, .. }) if peer.herd == session.identity().herd => {
            peer.roles.iter().find(|role| access::serves(*role, rdcq_wire::Kind::Status))
        }
        _ => None,
    }
}
