//! What one direction of a link does to packets.

use std::time::Duration;

use rdcq_wire::ByteRate;

/// One direction of a link. The default carries everything at once.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Link {
    /// Bytes of frames that it carries in a second; none is whatever comes.
    pub(crate) rate: Option<ByteRate>,
    /// How long a packet may have to wait for those before it; one that would wait longer is dropped.
    pub(crate) queue: Duration,
    /// How long a packet is on its way.
    pub(crate) delay: Duration,
    /// How much longer or shorter it may be, evenly; packets overtake one another then.
    pub(crate) jitter: Duration,
    pub(crate) faults: Faults,
    /// Packets longer than this vanish without a word, in bytes of IP.
    pub(crate) hole: Option<u16>,
    /// Nothing arrives.
    pub(crate) cut: bool,
}

/// Parts of the packets, from 0 to 1, to which something happens, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Faults {
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    /// They skip the delay, and so overtake.
    pub(crate) reorder: f64,
    /// One bit is another.
    pub(crate) corrupt: f64,
}

/// Bytes that Ethernet puts before a packet; an interface counts them.
pub(crate) const ETHERNET: usize = 14;

impl Link {
    /// Both directions of a path with such a rate, round trip and loss each way.
    pub(crate) fn path(rate: ByteRate, queue: Duration, rtt: Duration, loss: f64) -> Self {
        let faults = Faults { loss, ..Faults::default() };
        Self { rate: Some(rate), queue, delay: rtt / 2, faults, ..Self::default() }
    }

    /// How long it takes to send so many bytes of IP.
    pub(crate) fn sending(&self, bytes: usize) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64((bytes + ETHERNET) as f64 / rate.bytes_per_second() as f64)
        })
    }
}
