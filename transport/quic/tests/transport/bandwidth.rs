//! Limits over real sockets. A machine that is slow makes less of a limit, so only what is too fast is a failure.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use rdcq_bandwidth::{Classes, Limits as Rates};
use rdcq_transport::{Bandwidth, DataPorts, Direction, Endpoint, IncomingCall, Limits, Pool, Refusal, Udp};
use rdcq_wire::message::{GetPieces, Stored};
use rdcq_wire::{Class, Kind, RateLimit};

use crate::pair::{CALLER, Ca, HERD, Handler, SERVING, get_pieces, pattern, pieces, put_pieces};

const BODY: usize = 128 * 1024;
/// What a reply of this length takes on the wire, at the least.
const STREAMS: u32 = 16;

async fn answer(mut call: IncomingCall) -> Result<(), Refusal> {
    if call.kind() == Kind::PutPieces {
        assert_eq!(call.take_body().collect().await?.concat(), pattern(BODY));
        return call.reply(&Stored {}, Vec::new()).await;
    }
    let request: GetPieces = call.request()?;
    call.reply(&pieces(request.span.first.0), vec![pattern(BODY)]).await
}

struct Herd {
    env: rdcq_env::Env,
    server: Endpoint,
    bandwidth: Bandwidth,
    pool: Pool,
    ingress: Bandwidth,
}

fn at(rate: &str) -> Rates {
    Rates { node: RateLimit::At(rate.parse().unwrap()), ..Rates::default() }
}

impl Herd {
    fn new(ports: DataPorts) -> Self {
        let env = rdcq_env::Env::system();
        let ca = Ca::new(HERD);
        let open = |name, roles, bandwidth: &Bandwidth| {
            let limits = Limits { data_ports: ports.clone(), ..Limits::default() };
            let any = "127.0.0.1:0".parse().unwrap();
            Endpoint::open(&env, &Udp::default(), any, ca.security(name, roles), limits, bandwidth).unwrap()
        };
        let (bandwidth, ingress) = (Bandwidth::unlimited(&env), Bandwidth::unlimited(&env));
        let server = open("server", &[SERVING], &bandwidth);
        server.serve(SERVING, std::sync::Arc::new(Handler { handle: answer, calls: 0.into() }));
        let pool = Pool::new(env.clone(), open("client", CALLER, &ingress));
        Self { env, server, bandwidth, pool, ingress }
    }

    /// Asks for so many bodies at once, and says how long they took.
    async fn pull(&self, count: u32, class: Class) -> Duration {
        let begun = self.env.now();
        let deadline = begun + Duration::from_secs(100);
        let replies = (0..count).map(async |number| {
            let connection = self.pool.get_data(self.server.local_addr(), SERVING, deadline).await.unwrap();
            let _expected = connection.expect(class, BODY as u64).await;
            self.ask(number, class).await;
        });
        join_all(replies).await;
        self.env.now() - begun
    }

    /// Asks for a body, whether it may come or not.
    async fn ask(&self, number: u32, class: Class) {
        let deadline = self.env.now() + Duration::from_secs(100);
        let scope = rdcq_transport::Scope { trace: 1, deadline, class };
        let (addr, request) = (self.server.local_addr(), get_pieces(number));
        let answer = self.pool.call(addr, SERVING, scope, &request, Vec::new()).await.unwrap();
        let body: Vec<Bytes> = answer.body.collect().await.unwrap();
        assert_eq!(body.concat(), pattern(BODY));
    }

    /// Has so many bodies taken in, and says how long it took.
    async fn push(&self, count: u32) -> Duration {
        let begun = self.env.now();
        let deadline = begun + Duration::from_secs(100);
        let scope = rdcq_transport::Scope { trace: 1, deadline, class: Class::Normal };
        let addr = self.server.local_addr();
        let pushes = (0..count).map(async |_| {
            self.pool.call(addr, SERVING, scope, &put_pieces(), vec![pattern(BODY)]).await.unwrap();
        });
        join_all(pushes).await;
        self.env.now() - begun
    }
}

/// No less time than these bytes take at a rate, but for what a bucket holds.
#[track_caller]
fn assert_kept(took: Duration, bodies: u32, bytes_per_second: u64) {
    let bytes = u64::from(bodies) * BODY as u64;
    let least = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64)
        .saturating_sub(Duration::from_millis(20));
    assert!(took >= least, "{bytes} bytes took {took:?}, less than {least:?}");
}

#[tokio::test]
async fn replies_leave_at_the_rate_of_the_node_wherever_pieces_go() {
    for ports in [DataPorts::Any, DataPorts::None] {
        let herd = Herd::new(ports);
        herd.pull(1, Class::Normal).await;
        herd.bandwidth.set_limits(at("40Mbit/s"), Rates::default());
        let took = herd.pull(STREAMS, Class::Normal).await;
        assert_kept(took, STREAMS, 5_000_000);
    }
}

#[tokio::test]
async fn a_node_asks_for_what_it_may_take_in() {
    let herd = Herd::new(DataPorts::Any);
    herd.pull(1, Class::Normal).await;
    herd.ingress.set_limits(Rates::default(), at("40Mbit/s"));
    let took = herd.pull(STREAMS, Class::Normal).await;
    assert_kept(took, STREAMS, 5_000_000);
}

#[tokio::test]
async fn a_node_takes_in_what_is_sent_unasked_as_slowly_as_it_may() {
    let herd = Herd::new(DataPorts::Any);
    herd.push(1).await;
    herd.bandwidth.set_limits(Rates::default(), at("40Mbit/s"));
    let took = herd.push(STREAMS).await;
    assert_kept(took, STREAMS, 5_000_000);
}

#[tokio::test]
async fn what_is_under_way_goes_on_through_a_hundred_changes_of_its_limit() {
    let herd = Herd::new(DataPorts::Any);
    herd.bandwidth.set_limits(at("20Mbit/s"), Rates::default());
    let changing = async {
        for number in 0..100 {
            let rate = if number % 2 == 0 { "10Mbit/s" } else { "30Mbit/s" };
            herd.bandwidth.set_limits(at(rate), Rates::default());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        herd.bandwidth.set_limits(Rates::default(), Rates::default());
    };
    let ((), took) = tokio::join!(changing, herd.pull(STREAMS, Class::Normal));
    assert!(took > Duration::from_millis(100));
    assert!(!format!("{:?}", herd.bandwidth).is_empty());
}

#[tokio::test]
async fn a_class_stays_below_its_ceiling_while_another_passes() {
    let herd = Herd::new(DataPorts::Any);
    herd.pull(1, Class::Normal).await;
    let mut limits = Rates { classes: Classes::default(), ..Rates::default() };
    limits.classes.background.ceiling = RateLimit::At("8Mbit/s".parse().unwrap());
    herd.bandwidth.set_limits(limits, Rates::default());
    let (slow, fast) = tokio::join!(herd.pull(8, Class::Background), herd.pull(STREAMS, Class::Urgent));
    assert_kept(slow, 8, 1_000_000);
    assert!(fast < slow, "urgent took {fast:?}, background {slow:?}");
    let moved = herd.bandwidth.stats(Direction::Egress).moved;
    assert!(moved.iter().all(|(_, bytes)| *bytes > 0), "{moved:?}");
}

#[tokio::test]
async fn what_is_granted_is_not_given_back_before_it_is_asked_for() {
    const BODIES: u32 = 8;
    let herd = Herd::new(DataPorts::Any);
    herd.pull(1, Class::Normal).await;
    herd.ingress.set_limits(Rates::default(), at("40Mbit/s"));
    let normal = || {
        let moved = herd.ingress.stats(Direction::Ingress).moved;
        moved.iter().find(|(class, _)| *class == Class::Normal).unwrap().1
    };
    let before = normal();
    // While one waits for all that it will ask for, the other's requests come and go.
    let deadline = herd.env.now() + Duration::from_secs(100);
    let connection = herd.pool.get_data(herd.server.local_addr(), SERVING, deadline).await.unwrap();
    let all = async {
        let _expected = connection.expect(Class::Normal, u64::from(BODIES) * BODY as u64).await;
        for _ in 0..BODIES {
            herd.ask(0, Class::Normal).await;
        }
    };
    let each = async {
        for _ in 0..BODIES {
            herd.pull(1, Class::Normal).await;
        }
    };
    futures_util::join!(all, each);
    // Given back and charged once more when it comes, it counts twice, and what a bucket does not hold is lost.
    let (moved, bodies) = (normal() - before, u64::from(BODIES) * 2 * BODY as u64);
    assert!(moved < bodies + bodies / 10, "{moved} bytes were charged for {bodies}");
}

#[tokio::test]
async fn a_limit_does_not_cost_datagrams() {
    let herd = Herd::new(DataPorts::Any);
    // Until it is known how long they may be.
    herd.pull(4, Class::Normal).await;
    let sent = || {
        let connections = herd.server.stats().into_iter().flat_map(|stats| stats.connections);
        connections.fold((0, 0, 0), |(bytes, datagrams, longest), connection| {
            let longest = connection.datagram_size.max(longest);
            (bytes + connection.bytes_sent, datagrams + connection.datagrams_sent, longest)
        })
    };
    let before = sent();
    // A grant at this rate is a datagram and a bit.
    herd.bandwidth.set_limits(at("12500kbit/s"), Rates::default());
    herd.pull(4, Class::Normal).await;
    let after = sent();
    let (bytes, datagrams) = (after.0 - before.0, after.1 - before.1);
    assert!(bytes > 4 * BODY as u64);
    let full = bytes / u64::from(after.2);
    assert!(datagrams <= full + full / 4, "{bytes} bytes took {datagrams} datagrams, {full} if all are full");
}
