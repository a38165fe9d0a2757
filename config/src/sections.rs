//! The sections of the settings file, one type each.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Congestion, address, duration, text};

/// `[identity]`: the files that say who the node is, all PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// The herd's CA certificates: one, or several while one is being replaced.
    pub ca: PathBuf,
    /// The node's certificate.
    pub cert: PathBuf,
    /// The node's private key.
    pub key: PathBuf,
    /// The CAs' revocation lists. Left out, no certificate is taken back; named, no peer is believed whose CA has no list
    /// in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub crl: Option<PathBuf>,
}

/// `[herd]`: where the herd's servers are, each `IP:port`. Host names are not resolved: a herd goes on without a name
/// service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HerdAddresses {
    /// The proxies.
    #[serde(with = "address::list")]
    pub proxies: Vec<SocketAddr>,
    /// The origins.
    #[serde(with = "address::list")]
    pub origins: Vec<SocketAddr>,
    /// The build indexes.
    #[serde(with = "address::list")]
    pub build_indexes: Vec<SocketAddr>,
    /// The trackers.
    #[serde(with = "address::list")]
    pub trackers: Vec<SocketAddr>,
}

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where it accepts connections.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// Ports at the same address for connections that carry pieces; left out, any that are free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_ports: Vec<u16>,
}

/// `[origin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginConfig {
    /// Where it accepts connections.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// Ports at the same address for connections that carry pieces; left out, any that are free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_ports: Vec<u16>,
    /// How long the content of a push is kept for it after the last word about it.
    #[serde(with = "duration", default = "defaults::push_lease")]
    pub push_lease: Duration,
    /// How often it looks for content that nothing refers to.
    #[serde(with = "duration", default = "defaults::sweep")]
    pub sweep: Duration,
}

/// `[build_index]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildIndexConfig {
    /// Where it accepts connections.
    #[serde(with = "address")]
    pub listen: SocketAddr,
}

/// `[tracker]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackerConfig {
    /// Where it accepts connections.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// How long a peer is handed out after its last announcement.
    #[serde(with = "duration", default = "defaults::peer_ttl")]
    pub peer_ttl: Duration,
}

/// `[agent]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where it accepts connections.
    #[serde(with = "address")]
    pub listen: SocketAddr,
    /// Ports at the same address for connections that carry pieces; left out, any that are free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_ports: Vec<u16>,
    /// How often it looks for content that has had its time.
    #[serde(with = "duration", default = "defaults::sweep")]
    pub sweep: Duration,
}

/// `[client]`: for pushes and pulls from the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientConfig {
    /// The agent that pulls for this host.
    #[serde(with = "address")]
    pub agent: SocketAddr,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { agent: defaults::AGENT }
    }
}

/// `[admin]`: the listener for people and scrapers, HTTP without TLS and open to whoever reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where it accepts connections, over TCP. Anything but loopback is warned about.
    #[serde(with = "address")]
    pub listen: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: defaults::ADMIN }
    }
}

/// `[limits]`: how much the node takes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections accepted at a time; one more is refused.
    pub max_connections: u32,
    /// Connections accepted at a time from nodes of one name: all commands of a host share theirs. A data port takes a
    /// quarter of it.
    pub max_connections_per_node: u32,
    /// How long requests may run on after the node was told to stop.
    #[serde(with = "duration")]
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: defaults::MAX_CONNECTIONS,
            max_connections_per_node: defaults::MAX_CONNECTIONS_PER_NODE,
            drain: defaults::DRAIN,
        }
    }
}

/// `[transport]`: how connections are set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transport {
    /// Largest datagram payload that is tried where pieces go, in bytes. What the path carries is found out.
    pub max_datagram: u16,
    /// Who decides how much is on the way to a peer.
    #[serde(with = "text")]
    pub congestion: Congestion,
}

impl Transport {
    /// What every path carries (RFC 9000, section 14).
    pub const MIN_DATAGRAM: u16 = 1200;
    /// A tenth of what a kernel sends at once: a longer batch is refused, and all of it counts as lost.
    pub const MAX_DATAGRAM: u16 = 6550;
}

impl Default for Transport {
    fn default() -> Self {
        Self { max_datagram: defaults::MAX_DATAGRAM, congestion: Congestion::default() }
    }
}

pub(crate) mod defaults {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::path::PathBuf;
    use std::time::Duration;

    /// Where the Filesystem Hierarchy Standard puts what a service keeps.
    pub const DATA_DIR: &str = "/var/lib/rdcq";

    /// Outlives a restart of the pushing host; short enough that abandoned pushes do not fill the disk.
    pub const PUSH_LEASE: Duration = Duration::from_secs(60);

    /// Reclaims space within a minute, and a sweep of an idle store costs next to nothing.
    pub const SWEEP: Duration = Duration::from_secs(60);

    /// Several announcements long, so that one lost does not hide a peer; a dead one is handed out for this long.
    pub const PEER_TTL: Duration = Duration::from_secs(15);

    /// The agent of the same host, on the port of the shipped `agent.toml`.
    pub const AGENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7405);

    /// Out of reach of every other machine.
    pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);

    /// Enough for every agent of a large herd; bounds what connections can take in memory.
    pub const MAX_CONNECTIONS: u32 = 16_384;

    /// More commands than a host runs at once; keeps one broken host from taking the places of all others.
    pub const MAX_CONNECTIONS_PER_NODE: u32 = 64;

    /// Suits jumbo frames of 9,000 bytes, and costs a path of 1,500 a few probes.
    pub const MAX_DATAGRAM: u16 = 6500;

    /// Lets pieces in flight end, and stays below what service managers wait before they kill.
    pub const DRAIN: Duration = Duration::from_secs(10);

    pub(crate) fn data_dir() -> PathBuf {
        DATA_DIR.into()
    }

    pub(crate) fn push_lease() -> Duration {
        PUSH_LEASE
    }

    pub(crate) fn sweep() -> Duration {
        SWEEP
    }

    pub(crate) fn peer_ttl() -> Duration {
        PEER_TTL
    }
}
