//! What a running role tells of itself: to callers, and to the metrics of its process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_transport::stats::{EndpointStats, Totals, peers};
use rdcq_wire::message::{Refused, StatusReport, Word};
use rdcq_wire::{Identity, List, Role};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Where the figures of a role's endpoints come from.
pub type InsightSource = Arc<dyn Fn() -> Vec<EndpointStats> + Send + Sync>;

/// How old figures may be. Reading those of ten thousand connections costs milliseconds and stops each of them for a
/// moment; whoever asks more often than this is shown the last ones.
const FRESH: Duration = Duration::from_millis(200);

/// What a running role tells of itself. Cheap to clone.
#[derive(Clone)]
pub struct Insight(Arc<Shared>);

struct Shared {
    env: Env,
    identity: Identity,
    role: Role,
    since: Instant,
    source: InsightSource,
    /// Whose turn it is to add up.
    turn: Arc<Semaphore>,
    last: Mutex<Option<(Instant, Arc<Vec<EndpointStats>>)>>,
    ends: Mutex<Option<Ends>>,
}

/// When a node's credentials end, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Its certificate.
    pub certificate_unix_s: u64,
    /// The first of its revocation lists; none where none are used.
    pub lists_unix_s: Option<u64>,
}

/// A role's figures at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The role.
    pub role: Role,
    /// How long it has been serving.
    pub uptime: Duration,
    /// Its endpoints.
    pub endpoints: Arc<Vec<EndpointStats>>,
    /// When its credentials end, if it was told.
    pub ends: Option<Ends>,
}

impl Insight {
    /// Of a role that begins to serve now.
    pub fn new(env: &Env, identity: &Identity, role: Role, source: InsightSource) -> Self {
        let (env, identity, since) = (env.clone(), identity.clone(), env.now());
        let turn = Arc::new(Semaphore::new(1));
        Self(Arc::new(Shared {
            env,
            identity,
            role,
            since,
            source,
            turn,
            last: Mutex::default(),
            ends: Mutex::default(),
        }))
    }

    /// Tells when the credentials end that are in force from now on.
    pub fn note_ends(&self, ends: Ends) {
        *self.0.ends.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
    }

    /// Who the node is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The figures now, or a moment ago.
    pub fn read(&self) -> Reading {
        let Shared { env, role, since, source, last, ends, .. } = &*self.0;
        let now = env.now();
        // Held while the figures are read: who asks meanwhile gets the same ones.
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = match &*last {
            Some((at, endpoints)) if now.saturating_duration_since(*at) < FRESH => Arc::clone(endpoints),
            _ => {
                let endpoints = Arc::new(source());
                *last = Some((now, Arc::clone(&endpoints)));
                endpoints
            }
        };
        let ends = *ends.lock().unwrap_or_else(PoisonError::into_inner);
        Reading { role: *role, uptime: now.saturating_duration_since(*since), endpoints, ends }
    }

    /// [`Self::report`] where it holds nobody up: adding up ten thousand connections takes milliseconds. One at a time,
    /// also when callers ask and go away again.
    pub(crate) async fn report_aside(&self) -> (StatusReport, Vec<u8>) {
        let insight = self.clone();
        let turn = Arc::clone(&self.0.turn).acquire_owned().await;
        let work = move || {
            let _turn = turn;
            insight.report()
        };
        self.0.env.blocking(work).await
    }

    /// The figures as a report and its body.
    pub fn report(&self) -> (StatusReport, Vec<u8>) {
        let Reading { role, uptime, endpoints, .. } = self.read();
        let totals = Totals::of(&*endpoints);
        let peers = peers(&*endpoints);
        let (body, written) = StatusReport::write(&peers);
        let report = StatusReport {
            node: self.0.identity.node.clone(),
            roles: self.0.identity.roles,
            serving: role,
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            handshakes: totals.handshakes,
            handshakes_failed: totals.handshakes_failed,
            refused: refusals(&totals.refused),
            datagrams_sent: totals.datagrams_sent,
            batches_sent: totals.batches_sent,
            bytes_sent: totals.bytes_sent,
            bytes_received: totals.bytes_received,
            open: totals.open,
            peers_open: u32::try_from(peers.len()).unwrap_or(u32::MAX),
            peers: written,
        };
        (report, body)
    }
}

impl fmt::Debug for Insight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { identity, role, .. } = &*self.0;
        f.debug_struct("Insight").field("identity", identity).field("role", role).finish_non_exhaustive()
    }
}

/// A reason that cannot be said on the wire counts as another one.
const OTHER: &str = "other";

fn refusals(refused: &BTreeMap<&'static str, u64>) -> List<Refused, { StatusReport::MAX_REFUSED }> {
    let mut words: BTreeMap<Word, u64> = BTreeMap::new();
    for (why, count) in refused {
        let Ok(word) = why.parse().or_else(|_| OTHER.parse()) else { continue };
        let sum = words.entry(word).or_default();
        *sum = sum.saturating_add(*count);
    }
    List::first_of(words.into_iter().map(|(why, count)| Refused { why, count }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rdcq_env::SimDisk;
    use rdcq_wire::message::Plane;

    use super::*;
    use crate::metrics::sample;

    fn identity() -> Identity {
        Identity::from_spiffe("spiffe://test/o1/origin").unwrap()
    }

    fn simulated() -> Env {
        Env::simulated(1, SimDisk::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_says_what_its_source_says_and_its_body_names_the_peers() {
        let insight = Insight::new(&simulated(), &identity(), Role::Origin, Arc::new(sample));
        tokio::time::advance(Duration::from_millis(61_000)).await;
        let (report, body) = insight.report();
        assert_eq!((report.node.as_str(), report.serving, report.uptime_ms), ("o1", Role::Origin, 61_000));
        assert_eq!((report.handshakes, report.handshakes_failed, report.refusals()), (12, 2, 7));
        assert_eq!((report.bytes_sent, report.bytes_received), (5_000_000, 60_000));
        assert_eq!((report.open.connections, report.open.bytes_sent), (3, 1_500_000));
        assert_eq!((report.peers, report.peers_open), (2, 2));
        let peers = report.read(&body).unwrap();
        let named: Vec<_> =
            peers.iter().map(|peer| (peer.node.as_str(), peer.plane, peer.traffic.connections)).collect();
        assert_eq!(named, [("agent-1", Plane::Data, 2), ("proxy-1", Plane::Control, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_again_at_once_is_shown_the_last_figures_and_a_moment_later_new_ones() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let source = Arc::new(move || {
            let handshakes = count.fetch_add(1, Ordering::Relaxed) + 1;
            vec![EndpointStats { handshakes, ..EndpointStats::default() }]
        });
        let insight = Insight::new(&simulated(), &identity(), Role::Origin, source);
        for _ in 0..100 {
            assert_eq!(insight.report().0.handshakes, 1);
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(insight.report().0.handshakes, 2);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn reasons_that_are_no_words_are_counted_together() {
        let refused = refusals(&BTreeMap::from([("Two words", 1), ("busy", 2), ("", 4)]));
        let said: Vec<_> =
            refused.iter().map(|refused| (refused.why.as_str().to_owned(), refused.count)).collect();
        assert_eq!(said, [("busy".to_owned(), 2), ("other".to_owned(), 5)]);
    }
}
