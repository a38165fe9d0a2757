//! Giving up peers from which nothing comes on connections that this node opened and does not use.
//!
//! QUIC's idle timeout begins anew with the first thing said after a silence, such as a sign of life. For the side that says
//! it, a peer that is gone would take [`Limits::keep_alive`](crate::Limits::keep_alive) longer to be noticed than for
//! the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::endpoint::Shared;
use crate::link::Link;

/// Looks in the time that a peer may be silent. More of them find it sooner and take more of a core.
const LOOKS: u32 = 29;

/// Looks at the connections that a node opened for as long as the node is there.
pub(crate) async fn give_up_silent(shared: Weak<Shared>, patience: Duration) {
    let beat = patience / LOOKS;
    let mut hearing = Hearing::default();
    loop {
        tokio::time::sleep(beat).await;
        let Some(shared) = shared.upgrade() else { return };
        let dialled: BTreeMap<u64, Arc<Link>> = shared.dialled();
        let now = shared.env.now();
        let heard = dialled.iter().map(|(number, link)| (*number, link.datagrams_heard()));
        for silent in hearing.look(now, beat, patience, heard) {
            dialled[&silent].give_up("nothing came for as long as an idle peer may be silent");
        }
    }
}

/// What was heard on connections until the last look.
#[derive(Debug, Default)]
struct Hearing {
    looked: Option<Instant>,
    by_link: BTreeMap<u64, Heard>,
}

#[derive(Debug)]
struct Heard {
    /// That have come.
    datagrams: u64,
    /// The last of them came after this.
    after: Instant,
}

impl Hearing {
    /// Notes how many datagrams have come on each connection; tells on which none came for `patience`, or up to a
    /// `beat` less.
    fn look(
        &mut self,
        now: Instant,
        beat: Duration,
        patience: Duration,
        heard: impl Iterator<Item = (u64, u64)>,
    ) -> Vec<u64> {
        let before = self.looked.replace(now).unwrap_or(now);
        // A look that comes late says that this node stood still, and nothing of its peers.
        let late = now.saturating_duration_since(before) > beat * 2;
        let last = std::mem::take(&mut self.by_link);
        for (link, datagrams) in heard {
            let after = match last.get(&link) {
                _ if late => now,
                Some(known) if known.datagrams == datagrams => known.after,
                _ => before,
            };
            self.by_link.insert(link, Heard { datagrams, after });
        }
        let is_silent = |heard: &Heard| now.saturating_duration_since(heard.after) >= patience;
        self.by_link.iter().filter(|(_, heard)| is_silent(heard)).map(|(link, _)| *link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// At which second who is found silent, if `heard` tells what has come by then.
    fn found(
        seconds: impl IntoIterator<Item = u64>,
        heard: impl Fn(u64) -> Vec<(u64, u64)>,
    ) -> Vec<(u64, u64)> {
        let (mut hearing, start) = (Hearing::default(), Instant::now());
        let mut found = Vec::new();
        for second in seconds {
            let now = start + Duration::from_secs(second);
            let silent = hearing.look(now, BEAT, PATIENCE, heard(second).into_iter());
            found.extend(silent.into_iter().map(|link| (second, link)));
        }
        found
    }

    #[test]
    fn who_says_nothing_is_given_up_in_time_and_nobody_sooner() {
        // The first falls silent at 7 s, the second speaks every 8 s, the third is there from 6 s on and never speaks.
        let heard = |second: u64| {
            let mut heard = vec![(1, second.min(7)), (2, second / 8)];
            heard.extend((second >= 6).then_some((3, 0)));
            heard
        };
        let silent = found((0..=18).step_by(2), heard);
        assert_eq!(silent, [(14, 3), (16, 1), (16, 3), (18, 1), (18, 3)]);
    }

    #[test]
    fn a_node_that_stood_still_gives_nobody_up_for_it() {
        let silent = found([0, 2, 60, 62, 64, 66, 68, 70], |_| vec![(1, 5)]);
        assert_eq!(silent, [(70, 1)]);
    }
}
