//! Hosts joined by links: a packet goes up its sender's link and down its receiver's. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::link::Link;
use crate::wire::Wire;

/// Where an IPv4 header has the address that the packet is for.
const DESTINATION: std::ops::Range<usize> = 16..20;

/// Which way packets go, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the host.
    Up,
    /// To the host.
    Down,
}

/// Hosts joined by links.
pub(crate) struct Fabric {
    ports: Vec<Port>,
}

struct Port {
    ip: Ipv4Addr,
    up: Wire,
    down: Wire,
}

impl Fabric {
    /// Joins hosts that have these addresses; a host's number is its place among them.
    pub(crate) fn new(hosts: impl IntoIterator<Item = Ipv4Addr>, seed: u64) -> Self {
        let port = |(ip, seed)| Port { ip, up: Wire::new(seed), down: Wire::new(seed + 1) };
        Self { ports: hosts.into_iter().zip((seed..).step_by(2)).map(port).collect() }
    }

    /// Makes a host's link another one.
    pub(crate) fn set(&mut self, host: usize, way: Way, link: Link) {
        let port = &mut self.ports[host];
        match way {
            Way::Up => port.up.set(link),
            Way::Down => port.down.set(link),
        }
    }

    /// Takes a packet that a host sends.
    pub(crate) fn offer(&mut self, host: usize, now: Duration, packet: Vec<u8>) {
        self.ports[host].up.offer(now, packet);
    }

    /// A packet that has arrived by now, and the host that it has arrived at.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<(usize, Vec<u8>)> {
        for host in 0..self.ports.len() {
            // At the time at which it was in the middle: how late the caller looks makes no difference.
            while let Some((at, packet)) = self.ports[host].up.poll(now) {
                if let Some(port) = self.port_of(&packet) {
                    port.down.offer(at, packet);
                }
            }
        }
        let arrived = |(host, port): (usize, &mut Port)| Some((host, port.down.poll(now)?.1));
        self.ports.iter_mut().enumerate().find_map(arrived)
    }

    /// When there is something to be done next.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.ports.iter().flat_map(|port| [port.up.next(), port.down.next()]).flatten().min()
    }

    /// Who a packet is for; nobody, if it is not IPv4 or for no host here.
    fn port_of(&mut self, packet: &[u8]) -> Option<&mut Port> {
        let address: [u8; 4] = packet.get(DESTINATION)?.try_into().ok()?;
        let known = packet[0] >> 4 == 4;
        self.ports.iter_mut().find(|port| known && port.ip.octets() == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn to(last: u8) -> Vec<u8> {
        let mut packet = vec![0; 100];
        packet[0] = 0x45;
        packet[DESTINATION].copy_from_slice(&[10, 0, 0, last]);
        packet
    }

    fn fabric() -> Fabric {
        Fabric::new((1..=3).map(|last| Ipv4Addr::new(10, 0, 0, last)), 1)
    }

    #[test]
    fn a_packet_takes_its_senders_way_up_and_its_receivers_way_down() {
        let mut fabric = fabric();
        fabric.set(0, Way::Up, Link { delay: MS * 10, ..Link::default() });
        fabric.set(1, Way::Down, Link { delay: MS * 5, ..Link::default() });
        fabric.offer(0, Duration::ZERO, to(2));
        assert_eq!((fabric.poll(MS * 9), fabric.next()), (None, Some(MS * 10)));
        // Looked at late, it is not later itself.
        assert_eq!((fabric.poll(MS * 12), fabric.next()), (None, Some(MS * 15)));
        assert_eq!(fabric.poll(MS * 15), Some((1, to(2))));
        // The other way back is another one.
        fabric.offer(1, MS * 20, to(1));
        assert_eq!(fabric.poll(MS * 20), Some((0, to(1))));
        assert_eq!(fabric.next(), None);
    }

    #[test]
    fn what_is_for_nobody_goes_nowhere() {
        let mut fabric = fabric();
        let six = vec![0x60; 100];
        for packet in [to(9), six, vec![], vec![0x45; 19]] {
            fabric.offer(2, Duration::ZERO, packet);
        }
        assert_eq!((fabric.poll(MS), fabric.next()), (None, None));
    }
}
