//! Which addresses have failed lately, and how often.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// Most sources whose failures are remembered, some 100 bytes each; the one that failed longest ago is forgotten first.
pub(crate) const MAX_SOURCES: usize = 4096;
/// Failures that only cost a source its place in the queue: a certificate that has just run out, a few lost datagrams.
const FREE_FAILURES: u32 = 8;
/// Most failures that are held against a source, so that its past is over within minutes.
const MAX_FAILURES: u32 = 32;
/// How long it takes until one failure is forgotten.
const FORGET_ONE: Duration = Duration::from_secs(10);
/// Failures that one success makes up for: a host that was mended is clean after its fourth at the latest.
const SUCCESS_FORGIVES: u32 = 8;
/// How often a source that fails on and on may try: ten times a second.
pub(crate) const TRICKLE: Duration = Duration::from_millis(100);
/// A customer's network; whoever has one address of it has them all.
const IPV6_NETWORK: u128 = !0 << 64;

/// One host, as far as addresses tell hosts apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl Source {
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & IPV6_NETWORK).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// What is to be thought of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not failed lately.
    Clean,
    /// It has failed a few times.
    Blemished,
    /// It fails on and on.
    Suspect,
}

/// The sources that have failed lately.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    records: BTreeMap<Source, Record>,
    /// By their latest failures.
    latest: BTreeMap<u64, Source>,
    next: u64,
}

#[derive(Debug)]
struct Record {
    failures: u32,
    /// Up to when failures have been forgotten.
    since: Instant,
    next_trickle: Instant,
    latest: u64,
}

impl Record {
    /// Failures not forgotten yet, and since when.
    fn left(&self, now: Instant) -> (u32, Instant) {
        let forgotten = now.saturating_duration_since(self.since).as_nanos() / FORGET_ONE.as_nanos();
        match u32::try_from(forgotten)
            .ok()
            .and_then(|forgotten| Some((forgotten, self.failures.checked_sub(forgotten)?)))
        {
            Some((forgotten, left)) => (left, self.since + FORGET_ONE * forgotten),
            None => (0, now),
        }
    }
}

impl Sources {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn standing(&self, now: Instant, source: Source) -> Standing {
        match self.records.get(&source).map_or(0, |record| record.left(now).0) {
            0 => Standing::Clean,
            1..=FREE_FAILURES => Standing::Blemished,
            _ => Standing::Suspect,
        }
    }

    pub(crate) fn failed(&mut self, now: Instant, source: Source) {
        let number = self.next;
        self.next += 1;
        let record = self.records.entry(source).or_insert(Record {
            failures: 0,
            since: now,
            next_trickle: now,
            latest: number,
        });
        let (left, since) = record.left(now);
        // A first failure is remembered for its whole time.
        record.since = if left == 0 { now } else { since };
        record.failures = (left + 1).min(MAX_FAILURES);
        self.latest.remove(&record.latest);
        record.latest = number;
        self.latest.insert(number, source);
        if self.records.len() > MAX_SOURCES
            && let Some((_, oldest)) = self.latest.pop_first()
        {
            self.records.remove(&oldest);
        }
        debug_assert_eq!(self.records.len(), self.latest.len());
    }

    pub(crate) fn done(&mut self, now: Instant, source: Source) {
        let Some(record) = self.records.get_mut(&source) else { return };
        let (left, since) = record.left(now);
        (record.failures, record.since) = (left.saturating_sub(SUCCESS_FORGIVES), since);
        if record.failures == 0 {
            self.latest.remove(&record.latest);
            self.records.remove(&source);
        }
    }

    pub(crate) fn trickle_ready(&self, now: Instant, source: Source) -> bool {
        self.records.get(&source).is_none_or(|record| record.next_trickle <= now)
    }

    pub(crate) fn take_trickle(&mut self, now: Instant, source: Source) {
        if let Some(record) = self.records.get_mut(&source) {
            record.next_trickle = now + TRICKLE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ip: &str) -> Source {
        Source::of(ip.parse().unwrap())
    }

    #[tokio::test]
    async fn a_few_failures_cost_the_place_and_more_cost_the_good_name() {
        let (mut sources, now, host) = (Sources::default(), Instant::now(), source("10.0.0.1"));
        assert_eq!(sources.standing(now, host), Standing::Clean);
        for _ in 0..FREE_FAILURES {
            sources.failed(now, host);
            assert_eq!(sources.standing(now, host), Standing::Blemished);
        }
        sources.failed(now, host);
        assert_eq!(sources.standing(now, host), Standing::Suspect);
        assert_eq!(sources.standing(now, source("10.0.0.2")), Standing::Clean);
        // One is forgotten every ten seconds, and none in between.
        let almost = now + FORGET_ONE - Duration::from_nanos(1);
        assert_eq!(sources.standing(almost, host), Standing::Suspect);
        assert_eq!(sources.standing(now + FORGET_ONE, host), Standing::Blemished);
        assert_eq!(sources.standing(now + FORGET_ONE * (FREE_FAILURES + 1), host), Standing::Clean);
    }

    #[tokio::test]
    async fn the_worst_past_is_over_after_four_successes_or_in_minutes() {
        let (mut sources, now, host) = (Sources::default(), Instant::now(), source("10.0.0.1"));
        (0..1_000_000).for_each(|_| sources.failed(now, host));
        let later = now + Duration::from_secs(320);
        assert_eq!(sources.standing(later, host), Standing::Clean);
        for _ in 0..4 {
            assert_ne!(sources.standing(now, host), Standing::Clean);
            sources.done(now, host);
        }
        assert_eq!(sources.standing(now, host), Standing::Clean);
        assert_eq!(sources.len(), 0);
    }

    #[tokio::test]
    async fn who_failed_longest_ago_is_forgotten_first() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let host = |n: usize| Source::of(IpAddr::from((n as u32).to_be_bytes()));
        (0..MAX_SOURCES).for_each(|n| sources.failed(now, host(n)));
        sources.failed(now, host(0));
        sources.failed(now, host(MAX_SOURCES));
        assert_eq!((sources.len(), sources.latest.len()), (MAX_SOURCES, MAX_SOURCES));
        assert_eq!(sources.standing(now, host(1)), Standing::Clean);
        for n in [0, 2, MAX_SOURCES] {
            assert_eq!(sources.standing(now, host(n)), Standing::Blemished);
        }
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_ipv4_is_itself_in_either_spelling() {
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:10.0.0.1"), source("10.0.0.1"));
        assert_ne!(source("::ffff:10.0.0.1"), source("::ffff:10.0.0.2"));
    }
}
