//! What every host's interface has carried, over time, as the bridge's ports count it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::counters::now;
use crate::namespaces::{Network, Running, port};

/// How often ports are looked at.
const EVERY: Duration = Duration::from_millis(20);
/// How long the first look, and one after the end, may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Arguments {
    /// Hosts that the bridge has.
    #[arg(long)]
    hosts: usize,
}

/// What a host's interface has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Bytes that left the host.
    pub(crate) sent: u64,
    /// Bytes that came to it.
    pub(crate) received: u64,
    pub(crate) sent_packets: u64,
    pub(crate) received_packets: u64,
}

impl Carried {
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            received: self.received - before.received,
            sent_packets: self.sent_packets - before.sent_packets,
            received_packets: self.received_packets - before.received_packets,
        }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
            sent_packets: self.sent_packets + other.sent_packets,
            received_packets: self.received_packets + other.received_packets,
        }
    }

    fn parse(numbers: &[u64]) -> Option<Self> {
        let [sent, received, sent_packets, received_packets] = *numbers else { return None };
        Some(Self { sent, received, sent_packets, received_packets })
    }
}

/// All hosts at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// By the machine's monotonic clock.
    pub(crate) at: Duration,
    pub(crate) hosts: Vec<Carried>,
}

/// Prints a line every now and then until it is killed: time in nanoseconds, then bytes sent and received
/// and packets sent and received of each host.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let ports: Vec<String> = (0..arguments.hosts).map(port).collect();
    loop {
        let text = fs::read_to_string("/proc/net/dev")?;
        let mut line = now().as_nanos().to_string();
        for port in &ports {
            let Carried { sent, received, sent_packets, received_packets } =
                carried(&text, port).with_context(|| format!("no {port}"))?;
            line.push_str(&format!(" {sent} {received} {sent_packets} {received_packets}"));
        }
        line.push('\n');
        std::io::stdout().write_all(line.as_bytes())?;
        std::thread::sleep(EVERY);
    }
}

/// What the host behind a port has carried: what it sent is what the port received.
fn carried(text: &str, port: &str) -> Option<Carried> {
    let fields = text.lines().find_map(|line| line.trim_start().strip_prefix(port)?.strip_prefix(':'))?;
    let fields: Vec<u64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [sent, sent_packets, .., received, received_packets] = *fields.get(..10)? else { return None };
    Some(Carried { sent, received, sent_packets, received_packets })
}

/// Looks at all ports of a network until it is told to stop.
pub(crate) struct Watch {
    process: Running,
    log: PathBuf,
}

impl Watch {
    pub(crate) fn start(network: &mut Network, log: &Path) -> anyhow::Result<Self> {
        let lab = std::env::current_exe()?.display().to_string();
        let hosts = network.hosts().to_string();
        let process = network.start_at_bridge(&[&lab, "ports", "--hosts", &hosts], log)?;
        let watch = Self { process, log: log.to_owned() };
        watch.looks_after(now())?;
        Ok(watch)
    }

    /// Ends it once it has looked again, and returns all looks.
    pub(crate) fn stop(self, network: &mut Network) -> anyhow::Result<Vec<Look>> {
        let looks = self.looks_after(now())?;
        network.stop(&self.process)?;
        Ok(looks)
    }

    /// All looks, of which one is later than `time`.
    pub(crate) fn looks_after(&self, time: Duration) -> anyhow::Result<Vec<Look>> {
        loop {
            std::thread::sleep(EVERY);
            let looks = parse(&fs::read_to_string(&self.log)?)?;
            if looks.last().is_some_and(|look| look.at > time) {
                return Ok(looks);
            }
            ensure!(now() < time + PATIENCE, "nobody looks at the ports; see {}", self.log.display());
        }
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<Look>> {
    // The last line may still be written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let look = |line: &str| {
        let mut numbers = line.split(' ').map(str::parse::<u64>);
        let at = numbers.next()?.ok()?;
        let rest: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        let hosts = rest.chunks(4).map(Carried::parse).collect::<Option<_>>()?;
        Some(Look { at: Duration::from_nanos(at), hosts })
    };
    whole.lines().map(|line| look(line).with_context(|| format!("not a look: {line:?}"))).collect()
}

/// What hosts had carried at a time, by the last look before it.
pub(crate) fn at(looks: &[Look], time: Duration) -> Option<&Look> {
    let after = looks.partition_point(|look| look.at <= time);
    looks.get(after.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ports_counters_are_the_hosts_the_other_way_round() {
        let text = "Inter-|   Receive\n  lo:    7  0 0 0 0 0 0 0  8 0 0 0 0 0 0 0\n\
                    port1: 100 1 0 0 0 0 0 0  200 2 0 0 0 0 0 0\n port11: 3 1 0 0 0 0 0 0 4 2 0 0 0 0 0 0\n";
        let at = |port| carried(text, port).map(|one| [one.sent, one.received]);
        assert_eq!(at("port1"), Some([100, 200]));
        assert_eq!(at("port11"), Some([3, 4]));
        assert_eq!(carried(text, "port11").map(|one| [one.sent_packets, one.received_packets]), Some([1, 2]));
        assert_eq!(carried(text, "port2"), None);
    }

    #[test]
    fn a_line_that_is_being_written_is_not_read() {
        let looks = parse("1000 1 2 3 4 5 6 7 8\n2000 5 6 7 8 9 10 11 12\n3000 9").unwrap();
        assert_eq!(looks.len(), 2);
        assert_eq!(looks[1].hosts, [[5, 6, 7, 8], [9, 10, 11, 12]].map(|one| Carried::parse(&one).unwrap()));
        assert_eq!(at(&looks, Duration::from_nanos(1999)), Some(&looks[0]));
        assert_eq!(at(&looks, Duration::from_nanos(2000)), Some(&looks[1]));
        assert!(parse("x\n").is_err());
    }
}
