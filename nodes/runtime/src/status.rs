//! What a running role tells of itself: to callers, and to the metrics of its process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_transport::stats::{EndpointStats, Totals, peers};
use rdcq_transport::{Bandwidth, BandwidthStats, Direction};
use rdcq_wire::message::{Metered, Refused, StatusReport, Transfer, Word};
use rdcq_wire::{Identity, List, Role};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::meter;

/// Where the figures of a role's endpoints come from.
pub type InsightSource = Arc<dyn Fn() -> Vec<EndpointStats> + Send + Sync>;

/// Where what is on its way to a role comes from.
pub type TransferSource = Box<dyn Fn() -> Vec<Transfer> + Send + Sync>;

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
    bandwidth: Bandwidth,
    transfers: OnceLock<TransferSource>,
    /// Whose turn it is to add up.
    turn: Arc<Semaphore>,
    last: Mutex<Option<Arc<Figures>>>,
    ends: Mutex<Option<Ends>>,
}

/// What all sources say at one moment.
struct Figures {
    at: Instant,
    endpoints: Arc<Vec<EndpointStats>>,
    egress: BandwidthStats,
    ingress: BandwidthStats,
    transfers: Vec<Transfer>,
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
    /// How long it had been serving.
    pub uptime: Duration,
    /// Its endpoints.
    pub endpoints: Arc<Vec<EndpointStats>>,
    /// When its credentials end, if it was told.
    pub ends: Option<Ends>,
}

impl Insight {
    /// Of a role that begins to serve now, on a node with this bandwidth.
    pub fn new(
        env: &Env,
        identity: &Identity,
        role: Role,
        source: InsightSource,
        bandwidth: &Bandwidth,
    ) -> Self {
        Self(Arc::new(Shared {
            env: env.clone(),
            identity: identity.clone(),
            role,
            since: env.now(),
            source,
            bandwidth: bandwidth.clone(),
            transfers: OnceLock::new(),
            turn: Arc::new(Semaphore::new(1)),
            last: Mutex::default(),
            ends: Mutex::default(),
        }))
    }

    /// Tells where what is on its way to the role comes from, if anything ever is. The first word counts.
    pub fn show_transfers(&self, source: TransferSource) {
        // A second source is dropped.
        let _ = self.0.transfers.set(source);
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
        let figures = self.figures();
        let ends = *self.0.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = Arc::clone(&figures.endpoints);
        Reading { role: self.0.role, uptime: self.uptime_at(figures.at), endpoints, ends }
    }

    fn figures(&self) -> Arc<Figures> {
        let Shared { env, source, bandwidth, transfers, last, .. } = &*self.0;
        let at = env.now();
        // Held while the figures are read: who asks meanwhile gets the same ones.
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(figures) = last.as_ref().filter(|last| at.saturating_duration_since(last.at) < FRESH) {
            return Arc::clone(figures);
        }
        let figures = Arc::new(Figures {
            at,
            endpoints: Arc::new(source()),
            egress: bandwidth.stats(Direction::Egress),
            ingress: bandwidth.stats(Direction::Ingress),
            transfers: transfers.get().map(|source| source()).unwrap_or_default(),
        });
        *last = Some(Arc::clone(&figures));
        figures
    }

    fn uptime_at(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.0.since)
    }

    /// Does what takes long where it holds nobody up: adding up ten thousand connections takes milliseconds. One at a time, also
    /// when callers ask and go away again.
    pub(crate) async fn aside<T: Send + 'static>(&self, work: fn(&Self) -> T) -> T {
        let insight = self.clone();
        let turn = Arc::clone(&self.0.turn).acquire_owned().await;
        let work = move || {
            let _turn = turn;
            work(&insight)
        };
        self.0.env.blocking(work).await
    }

    /// What the role moves, and its node may, and the body of that.
    pub fn metered(&self) -> (Metered, Vec<u8>) {
        let figures = self.figures();
        let Figures { at, endpoints, egress, ingress, transfers } = &*figures;
        let totals = Totals::of(&**endpoints);
        let all = meter::peers(endpoints, &egress.limits, &ingress.limits);
        let (body, peers, shown) = Metered::write(&all, transfers);
        let metered = Metered {
            node: self.0.identity.node.clone(),
            serving: self.0.role,
            at_ms: millis(self.uptime_at(*at)),
            sent: totals.link_bytes_sent,
            received: totals.link_bytes_received,
            connections: totals.open.connections,
            egress: meter::flow(egress),
            ingress: meter::flow(ingress),
            peers_open: count(all.len()),
            peers,
            transfers_open: count(transfers.len()),
            transfers: shown,
        };
        (metered, body)
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
            uptime_ms: millis(uptime),
            handshakes: totals.handshakes,
            handshakes_failed: totals.handshakes_failed,
            refused: refusals(&totals.refused),
            datagrams_sent: totals.datagrams_sent,
            batches_sent: totals.batches_sent,
            bytes_sent: totals.bytes_sent,
            bytes_received: totals.bytes_received,
            open: totals.open,
            peers_open: count(peers.len()),
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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

    fn insight(source: InsightSource) -> Insight {
        let env = simulated();
        Insight::new(&env, &identity(), Role::Origin, source, &Bandwidth::unlimited(&env))
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_says_what_its_source_says_and_its_body_names_the_peers() {
        let insight = insight(Arc::new(sample));
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
        let insight = insight(source);
        for _ in 0..100 {
            assert_eq!(insight.report().0.handshakes, 1);
        }
        tokio::time::advance(FRESH).await;
        assert_eq!(insight.report().0.handshakes, 2);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn figures_carry_the_time_at_which_they_were_taken() {
        let insight = insight(Arc::new(sample));
        tokio::time::advance(Duration::from_millis(5000)).await;
        assert_eq!(insight.metered().0.at_ms, 5000);
        tokio::time::advance(FRESH / 2).await;
        assert_eq!((insight.metered().0.at_ms, insight.report().0.uptime_ms), (5000, 5000));
        tokio::time::advance(FRESH).await;
        assert_eq!(insight.metered().0.at_ms, 5000 + 300);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_moved_is_told_with_limits_peers_and_transfers() {
        let insight = insight(Arc::new(sample));
        let transfer = |done| Transfer {
            tag: "k:1".to_owned().into(),
            digest: rdcq_wire::Digest::from_bytes([1; 32]),
            class: rdcq_wire::Class::Urgent,
            done,
            size: 100,
        };
        insight.show_transfers(Box::new(move || (0..100).map(transfer).collect()));
        let limits = rdcq_bandwidth::Limits { node: "80Mbit/s".parse().unwrap(), ..Default::default() };
        insight.0.bandwidth.set_limits(limits, rdcq_bandwidth::Limits::default());
        let (metered, body) = insight.metered();
        assert_eq!((metered.egress.limit, metered.ingress.limit), (Some(10_000_000), None));
        assert_eq!((metered.sent, metered.received, metered.connections), (5_420_000, 62_520, 3));
        assert_eq!((metered.peers_open, metered.peers), (2, 2));
        assert_eq!((metered.transfers_open, metered.transfers), (100, 64));
        let (peers, transfers) = metered.read(&body).unwrap();
        assert_eq!(peers[0].node.as_str(), "agent-1");
        assert_eq!(transfers[63], transfer(63));
    }

    #[test]
    fn reasons_that_are_no_words_are_counted_together() {
        let refused = refusals(&BTreeMap::from([("Two words", 1), ("busy", 2), ("", 4)]));
        let said: Vec<_> =
            refused.iter().map(|refused| (refused.why.as_str().to_owned(), refused.count)).collect();
        assert_eq!(said, [("busy".to_owned(), 2), ("other".to_owned(), 5)]);
    }
}
