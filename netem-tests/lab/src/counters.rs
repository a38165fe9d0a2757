//! What an interface has carried, over time.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::namespaces::{Host, INTERFACE};

/// How often counters are read: twice in the time of the shortest burst that is of interest.
const EVERY: Duration = Duration::from_millis(5);

#[derive(Args)]
pub(crate) struct Arguments {
    /// For how long, in milliseconds.
    #[arg(long)]
    ms: u64,
}

/// Bytes that had left the interface at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) bytes: u64,
}

/// Prints time in nanoseconds and bytes sent, line by line, of the namespace that it runs in.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = format!("/sys/class/net/{INTERFACE}/statistics/tx_bytes");
    let (began, until) = (Instant::now(), Duration::from_millis(arguments.ms));
    let mut lines = String::new();
    while began.elapsed() < until {
        let (before, bytes) = (began.elapsed(), fs::read_to_string(&path).context(path.clone())?);
        // Halfway through the read: who is preempted in it knows the time less well.
        let at = (before + began.elapsed()) / 2;
        lines.push_str(&format!("{} {}\n", at.as_nanos(), bytes.trim()));
        std::thread::sleep(EVERY);
    }
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

/// Watches what leaves a host for some time.
pub(crate) async fn watch(host: &Host, time: Duration) -> anyhow::Result<Vec<Sample>> {
    let lab = std::env::current_exe()?;
    let (host, lab) = (host.clone(), lab.display().to_string());
    let ms = time.as_millis().to_string();
    let text = tokio::task::spawn_blocking(move || host.run(&[&lab, "count", "--ms", &ms])).await??;
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
    fn a_burst_is_what_comes_ahead_of_the_rate() {
        assert_eq!(burst(&samples(&[0, 10, 20, 30]), 100.0), 0.0);
        // Thirty at once where ten are due, after a pause.
        assert_eq!(burst(&samples(&[0, 10, 10, 40, 50]), 100.0).round(), 20.0);
    }
}
