//! Datagrams that will be sent in one call.

use std::net::{IpAddr, SocketAddr};

use quinn::udp::{EcnCodepoint, Transmit};

/// Bytes of one batch: the kernel refuses more than 65,507 over IPv4.
const MAX_BYTES: usize = 65_000;

/// Datagrams of one size to one destination, of which the last may be shorter.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// `None` while there is nothing.
    shape: Option<Shape>,
    /// Bytes of the transmit that came last.
    last: usize,
}

/// What the datagrams of a batch have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    src_ip: Option<IpAddr>,
    segment: usize,
}

impl Batch {
    /// Whether a batch may wait for more after `transmit`: it is several whole datagrams, as bulk is, and as many fit
    /// again. Anything else is urgent or would gain nothing.
    pub(super) fn may_begin_with(transmit: &Transmit<'_>, max_segments: usize) -> bool {
        let Some(segment) = transmit.segment_size.filter(|segment| *segment > 0) else { return false };
        let len = transmit.contents.len();
        len > segment && len.is_multiple_of(segment) && 2 * len <= limit(segment, max_segments)
    }

    /// Whether there is a batch that `transmit` may continue.
    pub(super) fn takes(&self, transmit: &Transmit<'_>, max_segments: usize) -> bool {
        let Some(shape) = self.shape else { return false };
        let Transmit { destination, ecn, src_ip, .. } = *transmit;
        let len = transmit.contents.len();
        // A single datagram joins as a whole one or as a last, shorter one.
        let segment = match transmit.segment_size {
            None if len <= shape.segment => shape.segment,
            None => return false,
            Some(segment) => segment,
        };
        self.is_whole()
            && len > 0
            && Shape { destination, ecn, src_ip, segment } == shape
            && self.bytes.len() + len <= limit(segment, max_segments)
    }

    /// Adds what [`Self::takes`] or [`Self::may_begin_with`] let in.
    pub(super) fn append(&mut self, transmit: &Transmit<'_>) {
        let Transmit { destination, ecn, src_ip, contents, segment_size } = *transmit;
        let shape = || Shape { destination, ecn, src_ip, segment: segment_size.unwrap_or(contents.len()) };
        self.shape.get_or_insert_with(shape);
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(MAX_BYTES);
        }
        self.bytes.extend_from_slice(contents);
        self.last = contents.len();
        debug_assert!(self.bytes.len() <= MAX_BYTES, "a batch of {} bytes", self.bytes.len());
    }

    /// Whether another transmit like the last one would not be taken.
    pub(super) fn is_full(&self, max_segments: usize) -> bool {
        let Some(shape) = self.shape else { return false };
        !self.is_whole() || self.bytes.len() + self.last > limit(shape.segment, max_segments)
    }

    fn is_whole(&self) -> bool {
        self.shape.is_none_or(|shape| self.bytes.len().is_multiple_of(shape.segment))
    }

    /// Where it goes.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        Some(self.shape?.destination)
    }

    /// The batch in one piece; `None` if there is nothing.
    pub(super) fn transmit(&self) -> Option<Transmit<'_>> {
        let Shape { destination, ecn, src_ip, segment } = self.shape?;
        let segment_size = (self.bytes.len() > segment).then_some(segment);
        Some(Transmit { destination, ecn, contents: &self.bytes, segment_size, src_ip })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.shape.is_none()
    }

    pub(super) fn clear(&mut self) {
        self.shape = None;
        self.bytes.clear();
    }
}

/// Most bytes of a batch of datagrams of `segment` bytes.
fn limit(segment: usize, max_segments: usize) -> usize {
    segment.saturating_mul(max_segments).min(MAX_BYTES)
}

/// Datagrams in a transmit.
pub(super) fn segments(transmit: &Transmit<'_>) -> usize {
    match transmit.segment_size {
        Some(segment) if segment > 0 => transmit.contents.len().div_ceil(segment),
        _ => 1,
    }
}
