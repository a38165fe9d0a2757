//! Whether settings make sense together.

use std::net::SocketAddr;
use std::time::Duration;

use rdcq_wire::message::Hello;

use crate::{Config, ConfigError, Invalid, Limits, Transport, defaults};

impl Config {
    /// Checks that something runs, that it knows the servers that it needs, and that no setting contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.roles().is_empty() {
            return Err(Invalid::NoRole.into());
        }
        self.check_needs()?;
        self.check_addresses()?;
        self.check_ports()?;
        self.check_numbers()?;
        self.bandwidth.as_ref().map_or(Ok(()), |bandwidth| Ok(bandwidth.check()?))
    }

    fn check_needs(&self) -> Result<(), Invalid> {
        let herd = &self.herd;
        let origins = ("origins", &herd.origins, 7402);
        let build_indexes = ("build_indexes", &herd.build_indexes, 7403);
        let trackers = ("trackers", &herd.trackers, 7404);
        let needs = [
            (self.proxy.is_some(), "proxy", vec![origins, build_indexes]),
            (self.origin.is_some(), "origin", vec![build_indexes]),
            (self.build_index.is_some(), "build_index", vec![origins, trackers]),
            (self.tracker.is_some(), "tracker", vec![origins]),
            (self.agent.is_some(), "agent", vec![build_indexes, trackers]),
        ];
        for (_, section, lists) in needs.into_iter().filter(|(present, ..)| *present) {
            for (needed, list, port) in lists {
                if list.is_empty() {
                    return Err(Invalid::Needs { section, needed, port });
                }
            }
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), Invalid> {
        let herd = &self.herd;
        let lists = [
            ("herd.proxies", &herd.proxies),
            ("herd.origins", &herd.origins),
            ("herd.build_indexes", &herd.build_indexes),
            ("herd.trackers", &herd.trackers),
        ];
        for (key, list) in lists {
            for (at, &address) in list.iter().enumerate() {
                check_reachable(key, address)?;
                if list[..at].contains(&address) {
                    return Err(Invalid::Twice { key, address });
                }
            }
        }
        self.client.as_ref().map_or(Ok(()), |client| check_reachable("client.agent", client.agent))
    }

    /// No port is taken twice on one address. A role with many data ports lists them; the check is for pairs.
    fn check_ports(&self) -> Result<(), Invalid> {
        let data = [
            ("proxy", self.proxy.as_ref().map(|section| &section.data_ports)),
            ("origin", self.origin.as_ref().map(|section| &section.data_ports)),
            ("agent", self.agent.as_ref().map(|section| &section.data_ports)),
        ];
        for (section, ports) in data.into_iter().filter_map(|(section, ports)| Some((section, ports?))) {
            if ports.len() > Hello::MAX_DATA_PORTS {
                return Err(Invalid::DataPorts { section, count: ports.len() });
            }
        }
        let listens = [
            ("proxy", self.proxy.as_ref().map(|section| section.listen)),
            ("origin", self.origin.as_ref().map(|section| section.listen)),
            ("build_index", self.build_index.as_ref().map(|section| section.listen)),
            ("tracker", self.tracker.as_ref().map(|section| section.listen)),
            ("agent", self.agent.as_ref().map(|section| section.listen)),
        ];
        let listens: Vec<_> = listens.into_iter().filter_map(|(section, at)| Some((section, at?))).collect();
        for (at, &(second, address)) in listens.iter().enumerate() {
            if let Some(&(first, _)) = listens[..at].iter().find(|(_, other)| clash(*other, address)) {
                return Err(Invalid::SamePort { first, second, address });
            }
        }
        Ok(())
    }

    /// A drain may be zero, which is to stop at once.
    fn check_numbers(&self) -> Result<(), Invalid> {
        let durations = [
            (
                "origin.push_lease",
                self.origin.as_ref().map(|section| section.push_lease),
                defaults::PUSH_LEASE,
            ),
            ("origin.sweep", self.origin.as_ref().map(|section| section.sweep), defaults::SWEEP),
            ("tracker.peer_ttl", self.tracker.as_ref().map(|section| section.peer_ttl), defaults::PEER_TTL),
            ("agent.sweep", self.agent.as_ref().map(|section| section.sweep), defaults::SWEEP),
        ];
        for (key, value, default) in durations {
            if value == Some(Duration::ZERO) {
                return Err(Invalid::Zero { key, default: format!("{default:?}") });
            }
        }
        let Limits { max_connections, max_connections_per_node, .. } = self.limits;
        let counts = [
            ("limits.max_connections", max_connections, defaults::MAX_CONNECTIONS),
            ("limits.max_connections_per_node", max_connections_per_node, defaults::MAX_CONNECTIONS_PER_NODE),
        ];
        for (key, value, default) in counts {
            if value == 0 {
                return Err(Invalid::Zero { key, default: default.to_string() });
            }
        }
        let datagram = self.transport.max_datagram;
        if !(Transport::MIN_DATAGRAM..=Transport::MAX_DATAGRAM).contains(&datagram) {
            return Err(Invalid::Datagram(datagram));
        }
        Ok(())
    }
}

fn check_reachable(key: &'static str, address: SocketAddr) -> Result<(), Invalid> {
    if address.ip().is_unspecified() || address.port() == 0 {
        return Err(Invalid::Unreachable { key, address });
    }
    Ok(())
}

/// Whether two roles cannot both listen. Port 0 is any free port; an unspecified address is every address.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (everywhere || one.ip() == other.ip())
}
