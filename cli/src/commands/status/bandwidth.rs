//! What a node may move, and what is on its way to it.

use rdcq_client::meter::Reading;
use rdcq_wire::message::{self, ClassFlow, Flow};
use serde::Serialize;

/// What a node moves and may, as network interfaces count it.
#[derive(Debug, Serialize)]
pub(super) struct Bandwidth {
    pub(super) egress: Direction,
    pub(super) ingress: Direction,
}

#[derive(Debug, Serialize)]
pub(super) struct Direction {
    /// What the role has moved since it began to serve.
    pub(super) bytes: u64,
    /// What the node may move in all its roles; none if it is not limited.
    pub(super) limit_bytes_per_second: Option<u64>,
    /// Streams that wait for their turn.
    pub(super) waiting: u32,
    pub(super) classes: Vec<Class>,
}

#[derive(Debug, Serialize)]
pub(super) struct Class {
    pub(super) class: &'static str,
    pub(super) bytes: u64,
    pub(super) weight: u32,
    pub(super) minimum_bytes_per_second: Option<u64>,
    pub(super) ceiling_bytes_per_second: Option<u64>,
}

/// Content on its way to the node.
#[derive(Debug, Serialize)]
pub(super) struct Transfer {
    pub(super) tag: String,
    pub(super) digest: String,
    pub(super) class: &'static str,
    pub(super) done_bytes: u64,
    pub(super) size_bytes: u64,
}

impl Bandwidth {
    pub(super) fn of(Reading { metered, .. }: &Reading) -> Self {
        Self {
            egress: Direction::of(metered.sent, &metered.egress),
            ingress: Direction::of(metered.received, &metered.ingress),
        }
    }

    /// Each direction with its name.
    pub(super) const fn directions(&self) -> [(&'static str, &Direction); 2] {
        [("egress", &self.egress), ("ingress", &self.ingress)]
    }
}

impl Direction {
    fn of(bytes: u64, flow: &Flow) -> Self {
        let class = |class: &ClassFlow| Class {
            class: class.class.name(),
            bytes: class.moved,
            weight: class.weight,
            minimum_bytes_per_second: class.minimum,
            ceiling_bytes_per_second: class.ceiling,
        };
        Self {
            bytes,
            limit_bytes_per_second: flow.limit,
            waiting: flow.waiting,
            classes: flow.classes.iter().map(class).collect(),
        }
    }
}

impl Transfer {
    pub(super) fn of(transfer: &message::Transfer) -> Self {
        Self {
            tag: transfer.tag.to_string(),
            digest: transfer.digest.to_string(),
            class: transfer.class.name(),
            done_bytes: transfer.done,
            size_bytes: transfer.size,
        }
    }
}
