//! What an endpoint lets its peers use.

use std::time::Duration;

use crate::OpenError;

/// What an endpoint lets its peers use. The defaults suit a node of a few thousand peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most accepted connections. One costs some 50 KiB when idle, so the default is worth 200 MiB.
    pub max_connections: usize,
    /// Most handshakes under way. One costs half a millisecond of a core; more at once would not be done sooner. Beyond
    /// half of them, peers must first prove their address.
    pub max_handshakes: usize,
    /// Most connection attempts that wait for a handshake to begin. The rest are refused.
    pub max_incoming: usize,
    /// Most requests at once on one connection. Each slot costs some 80 bytes on either side, and what it ever used, as
    /// long as the connection lasts; too few, and long-lived watches leave no room for requests.
    pub max_streams: u32,
    /// How long a handshake may take, from the first datagram on; a peer on the other side of the world needs half a second.
    pub handshake_timeout: Duration,
    /// How long a client waits for the server's Hello once the handshake is done, and a server for the first frame of a stream.
    pub hello_timeout: Duration,
    /// A connection on which nothing comes for so long is gone: four keep-alives lost in a row.
    pub idle_timeout: Duration,
    /// How often the dialling side says that it is there. The other side only answers.
    pub keep_alive: Duration,
    /// Longest time that a caller may ask to wait. A pull over a slow line takes hours.
    pub max_call: Duration,
    /// Largest datagram payload that is tried, in bytes. 1,452 fits Ethernet with IPv6; jumbo frames take 8,952.
    pub max_mtu: u16,
    /// Most connections that a [`Pool`](crate::Pool) keeps; beyond, those used longest ago go.
    pub max_pooled: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_handshakes: 128,
            max_incoming: 1024,
            max_streams: 256,
            handshake_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(20),
            keep_alive: Duration::from_secs(5),
            max_call: Duration::from_secs(24 * 3600),
            max_mtu: 1452,
            max_pooled: 1024,
        }
    }
}

impl Limits {
    /// What every path carries (RFC 9000, section 14).
    const MIN_MTU: u16 = 1200;
    /// UDP's own limit on a payload.
    const MAX_MTU: u16 = 65_527;

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let counts = [
            ("max_connections", self.max_connections),
            ("max_handshakes", self.max_handshakes),
            ("max_incoming", self.max_incoming),
            ("max_pooled", self.max_pooled),
        ];
        let most = tokio::sync::Semaphore::MAX_PERMITS;
        if let Some((name, value)) = counts.into_iter().find(|(_, value)| !(1..=most).contains(value)) {
            return Err(OpenError::Limit { name, value: value as u64, wanted: "at least 1" });
        }
        if self.max_streams == 0 {
            return Err(OpenError::Limit { name: "max_streams", value: 0, wanted: "at least 1" });
        }
        if !(Self::MIN_MTU..=Self::MAX_MTU).contains(&self.max_mtu) {
            let value = self.max_mtu.into();
            return Err(OpenError::Limit { name: "max_mtu", value, wanted: "1200 to 65527" });
        }
        Ok(())
    }
}
