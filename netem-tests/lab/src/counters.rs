//! What an interface has carried, over time.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use crate::namespaces::{Host, INTERFACE};

/// How often counters are read: twenty times in the burst that a limit may make.
const EVERY: Duration = Duration::from_millis(1);

#[derive(Args)]
pub(crate) struct Arguments {
    /// For how long, in milliseconds.
    #[arg(long)]
    ms: u64,
    /// Which counter of the interface.
    #[arg(long)]
    counter: Counter,
}

/// A counter of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Counter {
    /// Bytes that left the host.
    Sent,
    /// Bytes that came to it.
    Received,
}

impl Counter {
    const fn file(self) -> &'static str {
        match self {
            Self::Sent => "tx_bytes",
            Self::Received => "rx_bytes",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Received => "received",
        }
    }
}

/// What an interface had carried at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// By the machine's monotonic clock, which all hosts share.
    pub(crate) at: Duration,
    pub(crate) bytes: u64,
}

/// Prints time in nanoseconds and bytes, line by line, of the namespace that it runs in.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = format!("/sys/class/net/{INTERFACE}/statistics/{}", arguments.counter.file());
    let until = now() + Duration::from_millis(arguments.ms);
    let mut lines = String::new();
    while now() < until {
        let (before, bytes) = (now(), fs::read_to_string(&path).context(path.clone())?);
        // Halfway through the read: who is preempted in it knows the time less well.
        let at = (before + now()) / 2;
        lines.push_str(&format!("{} {}\n", at.as_nanos(), bytes.trim()));
        std::thread::sleep(EVERY);
    }
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

/// The machine's monotonic clock.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(time).unwrap_or_default()
}

/// Watches what a host sends or receives for some time.
pub(crate) async fn watch(host: &Host, counter: Counter, time: Duration) -> anyhow::Result<Vec<Sample>> {
    let lab = std::env::current_exe()?;
    let (host, lab) = (host.clone(), lab.display().to_string());
    let ms = time.as_millis().to_string();
    let text = tokio::task::spawn_blocking(move || {
        host.run(&[&lab, "count", "--counter", counter.word(), "--ms", &ms])
    })
    .await??;
    let sample = |line: &str| {
        let (at, bytes) = line.split_once(' ')?;
        Some(Sample { at: Duration::from_nanos(at.parse().ok()?), bytes: bytes.parse().ok()? })
    };
    text.lines().map(|line| sample(line).with_context(|| format!("no sample: {line:?}"))).collect()
}

/// The least and the most bytes a second over any stretch of about this length.
pub(crate) fn rates(samples: &[Sample], length: Duration) -> Option<(f64, f64)> {
    let mut range: Option<(f64, f64)> = None;
    let mut end = 0;
    for begin in samples {
        while end < samples.len() && samples[end].at < begin.at + length {
            end += 1;
        }
        let Some(last) = samples.get(end) else { break };
        let rate = (last.bytes - begin.bytes) as f64 / (last.at - begin.at).as_secs_f64();
        range = Some(range.map_or((rate, rate), |(least, most)| (least.min(rate), most.max(rate))));
    }
    range
}

/// The most bytes that were ahead of a steady rate over any stretch: what a bucket of that rate had to hold.
pub(crate) fn burst(samples: &[Sample], bytes_per_second: f64) -> f64 {
    let mut lowest = f64::INFINITY;
    let ahead = |sample: &Sample| sample.bytes as f64 - sample.at.as_secs_f64() * bytes_per_second;
    samples
        .iter()
        .map(|sample| {
            let ahead = ahead(sample);
            lowest = lowest.min(ahead);
            ahead - lowest
        })
        .fold(0.0, f64::max)
}

/// When, after `from`, a rate over `length` was first such that `holds`.
pub(crate) fn first(
    samples: &[Sample],
    from: Duration,
    length: Duration,
    holds: impl Fn(f64) -> bool,
) -> Option<Duration> {
    let mut begin = 0;
    samples.iter().find_map(|end| {
        while samples[begin].at + length <= end.at && samples[begin + 1].at + length <= end.at {
            begin += 1;
        }
        let Sample { at, bytes } = samples[begin];
        let rate = || (end.bytes - bytes) as f64 / (end.at - at).as_secs_f64();
        (at >= from && at + length <= end.at && holds(rate())).then_some(end.at)
    })
}

/// The longest time between two readings: how long the machine, or whoever reads, stood still.
pub(crate) fn longest_gap(samples: &[Sample]) -> Duration {
    samples.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or_default()
}

/// The bytes a second between two times.
pub(crate) fn mean(samples: &[Sample], from: Duration, until: Duration) -> Option<f64> {
    let within = |sample: &&Sample| (from..=until).contains(&sample.at);
    let (first, last) = (samples.iter().find(within)?, samples.iter().rfind(within)?);
    (last.at > first.at).then(|| (last.bytes - first.bytes) as f64 / (last.at - first.at).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(bytes: &[u64]) -> Vec<Sample> {
        (0..)
            .zip(bytes)
            .map(|(at, bytes)| Sample { at: Duration::from_millis(at * 100), bytes: *bytes })
            .collect()
    }

    #[test]
    fn rates_are_those_of_the_slowest_and_the_fastest_stretch() {
        let steady = samples(&[0, 10, 20, 30, 40]);
        assert_eq!(rates(&steady, Duration::from_millis(200)), Some((100.0, 100.0)));
        let uneven = samples(&[0, 10, 10, 40, 50]);
        assert_eq!(rates(&uneven, Duration::from_millis(200)), Some((50.0, 200.0)));
        assert_eq!(rates(&uneven, Duration::from_secs(1)), None);
    }

    #[test]
    fn the_first_stretch_that_is_fast_enough_is_found_after_the_time_that_is_asked_for() {
        let ms = Duration::from_millis;
        let samples = samples(&[0, 10, 20, 20, 20, 30, 40, 50]);
        let fast = |from| first(&samples, from, ms(200), |rate| rate >= 100.0);
        assert_eq!(fast(ms(0)), Some(ms(200)));
        assert_eq!(fast(ms(100)), Some(ms(600)));
        assert_eq!(fast(ms(600)), None);
        assert_eq!(first(&samples, ms(0), ms(100), |rate| rate == 0.0), Some(ms(300)));
        assert_eq!(longest_gap(&samples[2..]), ms(100));
        assert_eq!(longest_gap(&[samples[0], samples[3], samples[4]]), ms(300));
        assert_eq!(mean(&samples, ms(150), ms(520)), Some(100.0 / 3.0));
        assert_eq!(mean(&samples, ms(710), ms(900)), None);
    }

    #[test]
    fn a_burst_is_what_comes_ahead_of_the_rate() {
        assert_eq!(burst(&samples(&[0, 10, 20, 30]), 100.0), 0.0);
        // Thirty at once where ten are due, after a pause.
        assert_eq!(burst(&samples(&[0, 10, 10, 40, 50]), 100.0).round(), 20.0);
    }
}
