//! One direction of a link at work: packets go in at a time and come out at another. Pure.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::link::Link;

/// Most packets on the way: a second of small ones at 500 Mbit/s. More are dropped, whatever the queue may hold.
const MAX_FLYING: usize = 1 << 16;
/// Bytes of an IP header, at least.
const IP_HEADER: usize = 20;
/// Where an IP header says what it carries, and UDP's number there.
const PROTOCOL: usize = 9;
const UDP: u8 = 17;

/// One direction of a link.
pub(crate) struct Wire {
    link: Link,
    rng: StdRng,
    /// When the last packet that was taken has left at the link's rate.
    free_at: Duration,
    flying: BinaryHeap<Reverse<Flying>>,
    /// Packets taken so far.
    taken: u64,
    pub(crate) dropped: Dropped,
}

/// What did not arrive, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dropped {
    /// For want of room in the queue.
    pub(crate) full: u64,
    /// As the link's faults, its hole or its cut would have it.
    pub(crate) lost: u64,
}

/// A packet on the way. Those that arrive at one time do so in the order in which they were taken.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due: Duration,
    number: u64,
    packet: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            link: Link::default(),
            rng: StdRng::seed_from_u64(seed),
            free_at: Duration::ZERO,
            flying: BinaryHeap::new(),
            taken: 0,
            dropped: Dropped::default(),
        }
    }

    /// Is another link from now on. What is on the way arrives as it would have.
    pub(crate) fn set(&mut self, link: Link) {
        self.link = link;
    }

    /// Takes a packet of IP.
    pub(crate) fn offer(&mut self, now: Duration, mut packet: Vec<u8>) {
        let Link { queue, delay, jitter, faults, hole, cut, rate } = self.link;
        let waits = self.free_at.saturating_sub(now);
        if (rate.is_some() && waits > queue) || self.flying.len() >= MAX_FLYING {
            self.dropped.full += 1;
            return;
        }
        self.free_at = self.free_at.max(now) + self.link.sending(packet.len());
        let too_long = hole.is_some_and(|most| packet.len() > usize::from(most));
        if cut || too_long || self.happens(faults.loss) {
            self.dropped.lost += 1;
            return;
        }
        if self.happens(faults.corrupt) {
            self.corrupt(&mut packet);
        }
        let mut arrival = self.free_at;
        if !self.happens(faults.reorder) {
            // Evenly from `jitter` less to `jitter` more; never before it was sent.
            let spread = jitter * 2;
            arrival += (delay + spread.mul_f64(self.rng.random::<f64>())).saturating_sub(jitter);
        }
        if self.happens(faults.duplicate) {
            self.fly(arrival, packet.clone());
        }
        self.fly(arrival, packet);
    }

    /// A packet that has arrived by now, and when it did.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<(Duration, Vec<u8>)> {
        if self.next()? > now {
            return None;
        }
        self.flying.pop().map(|Reverse(Flying { due, packet, .. })| (due, packet))
    }

    /// When the next packet arrives.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.flying.peek().map(|Reverse(flying)| flying.due)
    }

    fn fly(&mut self, due: Duration, packet: Vec<u8>) {
        self.taken += 1;
        self.flying.push(Reverse(Flying { due, number: self.taken, packet }));
    }

    fn happens(&mut self, part: f64) -> bool {
        // Nothing is drawn for what never happens, so that one fault does not change when others strike.
        part > 0.0 && self.rng.random::<f64>() < part
    }

    /// Turns a bit over behind the headers. A datagram's checksum is taken away, or the receiver's kernel would drop what
    /// QUIC is to find out.
    fn corrupt(&mut self, packet: &mut [u8]) {
        let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        let udp = header >= IP_HEADER && packet.get(PROTOCOL) == Some(&UDP);
        let payload = if udp { header + 8 } else { header };
        if payload >= packet.len() {
            return;
        }
        if udp {
            packet[header + 6..header + 8].fill(0);
        }
        let at = self.rng.random_range(payload..packet.len());
        packet[at] ^= 1 << self.rng.random_range(0..8);
    }
}

#[cfg(test)]
mod tests {
    use crate::link::{ETHERNET, Faults};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn wire(link: Link) -> Wire {
        let mut wire = Wire::new(7);
        wire.set(link);
        wire
    }

    fn packet(number: u16) -> Vec<u8> {
        let mut packet = vec![0; 1000 - ETHERNET];
        packet[0] = 0x45;
        packet[9] = UDP;
        packet[26..28].copy_from_slice(&[9, 9]);
        packet[28..30].copy_from_slice(&number.to_be_bytes());
        packet
    }

    fn number(packet: &[u8]) -> u16 {
        u16::from_be_bytes([packet[28], packet[29]])
    }

    /// What arrives of so many packets, one every ms, and when.
    fn arrivals(wire: &mut Wire, count: u16) -> Vec<(Duration, u16)> {
        (0..count).for_each(|n| wire.offer(MS * u32::from(n), packet(n)));
        std::iter::from_fn(|| wire.poll(Duration::MAX)).map(|(at, packet)| (at, number(&packet))).collect()
    }

    #[test]
    fn packets_leave_at_the_rate_and_arrive_after_the_delay() {
        // 1,000 bytes take 10 ms.
        let rate = "100kB/s".parse().ok();
        let mut wire = wire(Link { rate, queue: MS * 100, delay: MS * 30, ..Link::default() });
        assert_eq!(arrivals(&mut wire, 3), [(MS * 40, 0), (MS * 50, 1), (MS * 60, 2)]);
        // Who comes after a pause does not wait.
        wire.offer(MS * 200, packet(3));
        assert_eq!((wire.poll(MS * 239).is_none(), wire.next()), (true, Some(MS * 240)));
        assert!(wire.poll(MS * 240).is_some());
    }

    #[test]
    fn who_would_wait_longer_than_the_queue_is_dropped() {
        let mut wire = wire(Link { rate: "100kB/s".parse().ok(), queue: MS * 20, ..Link::default() });
        (0..10).for_each(|n| wire.offer(Duration::ZERO, packet(n)));
        // One is being sent, and those behind it wait 10 and 20 ms.
        assert_eq!(std::iter::from_fn(|| wire.poll(MS * 100)).count(), 3);
        assert_eq!(wire.dropped, Dropped { full: 7, lost: 0 });
    }

    #[test]
    fn faults_strike_as_often_as_they_are_told_to() {
        let with = |faults| {
            let mut wire = wire(Link { delay: MS * 5, faults, ..Link::default() });
            arrivals(&mut wire, 10_000)
        };
        let none = Faults::default();
        assert_eq!(with(none).len(), 10_000);
        assert!((9_400..9_600).contains(&with(Faults { loss: 0.05, ..none }).len()));
        assert!((10_400..10_600).contains(&with(Faults { duplicate: 0.05, ..none }).len()));
        let order = with(Faults { reorder: 0.05, ..none });
        let overtaken = order.windows(2).filter(|two| two[0].1 > two[1].1).count();
        assert!((300..700).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn a_corrupt_datagram_has_one_bit_turned_over_and_no_checksum() {
        let mut wire = wire(Link { faults: Faults { corrupt: 1.0, ..Faults::default() }, ..Link::default() });
        for n in 0..1000 {
            wire.offer(Duration::ZERO, packet(n));
            let (_, got) = wire.poll(MS).unwrap();
            let mut sent = packet(n);
            assert_eq!(got[26..28], [0, 0]);
            sent[26..28].fill(0);
            assert_eq!(got[..28], sent[..28]);
            let flipped = |(a, b): (&u8, &u8)| (a ^ b).count_ones();
            assert_eq!(got.iter().zip(&sent).map(flipped).sum::<u32>(), 1);
        }
        // Nothing to turn over, and nothing to read a length from.
        for short in [vec![], vec![0x4f], vec![0x45; 20], packet(0)[..28].to_vec()] {
            wire.offer(Duration::ZERO, short.clone());
            assert_eq!(wire.poll(MS).unwrap().1, short);
        }
    }

    #[test]
    fn jitter_spreads_arrivals_evenly_about_the_delay() {
        let mut wire = wire(Link { delay: MS * 20, jitter: MS * 10, ..Link::default() });
        let took: Vec<_> = arrivals(&mut wire, 1000).iter().map(|(at, n)| *at - MS * u32::from(*n)).collect();
        let (least, most) = (took.iter().min().unwrap(), took.iter().max().unwrap());
        assert!(*least >= MS * 10 && *least < MS * 11 && *most > MS * 29 && *most <= MS * 30);
    }

    #[test]
    fn a_hole_takes_long_packets_and_a_cut_takes_all() {
        let mut wire = wire(Link { hole: Some(985), ..Link::default() });
        wire.offer(Duration::ZERO, packet(0));
        wire.offer(Duration::ZERO, packet(1)[..985].to_vec());
        assert_eq!(number(&wire.poll(MS).unwrap().1), 1);
        wire.set(Link { cut: true, ..Link::default() });
        wire.offer(Duration::ZERO, packet(2));
        assert!(wire.poll(MS).is_none());
        assert_eq!(wire.dropped, Dropped { full: 0, lost: 2 });
    }

    #[test]
    fn what_is_on_the_way_is_bounded() {
        let mut wire = wire(Link { delay: MS, ..Link::default() });
        (0..MAX_FLYING + 9).for_each(|_| wire.offer(Duration::ZERO, vec![0; 20]));
        assert_eq!((wire.flying.len(), wire.dropped.full), (MAX_FLYING, 9));
    }

    #[test]
    fn the_same_seed_does_the_same() {
        let faults = Faults { loss: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.1 };
        let link = Link { delay: MS * 20, jitter: MS * 10, faults, ..Link::default() };
        assert_eq!(arrivals(&mut wire(link), 500), arrivals(&mut wire(link), 500));
    }
}
