//! What an interface has carried, over time, and when the machine stood still meanwhile.

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rustix::thread::CpuSet;

use crate::namespaces::{Host, INTERFACE};
use crate::packets::Packets;

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
    /// Also when each packet passed.
    #[arg(long)]
    packets: bool,
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

/// After which a processor that should have run a thread stood still: more than the most urgent thread mostly has to wait.
const STOP: Duration = Duration::from_millis(3);

/// What part of the bytes may be missing among packets: those that pass while the first and the last counter is read.
const MISSED: f64 = 0.02;

/// What an interface carried while it was watched.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pub(crate) samples: Vec<Sample>,
    /// When one of the machine's processors, or several, did nothing. One after the other.
    pub(crate) stops: Vec<Range<Duration>>,
    /// What had been carried by the time of each packet, from the first one seen; empty if they were not looked at.
    pub(crate) packets: Vec<Sample>,
}

/// How closely an interface is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// By its counters.
    Counters,
    /// At its packets, too: each costs the machine about a microsecond.
    Packets,
}

/// What an interface had carried at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// By the machine's monotonic clock, which all hosts share.
    pub(crate) at: Duration,
    pub(crate) bytes: u64,
}

/// Prints samples line by line, time in nanoseconds and bytes, of the namespace that it runs in; then each processor's stops, from
/// when and until when; then packets, as samples.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = format!("/sys/class/net/{INTERFACE}/statistics/{}", arguments.counter.file());
    let until = now() + Duration::from_millis(arguments.ms);
    let processors = rustix::thread::sched_getaffinity(None)?;
    let processors = (0..CpuSet::MAX_CPU).filter(|number| processors.is_set(*number));
    let sentinels: Vec<_> =
        processors.map(|number| std::thread::spawn(move || stops(number, until))).collect();
    let packets = if arguments.packets { Some(Packets::open(arguments.counter)?) } else { None };
    let packets = packets.map(|packets| std::thread::spawn(move || packets.until(until)));
    let mut lines = String::new();
    while now() < until {
        let (before, bytes) = (now(), fs::read_to_string(&path).context(path.clone())?);
        // Halfway through the read: who is preempted in it knows the time less well.
        let at = (before + now()) / 2;
        lines.push_str(&format!("{} {}\n", at.as_nanos(), bytes.trim()));
        std::thread::sleep(EVERY);
    }
    for sentinel in sentinels {
        let stops = sentinel.join().map_err(|_| anyhow::anyhow!("a sentinel has died"))??;
        for Range { start, end } in stops {
            lines.push_str(&format!("stop {} {}\n", start.as_nanos(), end.as_nanos()));
        }
    }
    if let Some(packets) = packets {
        for Sample { at, bytes } in
            packets.join().map_err(|_| anyhow::anyhow!("who saw packets has died"))??
        {
            lines.push_str(&format!("packet {} {bytes}\n", at.as_nanos()));
        }
    }
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(())
}

/// When a processor did not run a thread that wants to run every millisecond.
fn stops(processor: usize, until: Duration) -> rustix::io::Result<Vec<Range<Duration>>> {
    let mut own = CpuSet::new();
    own.set(processor);
    rustix::thread::sched_setaffinity(None, &own)?;
    let (mut stops, mut due) = (Vec::new(), now() + EVERY);
    while due < until {
        std::thread::sleep(due.saturating_sub(now()));
        let woken = now();
        if woken > due + STOP {
            stops.push(due..woken);
        }
        due = woken + EVERY;
    }
    Ok(stops)
}

/// The machine's monotonic clock.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(time).unwrap_or_default()
}

/// Watches what a host sends or receives for some time.
pub(crate) async fn watch(
    host: &Host,
    counter: Counter,
    time: Duration,
    look: Look,
) -> anyhow::Result<Watched> {
    let lab = std::env::current_exe()?;
    let (host, lab) = (host.clone(), lab.display().to_string());
    let ms = time.as_millis().to_string();
    // Before everything else that wants a processor: what it does not get is then what nobody got.
    let text = tokio::task::spawn_blocking(move || {
        let mut words = vec!["chrt", "-f", "50", &*lab, "count", "--counter", counter.word(), "--ms", &*ms];
        words.extend((look == Look::Packets).then_some("--packets"));
        host.run(&words)
    })
    .await??;
    Watched::parse(&text)
}

impl Watched {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let time = |word: &str| Some(Duration::from_nanos(word.parse().ok()?));
        let sample = |at, bytes: &str| Some(Sample { at: time(at)?, bytes: bytes.parse().ok()? });
        let (mut samples, mut stops, mut packets) = (Vec::new(), Vec::new(), Vec::new());
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let read = match *words {
                ["stop", start, end] => time(start).zip(time(end)).map(|(start, end)| stops.push(start..end)),
                ["packet", at, bytes] => sample(at, bytes).map(|packet| packets.push(packet)),
                [at, bytes] => sample(at, bytes).map(|sample| samples.push(sample)),
                _ => None,
            };
            read.with_context(|| format!("neither a sample nor a stop nor a packet: {line:?}"))?;
        }
        Ok(Self { samples, stops: merge(stops), packets })
    }

    /// The packets, if they are all that the counters counted at the same time: a burst of which some were missed would be
    /// told too short.
    pub(crate) fn checked_packets(self) -> anyhow::Result<Vec<Sample>> {
        let counted = |samples: &[Sample]| match samples {
            [first, .., last] => Some((last.bytes - first.bytes) as f64 / (last.at - first.at).as_secs_f64()),
            _ => None,
        };
        let (packets, all) = (counted(&self.packets), counted(&self.samples));
        let (packets, all) = packets.zip(all).context("too little was seen")?;
        anyhow::ensure!(
            (packets / all - 1.0).abs() < MISSED,
            "{packets} bytes a second of packets were seen, and {all} counted: some were missed"
        );
        Ok(self.packets)
    }

    /// How long the machine stood still between two times.
    pub(crate) fn stopped(&self, from: Duration, until: Duration) -> Duration {
        let within = |stop: &Range<Duration>| stop.end.min(until).saturating_sub(stop.start.max(from));
        self.stops.iter().map(within).sum()
    }

    /// The least and the most bytes a second over any stretch of about this length. The least is also told with all that was due while
    /// any processor stood still: a bound of what the stops took, as another may have sent meanwhile, or later.
    pub(crate) fn rates(&self, length: Duration, limit: f64) -> Option<Rates> {
        let mut rates: Option<Rates> = None;
        let mut end = 0;
        for begin in &self.samples {
            while end < self.samples.len() && self.samples[end].at < begin.at + length {
                end += 1;
            }
            let Some(last) = self.samples.get(end) else { break };
            let seconds = (last.at - begin.at).as_secs_f64();
            let rate = (last.bytes - begin.bytes) as f64 / seconds;
            let excused = self.stopped(begin.at, last.at).as_secs_f64() / seconds * limit;
            let one = Rates { least: rate, least_awake: rate + excused, most: rate };
            rates = Some(rates.map_or(one, |all| Rates {
                least: all.least.min(one.least),
                least_awake: all.least_awake.min(one.least_awake),
                most: all.most.max(one.most),
            }));
        }
        rates
    }
}

/// Bytes a second of the slowest and the fastest stretches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rates {
    pub(crate) least: f64,
    /// The slowest, if nothing was sent while a processor stood still, and nothing made up for.
    pub(crate) least_awake: f64,
    pub(crate) most: f64,
}

/// Stops of several processors as times in which any of them stood still.
fn merge(mut stops: Vec<Range<Duration>>) -> Vec<Range<Duration>> {
    stops.sort_by_key(|stop| stop.start);
    let mut merged: Vec<Range<Duration>> = Vec::new();
    for stop in stops {
        match merged.last_mut() {
            Some(last) if stop.start <= last.end => last.end = last.end.max(stop.end),
            _ => merged.push(stop),
        }
    }
    merged
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
        let ms = Duration::from_millis;
        let rates = |bytes: &[u64], stops: &[Range<Duration>], length| {
            let watched = Watched { samples: samples(bytes), stops: stops.to_vec(), packets: Vec::new() };
            watched.rates(length, 100.0).map(|rates| [rates.least, rates.least_awake, rates.most])
        };
        assert_eq!(rates(&[0, 10, 20, 30, 40], &[], ms(200)), Some([100.0, 100.0, 100.0]));
        let uneven = [0, 10, 10, 40, 50];
        assert_eq!(rates(&uneven, &[], ms(200)), Some([50.0, 50.0, 200.0]));
        assert_eq!(rates(&uneven, &[], ms(1000)), None);
        // The slowest two tenths were half a standstill; what was due in it would have made them whole.
        assert_eq!(rates(&uneven, &[ms(100)..ms(200)], ms(200)), Some([50.0, 100.0, 200.0]));
    }

    #[test]
    fn stops_of_two_processors_count_once() {
        let ms = Duration::from_millis;
        let text = "1000000 5\nstop 20000000 30000000\nstop 70000000 80000000\nstop 25000000 40000000\npacket 2000000 7\n";
        let watched = Watched::parse(text).unwrap();
        assert_eq!(watched.packets, [Sample { at: ms(2), bytes: 7 }]);
        assert_eq!(watched.samples, [Sample { at: ms(1), bytes: 5 }]);
        assert_eq!(watched.stops, [ms(20)..ms(40), ms(70)..ms(80)]);
        assert_eq!(watched.stopped(ms(0), ms(100)), ms(30));
        assert_eq!(watched.stopped(ms(35), ms(75)), ms(10));
        assert!(Watched::parse("stop 1\n").is_err());
        let of = |packets: &[u64]| {
            let watched = Watched {
                samples: samples(&[0, 10, 20, 30]),
                packets: samples(packets),
                ..Watched::default()
            };
            watched.checked_packets()
        };
        assert!(of(&[0, 10, 20, 30]).is_ok() && of(&[0, 10, 20, 25]).is_err() && of(&[]).is_err());
        assert!(Watched::parse("x y\n").is_err());
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
