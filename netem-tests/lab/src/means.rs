//! How links are made: by the kernel, where it has netem, or by a switch of our own.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum;
use rdcq_wire::ByteRate;
use serde::Serialize;

use crate::link::Link;

/// How links are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Means {
    /// The kernel's netem, and its token bucket for the rate.
    Netem,
    /// A switch in the lab's process, on TUN devices.
    Switch,
}

/// Packets that netem may hold: as many as our switch.
const NETEM_LIMIT: u32 = 1 << 16;
/// Bytes that the bucket lets pass at once: two packets of Ethernet.
const BURST: u32 = 2 * 1514;

/// What `tc` is told after `qdisc add dev DEV` so that packets leave the device as over such a link; a rate takes a
/// second one. The hole is not among them: it is the device's largest packet.
pub(crate) fn netem(link: &Link) -> Vec<String> {
    let mut netem = format!("root handle 1: netem limit {NETEM_LIMIT}");
    let (faults, us) = (link.faults, |time: Duration| time.as_micros());
    // Reordering takes a delay that it can leave out.
    let delay = link.delay.max(Duration::from_micros(u64::from(faults.reorder > 0.0)));
    let _ = write!(netem, " delay {}us", us(delay));
    if !link.jitter.is_zero() {
        let _ = write!(netem, " {}us", us(link.jitter));
    }
    let lost = if link.cut { 1.0 } else { faults.loss };
    let parts = [("loss", lost), ("duplicate", faults.duplicate), ("reorder", faults.reorder)];
    for (name, part) in parts.into_iter().chain([("corrupt", faults.corrupt)]).filter(|(_, part)| *part > 0.0)
    {
        let _ = write!(netem, " {name} {}%", part * 100.0);
    }
    let bucket = link.rate.map(|rate| {
        let (bits, wait) = (rate.bytes_per_second() * 8, us(link.queue).max(1));
        format!("parent 1: handle 2: tbf rate {bits}bit burst {BURST} latency {wait}us")
    });
    [Some(netem), bucket].into_iter().flatten().collect()
}

/// How long a link that was idle may send faster than its rate afterwards: longer than a busy machine is late.
const CATCH_UP: Duration = Duration::from_millis(5);

/// What `tc` is told after `qdisc replace dev DEV root` so that packets leave the device at this rate, and wait for at most this
/// long.
pub(crate) fn bucket(rate: ByteRate, queue: Duration) -> String {
    let bytes = rate.bytes_per_second();
    let burst = ((bytes as f64 * CATCH_UP.as_secs_f64()) as u32).max(BURST);
    format!("tbf rate {}bit burst {burst} latency {}us", bytes * 8, queue.as_micros())
}

#[cfg(test)]
mod tests {
    use crate::link::Faults;

    use super::*;

    #[test]
    fn netem_is_told_all_of_a_link() {
        let ms = Duration::from_millis;
        assert_eq!(netem(&Link::default()), ["root handle 1: netem limit 65536 delay 0us"]);
        let faults = Faults { loss: 0.01, duplicate: 0.02, reorder: 0.5, corrupt: 0.001 };
        let path =
            Link { jitter: ms(3), faults, ..Link::path("100Mbit/s".parse().unwrap(), ms(50), ms(20), 0.0) };
        assert_eq!(
            netem(&path),
            [
                "root handle 1: netem limit 65536 delay 10000us 3000us loss 1% duplicate 2% reorder 50% corrupt 0.1%",
                "parent 1: handle 2: tbf rate 100000000bit burst 3028 latency 50000us",
            ]
        );
        let slow = bucket("6.25Mbit/s".parse().unwrap(), ms(50));
        assert_eq!(slow, "tbf rate 6250000bit burst 3906 latency 50000us");
        assert!(netem(&Link { cut: true, ..path })[0].contains(" loss 100%"));
    }
}
