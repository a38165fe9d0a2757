//! How nodes are doing.

use std::net::SocketAddr;

use rdcq_wire::message::{PeerTraffic, Status, StatusReport};
use rdcq_wire::{ErrorCode, Role};

use crate::any_node::{Reply, ask};
use crate::{OperationError, Session};

/// What a node tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of the role that was asked.
    pub report: StatusReport,
    /// Of whom it has connections with, the busiest first.
    pub peers: Vec<PeerTraffic>,
}

/// Asks the node at an address how it is doing. What it serves is found out if the caller does not know.
pub async fn status(session: &Session, role: Option<Role>, addr: SocketAddr) -> Result<Told, OperationError> {
    let Reply { message: report, body, role } = ask(session, role, addr, &Status {}).await?;
    let peers = report.read(&body).ok_or_else(|| {
        OperationError::new(ErrorCode::Integrity, format!("the {role} sent a malformed status report"))
    })?;
    Ok(Told { report, peers })
}
