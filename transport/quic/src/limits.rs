//! What an endpoint lets its peers use.

use std::time::Duration;

use rdcq_wire::message::Hello;

use crate::{OpenError, Plane, idle};

/// What an endpoint lets its peers use. The defaults suit a node of a few thousand peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most accepted connections, control and data each. One costs some 20 KiB when idle, so the default is worth 80 MiB.
    pub max_connections: usize,
    /// Most accepted connections of one node to the control port; a data port takes a quarter of them. A host's commands share
    /// its name, and each has one.
    pub max_connections_per_node: usize,
    /// Most handshakes under way. One costs half a millisecond of a core; more at once would not be done sooner. Beyond
    /// half of them, peers must first prove their address.
    pub max_handshakes: usize,
    /// Most connection attempts that wait for a handshake to begin. The rest are refused.
    pub max_incoming: usize,
    /// Most requests at once on one connection. Each slot costs some 80 bytes on either side, and what it ever used, as
    /// long as the connection lasts, so a connection begins with few and is given more as it uses them.
    pub max_streams: u32,
    /// Most bytes of replies and of requests' bodies that are under way, over all connections; one node may have a quarter
    /// of them. Whoever asks for more is told to come back.
    pub max_reply_bytes: u64,
    /// How long a handshake may take, from the first datagram on; a peer on the other side of the world needs half a second.
    pub handshake_timeout: Duration,
    /// How long either side waits for the other's Hello once the handshake is done, and a server for the first frame of a stream.
    pub hello_timeout: Duration,
    /// Either side gives an idle connection up on which nothing comes for so long; whoever says something to a peer that is gone
    /// waits once more. A peer that owes an answer is given up within 3 s. The lower of both sides' counts.
    pub idle_timeout: Duration,
    /// After how long without a word the dialling side says that it is there; the other side only answers. What is left
    /// of `idle_timeout` then is for a sign that was lost to be repeated: seven times in the 3 s until the dialling side gives
    /// up. Ten thousand idle connections cost 190 datagrams a second each way, most of a per cent of a core. Where a firewall
    /// forgets flows of UDP sooner (Linux: after two minutes, others after 30 s), idle connections are lost and opened anew.
    pub keep_alive: Duration,
    /// Longest time that a caller may ask to wait. A pull over a slow line takes hours.
    pub max_call: Duration,
    /// Largest datagram payload that is tried on data connections, in bytes. 1,452 fits Ethernet with IPv6. Ten of them are
    /// sent at once and must stay below 64 KiB, or every batch is lost: so 6,500 for jumbo frames, and not 8,952.
    pub max_datagram: u16,
    /// Who decides how much is on the way to a peer.
    pub congestion: Congestion,
    /// Where data connections arrive.
    pub data_ports: DataPorts,
    /// Most connections that a [`Pool`](crate::Pool) keeps; beyond, those used longest ago go.
    pub max_pooled: usize,
    /// A connection that neither side has used for so long is closed by the side that opened it.
    pub close_idle: Duration,
    /// A connection that is older gives way to a new one, whose certificates are checked anew.
    pub max_age: Duration,
}

/// Where data connections arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataPorts {
    /// Nowhere: the node neither gives nor takes pieces.
    None,
    /// On any free ports, one a data thread.
    Any,
    /// On these ports.
    These(Vec<u16>),
}

/// Who decides how much is on the way to a peer: quinn's controllers, and one of ours around quinn's cubic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Congestion {
    /// Cubic to which a loss counts only if datagrams wait in the path, or more than one in 16 is lost.
    TolerantCubic,
    /// Takes a lost datagram for a full queue, and is back at its old window within seconds.
    Cubic,
    /// Takes a lost datagram for a full queue, and grows by one datagram a round trip.
    NewReno,
    /// Sends at the rate that arrives, whatever is lost.
    Bbr,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_connections_per_node: 64,
            max_handshakes: 128,
            max_incoming: 1024,
            max_streams: 256,
            max_reply_bytes: 256 * 1024 * 1024,
            handshake_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(59),
            keep_alive: Duration::from_secs(54),
            max_call: Duration::from_secs(24 * 3600),
            max_datagram: 6500,
            congestion: Congestion::TolerantCubic,
            data_ports: DataPorts::Any,
            max_pooled: 1024,
            close_idle: Duration::from_secs(600),
            max_age: Duration::from_secs(24 * 3600),
        }
    }
}

impl Limits {
    /// What every path carries (RFC 9000, section 14).
    const MIN_MTU: u16 = 1200;
    /// A tenth of what the kernel sends at once: a longer batch is refused, and every datagram of it counts as lost.
    const MAX_DATAGRAM: u16 = 6550;

    /// A data connection's windows are 16 MiB, so that a node's share of a port's memory is 256 MiB by default.
    const DATA_PART: usize = 4;

    /// Most accepted connections of one node to a port.
    pub(crate) fn connections_per_node(&self, plane: Plane) -> usize {
        match plane {
            Plane::Control => self.max_connections_per_node,
            Plane::Data(_) => (self.max_connections_per_node / Self::DATA_PART).max(1),
        }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let counts = [
            ("max_connections", self.max_connections),
            ("max_connections_per_node", self.max_connections_per_node),
            ("max_handshakes", self.max_handshakes),
            ("max_incoming", self.max_incoming),
            ("max_pooled", self.max_pooled),
        ];
        let most = tokio::sync::Semaphore::MAX_PERMITS;
        if let Some((name, value)) = counts.into_iter().find(|(_, value)| !(1..=most).contains(value)) {
            return Err(OpenError::Limit { name, value: value as u64, wanted: "at least 1" });
        }
        // A sign must be said, and answered, before a look that may give the peer up.
        if self.keep_alive.saturating_add(idle::beat(self.idle_timeout) * 2) >= self.idle_timeout {
            let (value, wanted) =
                (self.keep_alive.as_secs(), "at most nine tenths of idle_timeout, in seconds");
            return Err(OpenError::Limit { name: "keep_alive", value, wanted });
        }
        if self.max_streams == 0 {
            return Err(OpenError::Limit { name: "max_streams", value: 0, wanted: "at least 1" });
        }
        if !(Self::MIN_MTU..=Self::MAX_DATAGRAM).contains(&self.max_datagram) {
            let value = self.max_datagram.into();
            return Err(OpenError::Limit { name: "max_datagram", value, wanted: "1200 to 6550" });
        }
        if let DataPorts::These(ports) = &self.data_ports
            && !(1..=Hello::MAX_DATA_PORTS).contains(&ports.len())
        {
            let value = ports.len() as u64;
            return Err(OpenError::Limit { name: "data_ports", value, wanted: "1 to 64 ports" });
        }
        Ok(())
    }
}
