//! Having nodes read their settings anew.

use std::net::SocketAddr;

use rdcq_wire::Role;
use rdcq_wire::message::{Reload, Reloaded};

use crate::any_node::ask;
use crate::{OperationError, Session};

/// Has the node at an address read its settings again. What it serves is found out if the caller does not know.
pub async fn reload(
    session: &Session,
    role: Option<Role>,
    addr: SocketAddr,
) -> Result<Reloaded, OperationError> {
    Ok(ask(session, role, addr, &Reload {}).await?.message)
}
