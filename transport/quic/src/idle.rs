//! Giving up peers from which nothing comes on connections that this node opened and does not use.
//!
//! QUIC's idle timeout begins anew with the first thing said after a silence, such as a sign of life. For the side that says
//! it, a peer that is gone would take [`Limits::keep_alive`](crate::Limits::keep_alive) longer to be noticed than for
//! the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::endpoint::Shared;
use crate::link::Link;

/// Looks in the time that a peer may be silent. More of them find it sooner and take more of a core.
const LOOKS: u32 = 29;

/// How often a node looks that gives a peer up after `patience`.
pub(crate) fn beat(patience: Duration) -> Duration {
    (patience / LOOKS).max(Duration::from_millis(1))
}

/// Looks at the connections that a node opened for as long as the node is there.
pub(crate) async fn give_up_silent(shared: Weak<Shared>, patience: Duration) {
    let beat = beat(patience);
    let mut looks = interval(beat);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hearing = Hearing::new(beat, patience);
    loop {
        looks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        let dialled: BTreeMap<u64, Arc<Link>> = shared.dialled();
        let traffic = dialled.iter().map(|(number, link)| (*number, link.traffic()));
        for silent in hearing.look(shared.env.now(), traffic) {
            dialled[&silent].give_up("nothing came for as long as an idle peer may be silent");
        }
    }
}

/// Datagrams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) heard: u64,
}

/// What was heard on connections until the last look.
#[derive(Debug)]
struct Hearing {
    beat: Duration,
    patience: Duration,
    looked: Option<Instant>,
    by_link: BTreeMap<u64, Heard>,
}

#[derive(Debug)]
struct Heard {
    traffic: Traffic,
    /// The last datagram came after this.
    after: Instant,
    /// By when something was sent that the peer has not answered.
    asked: Option<Instant>,
}

impl Hearing {
    const fn new(beat: Duration, patience: Duration) -> Self {
        Self { beat, patience, looked: None, by_link: BTreeMap::new() }
    }

    /// Notes what has gone and come on each connection; tells on which nothing came for `patience`, or up to two beats
    /// less, although something was sent a beat ago.
    fn look(&mut self, now: Instant, traffic: impl Iterator<Item = (u64, Traffic)>) -> Vec<u64> {
        let before = self.looked.replace(now).unwrap_or(now);
        // A look that comes late says that this node stood still, and nothing of its peers.
        let late = now.saturating_duration_since(before) > self.beat * 3 / 2;
        let mut last = std::mem::take(&mut self.by_link);
        for (link, traffic) in traffic {
            let heard = match last.remove(&link) {
                Some(known) if !late && known.traffic.heard == traffic.heard => {
                    let sent = known.traffic.sent < traffic.sent;
                    Heard { asked: known.asked.or_else(|| sent.then_some(now)), ..known }
                }
                _ => Heard { traffic, after: if late { now } else { before }, asked: None },
            };
            self.by_link.insert(link, heard);
        }
        let silent = |heard: &Heard| {
            now.saturating_duration_since(heard.after) >= self.patience
                && heard.asked.is_some_and(|asked| now.saturating_duration_since(asked) >= self.beat)
        };
        self.by_link.iter().filter(|(_, heard)| silent(heard)).map(|(link, _)| *link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// At which second who is found silent, if `traffic` tells what has gone and come by then.
    fn found(
        seconds: impl IntoIterator<Item = u64>,
        traffic: impl Fn(u64) -> Vec<(u64, Traffic)>,
    ) -> Vec<(u64, u64)> {
        let (mut hearing, start) = (Hearing::new(BEAT, PATIENCE), Instant::now());
        let mut found = Vec::new();
        for second in seconds {
            let silent = hearing.look(start + Duration::from_secs(second), traffic(second).into_iter());
            found.extend(silent.into_iter().map(|link| (second, link)));
        }
        found
    }

    #[test]
    fn who_says_nothing_is_given_up_in_time_and_nobody_sooner() {
        // The first falls silent at 7 s, the second speaks every 8 s, the third is there from 6 s on and never speaks.
        let traffic = |second: u64| {
            let mut traffic = vec![
                (1, Traffic { sent: second, heard: second.min(7) }),
                (2, Traffic { sent: second, heard: second / 8 }),
            ];
            traffic.extend((second >= 6).then_some((3, Traffic { sent: second, heard: 0 })));
            traffic
        };
        let silent = found((0..=18).step_by(2), traffic);
        assert_eq!(silent, [(14, 3), (16, 1), (16, 3), (18, 1), (18, 3)]);
    }

    #[test]
    fn who_was_not_asked_for_a_sign_is_not_missed() {
        let traffic = |second: u64| vec![(1, Traffic { sent: 5 + u64::from(second >= 19), heard: 5 })];
        assert_eq!(found((0..=22).step_by(2), traffic), [(22, 1)]);
    }

    #[test]
    fn a_node_that_stood_still_gives_nobody_up_for_it() {
        let traffic = |second| vec![(1, Traffic { sent: second, heard: 5 })];
        assert_eq!(found([0, 2, 60, 62, 64, 66, 68, 70], traffic), [(70, 1)]);
    }
}
