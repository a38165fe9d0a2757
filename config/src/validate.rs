//! Whether settings make sense together.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{Config, ConfigError, Invalid, defaults};

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
        Ok(())
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

    fn check_ports(&self) -> Result<(), Invalid> {
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
        if self.limits.max_connections == 0 {
            let default = defaults::MAX_CONNECTIONS.to_string();
            return Err(Invalid::Zero { key: "limits.max_connections", default });
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
