//! A socket under quinn that looks at few strangers while data moves.
//!
//! quinn derives keys for whatever looks like the begin of a connection, before it hands the attempt to anybody who could
//! turn it away. Garbage that looks so costs the node more than its sender, and takes the cores from the data.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rdcq_env::Env;

use crate::activity::Activity;
use crate::admission::Initials;
use crate::audit::Counters;

/// Drops Initials beyond what [`Initials`] admits while the node moves data. See the [module](self).
pub(crate) struct ShieldedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    env: Env,
    activity: Arc<Activity>,
    counters: Arc<Counters>,
    initials: Mutex<Initials>,
}

impl ShieldedSocket {
    pub(crate) fn new(
        env: &Env,
        inner: Arc<dyn AsyncUdpSocket>,
        activity: Arc<Activity>,
        counters: Arc<Counters>,
    ) -> Self {
        let initials = Mutex::new(Initials::new(env.now()));
        Self { inner, env: env.clone(), activity, counters, initials }
    }

    fn is_wanted(&self, datagram: &[u8], from: IpAddr) -> bool {
        if !is_initial(datagram) {
            return true;
        }
        let now = self.env.now();
        let wanted = !self.activity.is_busy(now)
            || self.initials.lock().unwrap_or_else(PoisonError::into_inner).admit(now, from);
        if !wanted {
            self.counters.refused("flood");
        }
        wanted
    }
}

/// Whether a datagram's first packet is an Initial (RFC 9000, section 17.2.2): a long header of type 0. The fixed bit may be anything
/// (RFC 9287).
fn is_initial(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0b1011_0000 == 0b1000_0000)
}

/// Moves together what is kept of the datagrams of one batch, all `stride` bytes long but for a last one that may be shorter.
/// Returns how many bytes are left.
fn keep(batch: &mut [u8], stride: usize, mut wanted: impl FnMut(&[u8]) -> bool) -> usize {
    let mut kept = 0;
    for at in (0..batch.len()).step_by(stride.max(1)) {
        let end = batch.len().min(at + stride.max(1));
        if wanted(&batch[at..end]) {
            if kept < at {
                batch.copy_within(at..end, kept);
            }
            kept += end - at;
        }
    }
    kept
}

impl fmt::Debug for ShieldedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShieldedSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for ShieldedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(batches)) = received {
            for (meta, batch) in meta.iter_mut().zip(bufs).take(batches) {
                let from = meta.addr.ip();
                // What has no bytes left, quinn passes over.
                meta.len =
                    keep(&mut batch[..meta.len], meta.stride, |datagram| self.is_wanted(datagram, from));
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initials_are_long_headers_of_type_0_whatever_the_fixed_bit() {
        for first in 0..=u8::MAX {
            let long_of_type_0 = first >> 7 == 1 && first >> 4 & 0b11 == 0;
            assert_eq!(is_initial(&[first, 0]), long_of_type_0, "{first:#b}");
        }
        assert!(!is_initial(&[]));
    }

    #[test]
    fn what_is_kept_of_a_batch_stays_in_order_and_whole() {
        let batch = |bytes: &str, stride, dropped: char| {
            let mut bytes = bytes.as_bytes().to_vec();
            let left = keep(&mut bytes, stride, |datagram| datagram[0] != dropped as u8);
            String::from_utf8(bytes[..left].to_vec()).unwrap()
        };
        assert_eq!(batch("abcabcab", 3, 'a'), "");
        assert_eq!(batch("abcdefghijkl", 3, 'd'), "abcghijkl");
        assert_eq!(batch("abcdefghijkl", 3, 'a'), "defghijkl");
        assert_eq!(batch("abcdefgh", 3, 'g'), "abcdef");
        assert_eq!(batch("abcdefgh", 3, 'd'), "abcgh");
        assert_eq!(batch("abc", 3, 'x'), "abc");
        assert_eq!(batch("abc", 0, 'b'), "ac");
        assert_eq!(batch("", 3, 'x'), "");
    }
}
