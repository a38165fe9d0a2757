//! Which nodes a herd has.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rdcq_config::{
    AgentConfig, BuildIndexConfig, Limits, OriginConfig, ProxyConfig, TrackerConfig, Transport, defaults,
};
use rdcq_wire::{NodeId, Role};

use crate::role::Section;

/// A node's place in a herd: the `number`th of a role, from 1. It is written `agent-1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// What the node does.
    pub role: Role,
    /// Which one of them it is, from 1.
    pub number: u32,
}

impl Seat {
    /// A seat.
    pub const fn new(role: Role, number: u32) -> Self {
        Self { role, number }
    }

    /// A node's name after its seat.
    pub fn node(self) -> NodeId {
        self.to_string().parse().expect("a role's name, a dash and a number name a node")
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.role, self.number)
    }
}

/// How many nodes a herd has, and what all of one role have in common.
#[derive(Debug, Clone)]
pub struct HerdPlan {
    /// How many agents.
    pub agents: u32,
    /// How long origins keep the content of a push after the last word about it.
    pub push_lease: Duration,
    /// How often origins and agents look for content that has no name any more.
    pub sweep: Duration,
    /// How long a tracker hands out a peer after its last announcement.
    pub peer_ttl: Duration,
    /// How much each node takes on.
    pub limits: Limits,
    /// How connections are set up.
    pub transport: Transport,
}

impl HerdPlan {
    /// One of each server and this many agents, all as the settings' defaults have it.
    pub fn with_agents(agents: u32) -> Self {
        Self {
            agents,
            push_lease: defaults::PUSH_LEASE,
            sweep: defaults::SWEEP,
            peer_ttl: defaults::PEER_TTL,
            limits: Limits::default(),
            transport: Transport::default(),
        }
    }

    /// Every seat, servers first.
    pub fn seats(&self) -> impl Iterator<Item = Seat> + use<> {
        let servers = [Role::Origin, Role::BuildIndex, Role::Tracker, Role::Proxy];
        let agents = (1..=self.agents).map(|number| Seat::new(Role::Agent, number));
        servers.into_iter().map(|role| Seat::new(role, 1)).chain(agents)
    }

    /// The settings of a role's node at an address; none for a role that only asks.
    pub(crate) fn section(&self, role: Role, listen: SocketAddr) -> Option<Section> {
        let Self { push_lease, sweep, peer_ttl, .. } = *self;
        Some(match role {
            Role::Proxy => Section::Proxy(ProxyConfig { listen, data_ports: Vec::new() }),
            Role::Origin => {
                Section::Origin(OriginConfig { listen, data_ports: Vec::new(), push_lease, sweep })
            }
            Role::BuildIndex => Section::BuildIndex(BuildIndexConfig { listen }),
            Role::Tracker => Section::Tracker(TrackerConfig { listen, peer_ttl }),
            Role::Agent => Section::Agent(AgentConfig { listen, data_ports: Vec::new(), sweep }),
            Role::Controller | Role::Client | Role::Operator => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_one_of_each_server_before_its_agents() {
        let seats: Vec<_> = HerdPlan::with_agents(2).seats().map(|seat| seat.to_string()).collect();
        assert_eq!(seats, ["origin-1", "build-index-1", "tracker-1", "proxy-1", "agent-1", "agent-2"]);
    }

    #[test]
    fn every_seat_of_a_plan_has_settings_of_its_role_and_callers_have_none() {
        let plan = HerdPlan::with_agents(1);
        let listen = "127.0.0.1:0".parse().unwrap();
        for seat in plan.seats() {
            assert_eq!(plan.section(seat.role, listen).map(|section| section.role()), Some(seat.role));
        }
        assert!(plan.section(Role::Client, listen).is_none());
    }
}
