//! When each packet passed an interface, as the kernel stamped it.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::sockopt::{RcvBufForce, ReceiveTimeout, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket,
};
use nix::sys::time::{TimeSpec, TimeVal};

use crate::counters::{Counter, Sample, now};
use crate::namespaces::INTERFACE;

/// What the kernel keeps until it is read, in bytes: a packet takes some 2 KiB, so half a second of 1 Gbit/s.
const ROOM: usize = 128 << 20;
/// How often the time is looked at while no packet comes, in microseconds.
const LOOK: i64 = 10_000;
/// `PACKET_OUTGOING` of packet(7).
const OUTGOING: u8 = 4;
/// Bytes that a header takes before the packet's own length is known to be told in any case.
const HEAD: usize = 64;

/// Sees every packet of an interface.
pub(crate) struct Packets {
    socket: OwnedFd,
    interface: usize,
    counter: Counter,
}

impl Packets {
    /// Begins to see what the interface of this namespace sends or receives.
    pub(crate) fn open(counter: Counter) -> anyhow::Result<Self> {
        let none = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, none, SockProtocol::EthAll)
            .context("cannot see packets")?;
        setsockopt(&socket, RcvBufForce, &ROOM)?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, LOOK))?;
        let interface = usize::try_from(if_nametoindex(INTERFACE)?)?;
        Ok(Self { socket, interface, counter })
    }

    /// What had passed by the time of each packet, until a time.
    pub(crate) fn until(&self, end: Duration) -> anyhow::Result<Vec<Sample>> {
        // Stamps are of the clock that people set; a step of it while packets are seen would be taken for a pause of the sender.
        let behind = wall().checked_sub(now()).context("the clock stands before the machine's start")?;
        let (mut samples, mut bytes) = (Vec::new(), 0);
        while now() < end {
            let Some((stamp, length)) = self.next()? else { continue };
            let stamp = stamp.context("the kernel does not stamp packets")?;
            bytes += u64::try_from(length)?;
            let at = Duration::from(stamp).saturating_sub(behind);
            samples.push(Sample { at, bytes });
        }
        ensure!(!samples.is_empty(), "no packet was seen");
        Ok(samples)
    }

    /// The next packet of the direction that is of interest.
    fn next(&self) -> anyhow::Result<Option<(Option<TimeSpec>, usize)>> {
        let (mut head, mut control) = ([0; HEAD], nix::cmsg_space!(TimeSpec));
        let mut parts = [IoSliceMut::new(&mut head)];
        // Told to do so, the kernel says how long the packet is, not how much of it was read.
        let flags = MsgFlags::MSG_TRUNC;
        let message =
            match recvmsg::<LinkAddr>(self.socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(message) => message,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
                Err(error) => return Err(error).context("cannot see packets"),
            };
        let from = message.address.context("a packet of no interface")?;
        let outgoing = from.pkttype() == OUTGOING;
        if from.ifindex() != self.interface || outgoing != (self.counter == Counter::Sent) {
            return Ok(None);
        }
        let stamp = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(stamp),
            _ => None,
        });
        Ok(Some((stamp, message.bytes)))
    }
}

fn wall() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Duration::try_from(time).unwrap_or_default()
}
