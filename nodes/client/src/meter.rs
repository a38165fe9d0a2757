//! What nodes move.

use std::net::SocketAddr;

use rdcq_wire::message::{Meter, Metered, PeerFlow, Transfer};
use rdcq_wire::{ErrorCode, Role};

use crate::any_node::{Reply, ask};
use crate::{OperationError, Session};

/// What a node has moved when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Of the role that was asked, and of the node's bandwidth.
    pub metered: Metered,
    /// Of whom it has connections with, the busiest first.
    pub peers: Vec<PeerFlow>,
    /// Of what is on its way to it.
    pub transfers: Vec<Transfer>,
}

/// Asks the node at an address what it has moved. What it serves is found out if the caller does not know.
pub async fn meter(
    session: &Session,
    role: Option<Role>,
    addr: SocketAddr,
) -> Result<Reading, OperationError> {
    let Reply { message: metered, body, role } = ask(session, role, addr, &Meter {}).await?;
    let (peers, transfers) = metered.read(&body).ok_or_else(|| {
        OperationError::new(
            ErrorCode::Integrity,
            format!("the {role} sent a malformed account of what it moved"),
        )
    })?;
    Ok(Reading { metered, peers, transfers })
}
