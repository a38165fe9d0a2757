//! One QUIC connection and the peer at its other end, whichever side opened it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Wake;
use std::time::Duration;

use futures_util::FutureExt;
use quinn::VarInt;
use rdcq_env::Env;
use rdcq_wire::message::{Drain, Hello, Ping};
use rdcq_wire::{Class, CloseCode, Identity, NodeId, ResetCode, Role};
use tokio::time::Instant;

use crate::Plane;
use crate::activity::Activity;
use crate::bandwidth::{Accounts, Bandwidth, Direction, Moved, Turn};
use crate::bell::Bell;
use crate::greeting;
use crate::idle::Traffic;
use crate::profile::Profile;
use crate::stats::ConnectionStats;
use crate::stream::{Sender, close};

/// Which side of a connection this node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// It opened the connection, and is the one to close it.
    Dialled,
    /// The peer did.
    Accepted,
}

/// What a peer may add to a round trip before it acknowledges.
const ACK_SLACK: Duration = Duration::from_millis(30);

/// How long a close waits at most for short replies to arrive.
const MAX_LINGER: Duration = Duration::from_millis(500);

/// One QUIC connection and the peer at its other end.
pub(crate) struct Link {
    pub(crate) quic: quinn::Connection,
    pub(crate) peer: Identity,
    pub(crate) plane: Plane,
    pub(crate) side: Side,
    /// Runs what belongs to the connection, on the thread that drives it.
    pub(crate) env: Env,
    opened: Instant,
    /// Whether the peer may ask here.
    serves: bool,
    /// Whether the peer is the same node.
    is_to_itself: bool,
    told: OnceLock<Told>,
    usable: AtomicBool,
    /// Closed because nothing came from the peer.
    silent: AtomicBool,
    /// To be closed once no request of the peer is being served.
    leaving: AtomicBool,
    /// Whether somebody is about to close it for that.
    departing: AtomicBool,
    /// Calls that this side has open.
    calls: AtomicU32,
    /// Requests of the peer that are being served.
    served: AtomicU32,
    /// Answers that may come and were not asked for yet, or have not come.
    expected: AtomicU32,
    requests: AtomicU64,
    /// When the last request or call on it ended, in milliseconds after it was opened.
    used_ms: AtomicU64,
    watched: AtomicBool,
    /// Looks in a row in which nothing had come from the peer.
    silent_beats: AtomicU32,
    /// Datagrams that had come at the last look.
    heard: AtomicU64,
    /// What the whole node moves.
    activity: Arc<Activity>,
    /// What it may move.
    pub(crate) bandwidth: Bandwidth,
    /// What this connection has of that, since the first time when there was a limit.
    accounts: OnceLock<Box<Accounts>>,
    /// Whether its send window is smaller than without a limit.
    squeezed: AtomicBool,
    /// This side's control stream. Taken out while it is written to.
    control: Mutex<Option<Sender>>,
    /// Rung when something comes on the peer's.
    pub(crate) word: Bell,
    /// The shortest round trip that was seen, in microseconds.
    round_trip_us: AtomicU64,
}

/// What the peer said of itself.
struct Told {
    serving: Option<Role>,
    data_ports: Box<[u16]>,
}

/// What a connection has in common with all others of its node.
#[derive(Clone)]
pub(crate) struct Common {
    /// The node's name.
    pub(crate) own: NodeId,
    pub(crate) activity: Arc<Activity>,
    pub(crate) bandwidth: Bandwidth,
}

impl Link {
    pub(crate) fn new(
        env: &Env,
        quic: quinn::Connection,
        peer: Identity,
        plane: Plane,
        side: Side,
        serves: bool,
        common: Common,
    ) -> Arc<Self> {
        let Common { own, activity, bandwidth } = common;
        let is_to_itself = peer.node == own;
        Arc::new(Self {
            quic,
            peer,
            plane,
            side,
            opened: env.now(),
            env: env.clone(),
            serves,
            is_to_itself,
            told: OnceLock::new(),
            usable: AtomicBool::new(true),
            silent: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            departing: AtomicBool::new(false),
            calls: AtomicU32::new(0),
            served: AtomicU32::new(0),
            expected: AtomicU32::new(0),
            requests: AtomicU64::new(1),
            used_ms: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            silent_beats: AtomicU32::new(0),
            heard: AtomicU64::new(0),
            activity,
            bandwidth,
            accounts: OnceLock::new(),
            squeezed: AtomicBool::new(false),
            control: Mutex::new(None),
            word: Bell::new(),
            round_trip_us: AtomicU64::new(u64::MAX),
        })
    }

    /// Keeps what the peer said of itself.
    pub(crate) fn note(&self, hello: &Hello) {
        // A second Hello is refused where it is read.
        let _ = self.told.set(Told { serving: hello.serving, data_ports: hello.data_ports.as_ref().into() });
    }

    /// The role that the peer serves at the address it speaks from, once it has said so.
    pub(crate) fn serving(&self) -> Option<Role> {
        self.told.get()?.serving
    }

    /// Which of the peer's data sockets this node should speak to; none if it has none.
    pub(crate) fn data_addr(&self, own: &NodeId) -> Option<SocketAddr> {
        let ports = &self.told.get()?.data_ports;
        let port = ports.get(pick(own, &self.peer.node, ports.len())?)?;
        Some(SocketAddr::new(self.remote().ip(), *port))
    }

    /// The address that the peer speaks from; nodes do not roam.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.quic.remote_address()
    }

    /// The shortest time to the peer and back that any look has seen. The first looks are at a path that nothing waits in yet.
    pub(crate) fn round_trip(&self) -> Duration {
        let now = u64::try_from(self.quic.rtt().as_micros()).unwrap_or(u64::MAX);
        let before = self.round_trip_us.fetch_min(now, Ordering::Relaxed);
        Duration::from_micros(before.min(now))
    }

    /// Whether new calls make sense.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Relaxed) && self.quic.close_reason().is_none()
    }

    /// Says that no new calls should be made here.
    pub(crate) fn retire(&self) {
        self.usable.store(false, Ordering::Relaxed);
    }

    /// Whether nothing has come from the peer for a while although calls are open, and it was asked for a sign.
    pub(crate) fn seems_silent(&self) -> bool {
        // A live peer's sign comes long before the next look.
        self.silent_beats.load(Ordering::Relaxed) > 0
            && self.traffic().heard == self.heard.load(Ordering::Relaxed)
    }

    /// How long a short reply may take to arrive, also if it has to be sent twice.
    pub(crate) fn linger(&self) -> Duration {
        (self.quic.rtt() * 3 + ACK_SLACK).min(MAX_LINGER)
    }

    /// Datagrams that have gone to the peer and come from it.
    pub(crate) fn traffic(&self) -> Traffic {
        let quinn::ConnectionStats { udp_tx, udp_rx, .. } = self.quic.stats();
        Traffic { sent: udp_tx.datagrams, heard: udp_rx.datagrams }
    }

    /// Closes it because nothing comes from the peer.
    pub(crate) fn give_up(&self, why: &str) {
        tracing::info!(peer = %self.peer.node, remote = %self.remote(), why, "given up: nothing comes from it");
        self.silent.store(true, Ordering::Relaxed);
        self.retire();
        close(&self.quic, CloseCode::NoAnswer, why);
    }

    /// Whether it was closed because nothing came from the peer.
    pub(crate) fn fell_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.env.now().saturating_duration_since(self.opened)
    }

    /// How long neither side has used it.
    pub(crate) fn idle(&self) -> Duration {
        if self.open_calls() > 0 || self.being_served() > 0 {
            return Duration::ZERO;
        }
        self.age().saturating_sub(Duration::from_millis(self.used_ms.load(Ordering::Relaxed)))
    }

    /// Calls that this side has open.
    pub(crate) fn open_calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// What the connection has of the node's bandwidth, while that is limited.
    pub(crate) fn accounts(&self) -> &Accounts {
        let open = || Accounts::open(&self.bandwidth, &self.peer.node, self.moved(&self.quic.stats()));
        self.accounts.get_or_init(|| Box::new(open()))
    }

    /// What it has moved, as interfaces count it.
    pub(crate) fn moved(&self, stats: &quinn::ConnectionStats) -> Moved {
        if self.is_to_own_host() {
            return Moved::default();
        }
        Moved::of(stats, self.remote().ip().to_canonical().is_ipv6())
    }

    /// Looks from time to time at what was really sent, and at how much may wait for the path: what is written ahead is sent at
    /// once when the path opens, however slow the node should be, and other classes wait behind it.
    pub(crate) fn settle_if_due(&self, accounts: &Accounts) {
        if accounts.is_due() {
            let stats = self.quic.stats();
            accounts.settle(self.moved(&stats), false);
            accounts.note_payload(stats.path.current_mtu);
            let ahead = accounts.egress.gate().slack();
            self.squeezed.store(true, Ordering::Relaxed);
            self.quic.set_send_window(stats.path.cwnd.saturating_add(ahead).min(self.send_window()));
        }
    }

    /// Undoes what was set for a limit, if anything was.
    pub(crate) fn end_pacing(&self) {
        if self.squeezed.load(Ordering::Relaxed) && self.squeezed.swap(false, Ordering::Relaxed) {
            self.quic.set_send_window(self.send_window());
        }
    }

    const fn send_window(&self) -> u64 {
        Profile::of(self.plane).send_window
    }

    /// Charges what a request or a call has moved beside what was granted.
    fn settle(&self) {
        let limited = Direction::ALL.into_iter().any(|direction| self.bandwidth.is_limited(direction));
        if limited && !self.is_to_own_host() {
            let busy = [self.open_calls(), self.being_served(), self.expected.load(Ordering::SeqCst)];
            let at_rest = busy == [0; 3];
            self.accounts().settle(self.moved(&self.quic.stats()), at_rest);
        }
    }

    /// Whether it is with a command on the same host, or between roles of one node: no link has to carry that.
    pub(crate) fn is_to_own_host(&self) -> bool {
        let serves =
            [Role::Proxy, Role::Origin, Role::Agent].into_iter().any(|role| self.peer.roles.contains(role));
        self.is_to_itself || (!serves && self.remote().ip().to_canonical().is_loopback())
    }

    /// Waits until so many bytes may be read that the peer sends unasked. Some are here already: they are charged now, not when they
    /// came.
    pub(crate) async fn admit(self: &Arc<Self>, class: Class, bytes: u64) {
        if !self.bandwidth.is_limited(Direction::Ingress) {
            return self.bandwidth.gate(Direction::Ingress).count(class, bytes);
        }
        let _announced = self.accounts().ingress.announce(bytes);
        let _expected = self.expect(class, bytes).await;
    }

    /// Waits until so many bytes may come. What is returned lives until they have.
    pub(crate) async fn expect(self: &Arc<Self>, class: Class, bytes: u64) -> Expected {
        self.expected.fetch_add(1, Ordering::SeqCst);
        let expected = Expected(Arc::clone(self));
        if !self.bandwidth.is_limited(Direction::Ingress) {
            self.bandwidth.gate(Direction::Ingress).count(class, bytes);
            return expected;
        }
        let accounts = self.accounts();
        self.settle_if_due(accounts);
        let account = &accounts.ingress;
        let Some(mut turn) = Turn::new(account.gate(), account.peer(), class) else { return expected };
        let mut left = bytes;
        while left > 0 {
            let granted = turn.take(left).await;
            account.grant(class, granted);
            left -= granted;
        }
        expected
    }

    /// Counts what goes on over a data connection.
    fn move_data(&self) {
        if self.plane != Plane::Control {
            self.activity.begin();
        }
    }

    fn rest(&self) {
        if self.plane != Plane::Control {
            self.activity.end(self.env.now());
        }
    }

    fn touch(&self) {
        let ms = u64::try_from(self.age().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.store(ms, Ordering::Relaxed);
    }

    /// What it has done.
    pub(crate) fn stats(&self) -> ConnectionStats {
        let stats = self.quic.stats();
        let moved = self.moved(&stats);
        let quinn::ConnectionStats { udp_tx, udp_rx, path, .. } = stats;
        ConnectionStats {
            peer: self.peer.clone(),
            remote: self.remote(),
            dialled: self.side == Side::Dialled,
            age: self.age(),
            rtt: path.rtt,
            congestion_window: path.cwnd,
            lost_packets: path.lost_packets,
            sent_packets: path.sent_packets,
            datagram_size: path.current_mtu,
            bytes_sent: udp_tx.bytes,
            bytes_received: udp_rx.bytes,
            link_bytes_sent: moved.egress,
            link_bytes_received: moved.ingress,
            datagrams_sent: udp_tx.datagrams,
            batches_sent: udp_tx.ios,
            open_calls: self.open_calls() + self.being_served(),
        }
    }

    /// A number for the next request on this connection.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a request of the peer for as long as what is returned lives.
    pub(crate) fn serve_one(self: &Arc<Self>) -> Served {
        self.served.fetch_add(1, Ordering::SeqCst);
        self.move_data();
        Served(Arc::clone(self))
    }

    /// Requests of the peer that are being served.
    pub(crate) fn being_served(&self) -> u32 {
        self.served.load(Ordering::SeqCst)
    }

    /// Counts a call of this side for as long as what is returned lives; meanwhile a peer that is gone is noticed.
    pub(crate) fn begin_call(self: &Arc<Self>) -> Calling {
        // In one order with the watch that looks whether it has ended.
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.move_data();
        if !self.watched.swap(true, Ordering::SeqCst) {
            self.env.spawn(watch(Arc::clone(self)));
        }
        Calling(Arc::clone(self))
    }

    /// Closes a connection that this side opened and has no more use for, as soon as the peer has none either.
    pub(crate) fn leave(self: &Arc<Self>) {
        if self.side == Side::Accepted {
            return;
        }
        if !self.serves {
            return close(&self.quic, CloseCode::Done, "");
        }
        self.leaving.store(true, Ordering::SeqCst);
        // The peer may be about to ask, and is to do so elsewhere. If its windows have no room, it learns from the close.
        if let Some(words) = self.take_control() {
            let grace_ms = u32::try_from(self.linger().as_millis()).unwrap_or(u32::MAX);
            self.env.spawn(greeting::say(Arc::clone(self), words, Drain { grace_ms }));
        }
        self.depart();
    }

    /// Has a connection closed that is to be left, unless that is under way.
    fn depart(self: &Arc<Self>) {
        if self.being_served() == 0 && !self.departing.swap(true, Ordering::SeqCst) {
            self.env.spawn(depart(Arc::clone(self)));
        }
    }

    /// Keeps this side's control stream for later words.
    pub(crate) fn keep_control(&self, sender: Sender) {
        *self.control() = Some(sender);
    }

    /// This side's control stream; none while somebody else writes to it.
    pub(crate) fn take_control(&self) -> Option<Sender> {
        self.control().take()
    }

    fn control(&self) -> std::sync::MutexGuard<'_, Option<Sender>> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes whoever attends to the connection, for the peer's control stream.
impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.word.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.word.ring();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", &self.peer)
            .field("remote", &self.remote())
            .field("plane", &self.plane)
            .field("side", &self.side)
            .finish_non_exhaustive()
    }
}

/// A request of the peer that is being served.
pub(crate) struct Served(Arc<Link>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.touch();
        self.0.rest();
        let last = self.0.served.fetch_sub(1, Ordering::SeqCst) == 1;
        self.0.settle();
        if last && self.0.leaving.load(Ordering::SeqCst) {
            self.0.depart();
        }
    }
}

/// Closes a connection on which nothing is served any more, once the last reply has had time to arrive.
async fn depart(link: Arc<Link>) {
    loop {
        let used = link.used_ms.load(Ordering::Relaxed);
        tokio::time::sleep(link.linger()).await;
        if link.being_served() > 0 {
            link.departing.store(false, Ordering::SeqCst);
            // Whoever ended the last request just before found this still under way.
            if link.being_served() > 0 || link.departing.swap(true, Ordering::SeqCst) {
                return;
            }
        } else if link.used_ms.load(Ordering::Relaxed) == used {
            return close(&link.quic, CloseCode::Done, "");
        }
        if link.quic.close_reason().is_some() {
            return;
        }
    }
}

/// A call of this side that is open.
pub(crate) struct Calling(Arc<Link>);

/// Bytes that may come from a peer. While it lives, a connection on which nothing moves is not at rest: what was granted is
/// about to be used.
#[must_use = "dropped, what was granted counts as left over"]
pub struct Expected(Arc<Link>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.expected.fetch_sub(1, Ordering::SeqCst);
        self.0.settle();
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.0.touch();
        self.0.rest();
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
        self.0.settle();
    }
}

/// How often a connection with open calls is looked at. A peer that dies right after a look is given up after
/// `SILENT_BEATS + 1` of them, which is less than 3 s.
const BEAT: Duration = Duration::from_millis(700);

/// Looks in a row without a datagram after which a peer is given up. From the first of them on it was asked for a sign.
const SILENT_BEATS: u32 = 3;

/// Gives the peer up if nothing comes from it while calls are open, though it was asked for a sign: QUIC's own timeout is
/// for idle connections, and far too long for whoever waits.
async fn watch(link: Arc<Link>) {
    let mut last = link.traffic();
    let mut sent_before = last.sent;
    link.heard.store(last.heard, Ordering::Relaxed);
    loop {
        let began = link.env.now();
        tokio::time::sleep(BEAT).await;
        if link.quic.close_reason().is_some() || link.is_unwatched() {
            return;
        }
        let now = link.traffic();
        // A look that comes late says that this node stood still, and nothing of the peer.
        let stood_still = link.env.now().saturating_duration_since(began) > BEAT * 2;
        if now.heard != last.heard || stood_still {
            last = now;
            link.heard.store(last.heard, Ordering::Relaxed);
            link.silent_beats.store(0, Ordering::Relaxed);
            continue;
        }
        let silent = link.silent_beats.fetch_add(1, Ordering::Relaxed) + 1;
        if silent == 1 {
            sent_before = now.sent;
        }
        if silent >= SILENT_BEATS && now.sent > sent_before {
            return link.give_up("nothing came for 3 s while a request was open");
        }
        nudge(&link);
    }
}

/// Has a peer that lives acknowledge something: a word, or a stream that is taken back at once. The latter takes no room
/// in windows, which are full if the peer does not read, and leaves none for a word.
fn nudge(link: &Arc<Link>) {
    if let Some(words) = link.take_control() {
        link.env.spawn(greeting::say(Arc::clone(link), words, Ping {}));
    } else if let Some(Ok((mut stream, _))) = link.quic.open_bi().now_or_never() {
        // An error means that the connection is gone.
        let _ = stream.reset(VarInt::from_u32(ResetCode::Cancelled.number()));
    }
}

impl Link {
    /// Whether nobody waits for anything any more; the watch then ends.
    fn is_unwatched(&self) -> bool {
        if self.open_calls() > 0 {
            return false;
        }
        self.silent_beats.store(0, Ordering::Relaxed);
        self.watched.store(false, Ordering::SeqCst);
        // Whoever began a call just before found the watch still there.
        self.open_calls() == 0 || self.watched.swap(true, Ordering::SeqCst)
    }
}

/// Which of `count` sockets two nodes use for each other: FNV-1a over both names, the smaller first, so that either
/// side comes to the same.
pub(crate) fn pick(one: &NodeId, other: &NodeId, count: usize) -> Option<usize> {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (low, high) = if one.as_str() <= other.as_str() { (one, other) } else { (other, one) };
    let bytes = low.as_str().bytes().chain([0]).chain(high.as_str().bytes()).chain([0]);
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    usize::try_from(hash % u64::try_from(count).ok().filter(|count| *count > 0)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_pick_the_same_socket_for_each_other() {
        let (a, b): (NodeId, NodeId) = ("a".parse().unwrap(), "b".parse().unwrap());
        // FNV-1a of the bytes 61 00 62 00 is 0xab40_d782_0d40_8076, which anybody can compute from PROTOCOL.md.
        assert_eq!([5, 7, 8].map(|count| pick(&a, &b, count)), [Some(3), Some(5), Some(6)]);
        for count in 1..9 {
            assert_eq!(pick(&a, &b, count), pick(&b, &a, count));
        }
        assert_eq!(pick(&a, &b, 0), None);
    }

    #[test]
    fn many_pairs_spread_over_all_sockets() {
        let own: NodeId = "agent-1".parse().unwrap();
        let mut counts = [0; 4];
        for number in 0..400 {
            let peer: NodeId = format!("agent-{number}").parse().unwrap();
            counts[pick(&own, &peer, 4).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }
}
