//! How many datagrams that ask for a connection are taken up beside data that moves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::sources::Source;

/// Windows follow one another; around the end of one up to twice its share may pass. They are short, so that whoever comes
/// when one is used up does so again when the next has begun.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);
/// Initials in a window, whoever sends them. QUIC derives keys for each before anybody can judge it, 10 us, so these are
/// 2 % of a core. The handshakes that may begin beside data take a quarter: for each a first datagram, and one that proves its
/// address.
pub(crate) const MAX_INITIALS: u32 = 200;
/// Initials of one source in a window, so that one that floods from its own address leaves half to the others. Against one that
/// forges addresses nothing helps but luck: a client repeats its Initial seven times in the first second.
pub(crate) const MAX_OF_SOURCE: u32 = MAX_INITIALS / 2;

/// Initials that were taken up lately, and whose they were.
#[derive(Debug)]
pub(crate) struct Initials {
    since: Instant,
    all: u32,
    /// No more entries than `all`.
    by_source: BTreeMap<Source, u32>,
}

impl Initials {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { since: now, all: 0, by_source: BTreeMap::new() }
    }

    /// Whether one more is taken up.
    pub(crate) fn admit(&mut self, now: Instant, ip: IpAddr) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        if self.all >= MAX_INITIALS {
            return false;
        }
        let own = self.by_source.entry(Source::of(ip)).or_default();
        if *own >= MAX_OF_SOURCE {
            return false;
        }
        *own += 1;
        self.all += 1;
        true
    }

    /// How many of this source were taken up in this window.
    #[cfg(test)]
    pub(crate) fn of(&self, ip: IpAddr) -> u32 {
        self.by_source.get(&Source::of(ip)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn admitted(initials: &mut Initials, now: Instant, sources: impl Iterator<Item = u32>) -> usize {
        sources.filter(|bits| initials.admit(now, Ipv4Addr::from_bits(*bits).into())).count()
    }

    #[tokio::test]
    async fn one_that_floods_leaves_half_to_the_others_and_the_next_window_is_a_new_one() {
        let (start, all, own) = (Instant::now(), MAX_INITIALS as usize, MAX_OF_SOURCE as usize);
        let mut initials = Initials::new(start);
        assert_eq!(admitted(&mut initials, start, (0..20_000).map(|_| 1)), own);
        assert_eq!(admitted(&mut initials, start, 2..20_000), all - own);
        let end = start + WINDOW;
        assert_eq!(admitted(&mut initials, end - Duration::from_nanos(1), 2..20_000), 0);
        assert_eq!(admitted(&mut initials, end, 1..2), 1);
    }

    #[tokio::test]
    async fn forged_addresses_do_not_grow_it() {
        let start = Instant::now();
        let mut initials = Initials::new(start);
        for window in 0..3 {
            let now = start + WINDOW * window;
            assert_eq!(admitted(&mut initials, now, 0..100_000), MAX_INITIALS as usize);
            assert_eq!(initials.by_source.len(), MAX_INITIALS as usize);
        }
    }
}
