//! The simulated network carries real QUIC, and one seed leads to one course of events.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig};
use quinn_proto::{ConnectionId, ConnectionIdGenerator};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use rdcq_certs::{Authority, Credentials, KeyKind};
use rdcq_netem_tests::{Conditions, Odds, SimNet, Trace};
use rdcq_transport::{Binding, Network, Plane};
use rdcq_wire::{Digest, HerdId, Identity};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::time::{Instant, timeout};

const SEEDS: u64 = 20;
const NOW_UNIX_S: u64 = 1_790_000_000;
const LOSSY: Conditions = Conditions {
    latency: Duration::from_millis(5),
    jitter: Duration::from_millis(2),
    loss: Odds::per_mille(50),
    reorder: Odds::per_mille(50),
    duplicate: Odds::per_mille(10),
};

#[test]
fn one_seed_leads_to_one_course_of_events_and_another_to_another() {
    let mut hashes = Vec::new();
    for seed in 0..SEEDS {
        let (first, second) = (exchange(seed), exchange(seed));
        assert_eq!(first.0, second.0, "seed {seed} took two courses; the second ended so:\n{}", second.1);
        let trace = first.0;
        assert!(trace.dropped > 0, "seed {seed} lost nothing: {trace}");
        assert!(!hashes.contains(&trace.hash), "seed {seed} took the course of another: {trace}");
        hashes.push(trace.hash);
    }
}

#[test]
fn other_conditions_lead_to_another_course() {
    let course = |conditions| simulate(async move { transfer(&SimNet::new(1, conditions), 1).await });
    let same = course(LOSSY);
    assert_eq!(same, course(LOSSY));
    let later = Conditions { latency: LOSSY.latency + Duration::from_nanos(1), ..LOSSY };
    assert_ne!(same.hash, course(later).hash);
}

#[test]
fn a_datagram_takes_the_latency_and_no_real_time() {
    simulate(async {
        let conditions = Conditions { latency: Duration::from_secs(3600), ..Conditions::LAN };
        let (net, begin) = (SimNet::new(1, conditions), Instant::now());
        let pair = Raw::bind(&net);
        pair.send(b"late");
        assert_eq!(pair.receive().await, b"late");
        assert_eq!(begin.elapsed(), conditions.latency);
    });
}

#[test]
fn loss_reordering_and_doubles_happen_as_often_as_they_are_said_to() {
    simulate(async {
        let count = 10_000_u32;
        let conditions = Conditions { jitter: Duration::ZERO, ..LOSSY };
        let net = SimNet::new(7, conditions);
        let pair = Raw::bind(&net);
        let mut got = Vec::new();
        for number in 0..count {
            pair.send(&number.to_be_bytes());
            tokio::time::sleep(Duration::from_millis(1)).await;
            pair.receive_ready(&mut got).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        pair.receive_ready(&mut got).await;
        let overtaken = got.windows(2).filter(|pair| pair[1] < pair[0]).count();
        let trace = net.trace();
        assert_eq!(trace.datagrams, u64::from(count));
        assert!((450..550).contains(&trace.dropped), "{trace}");
        assert!((380..570).contains(&overtaken), "{overtaken} overtaken");
        let doubles = got.len() as u64 - (trace.datagrams - trace.dropped);
        assert!((65..130).contains(&doubles), "{doubles} doubles");
    });
}

#[test]
fn a_partitioned_machine_hears_nothing_until_it_is_healed() {
    simulate(async {
        let net = SimNet::new(1, Conditions::LAN);
        let pair = Raw::bind(&net);
        net.partition(pair.to().ip());
        pair.send(b"lost");
        assert!(timeout(Duration::from_secs(10), pair.receive()).await.is_err());
        net.heal(pair.to().ip());
        pair.send(b"heard");
        assert_eq!(pair.receive().await, b"heard");
        assert_eq!(net.trace().dropped, 1);
    });
}

#[test]
fn a_full_socket_drops_what_comes_then() {
    simulate(async {
        let net = SimNet::new(1, Conditions::LAN);
        let pair = Raw::bind(&net);
        let sent = 3000_u32;
        (0..sent).for_each(|number| pair.send(&number.to_be_bytes()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut got = Vec::new();
        pair.receive_ready(&mut got).await;
        let kept = u32::try_from(got.len()).unwrap();
        assert_eq!(got, (0..kept).collect::<Vec<_>>(), "the first ones are kept, in order");
        assert!(kept < sent && net.trace().dropped == u64::from(sent - kept), "{kept} kept: {}", net.trace());
    });
}

#[test]
fn ports_are_handed_out_in_order_and_free_again_when_dropped() {
    simulate(async {
        let net = SimNet::new(1, Conditions::LAN);
        let host = net.host("10.0.0.9".parse().unwrap());
        let first = host.bind(any_port(), Plane::Control).unwrap();
        let second = host.bind(any_port(), Plane::Control).unwrap();
        assert_eq!(local(&first), "10.0.0.9:49152".parse().unwrap());
        assert_eq!(local(&second), "10.0.0.9:49153".parse().unwrap());
        assert!(host.bind(local(&first), Plane::Control).is_err(), "an address was given twice");
        assert!(
            host.bind("10.0.0.8:1".parse().unwrap(), Plane::Control).is_err(),
            "another machine's address was given"
        );
        let addr = local(&first);
        drop(first);
        assert_eq!(local(&host.bind(addr, Plane::Control).unwrap()), addr);
        assert_eq!(local(&net.bind(any_port(), Plane::Control).unwrap()), "10.0.0.1:49152".parse().unwrap());
    });
}

#[test]
fn a_crashed_machine_falls_silent_at_once_and_its_address_is_free() {
    simulate(async {
        let net = SimNet::new(3, Conditions::LAN);
        let herd = Herd::new(3);
        let (server, client) = herd.endpoints(&net);
        let (addr, ip) = (server.local_addr().unwrap(), server.local_addr().unwrap().ip());
        let (here, there) = connect(&client, &server).await;
        net.crash(ip);
        there.close(1_u32.into(), b"the dead tell nothing");
        let end = timeout(Duration::from_secs(300), here.closed()).await.unwrap();
        assert!(matches!(end, quinn::ConnectionError::TimedOut), "{end}");
        let again = herd.server(&net, addr);
        assert_eq!(again.local_addr().unwrap(), addr);
        connect(&client, &again).await;
    });
}

/// Runs `work` as the whole-node tests run theirs: one thread, virtual time.
fn simulate<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// One transfer over a lossy network of its own: its trace, and its last events for people.
fn exchange(seed: u64) -> (Trace, String) {
    simulate(async move {
        let net = SimNet::new(seed, LOSSY);
        let trace = transfer(&net, seed).await;
        let last: Vec<_> = net.recent().iter().map(ToString::to_string).collect();
        (trace, last.join("\n"))
    })
}

/// 256 KiB each way between two endpoints, digests compared.
async fn transfer(net: &SimNet, seed: u64) -> Trace {
    let (server, client) = Herd::new(seed).endpoints(net);
    let (here, there) = connect(&client, &server).await;
    let mut content = vec![0; 256 * 1024];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);

    let echo = async {
        let (mut send, mut receive) = there.accept_bi().await.unwrap();
        let got = receive.read_to_end(content.len()).await.unwrap();
        send.write_all(&got).await.unwrap();
        send.finish().unwrap();
        there.closed().await
    };
    let ask = async {
        let (mut send, mut receive) = here.open_bi().await.unwrap();
        send.write_all(&content).await.unwrap();
        send.finish().unwrap();
        let got = receive.read_to_end(content.len()).await.unwrap();
        assert_eq!(Digest::of(&got), Digest::of(&content), "seed {seed}");
        here.close(0_u32.into(), b"");
    };
    tokio::join!(echo, ask);
    client.wait_idle().await;
    server.wait_idle().await;
    net.trace()
}

async fn connect(client: &Endpoint, server: &Endpoint) -> (Connection, Connection) {
    let connecting = client.connect(server.local_addr().unwrap(), "node").unwrap();
    let accepting = async { server.accept().await.unwrap().await.unwrap() };
    let (here, there) = tokio::join!(connecting, accepting);
    (here.unwrap(), there)
}

/// A CA and two nodes. Keys and certificates are fresh each time: only their lengths may matter.
struct Herd {
    seed: u64,
    server: Credentials,
    client: Credentials,
}

impl Herd {
    fn new(seed: u64) -> Self {
        let herd: HerdId = "herd".parse().unwrap();
        let ca = Authority::generate(herd, KeyKind::Ed25519, NOW_UNIX_S * 1000).unwrap();
        let node = |uri| {
            let issued = ca.issue(&Identity::from_spiffe(uri).unwrap(), NOW_UNIX_S * 1000).unwrap();
            Credentials::from_pem(ca.cert_pem(), &issued.cert_pem, &issued.key_pem, Arc::new(Fixed)).unwrap()
        };
        Self {
            seed,
            server: node("spiffe://herd/origin-1/origin"),
            client: node("spiffe://herd/host-1/agent"),
        }
    }

    fn endpoints(&self, net: &SimNet) -> (Endpoint, Endpoint) {
        (self.server(net, "10.0.0.1:7401".parse().unwrap()), self.client(net))
    }

    fn server(&self, net: &SimNet, addr: SocketAddr) -> Endpoint {
        let tls = QuicServerConfig::try_from(self.server.server_config()).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(tls));
        endpoint(self.seed, Some(config), net.bind(addr, Plane::Control).unwrap())
    }

    fn client(&self, net: &SimNet) -> Endpoint {
        let tls = QuicClientConfig::try_from(self.client.client_config()).unwrap();
        let mut endpoint = endpoint(
            self.seed + 1000,
            None,
            net.bind("10.0.0.2:0".parse().unwrap(), Plane::Control).unwrap(),
        );
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
        endpoint
    }
}

fn endpoint(seed: u64, server: Option<ServerConfig>, Binding { socket, runtime, .. }: Binding) -> Endpoint {
    let mut rng_seed = [0; 32];
    rng_seed[..8].copy_from_slice(&seed.to_be_bytes());
    let mut config = EndpointConfig::default();
    config.rng_seed(Some(rng_seed));
    config.cid_generator(move || Box::new(SeededIds(StdRng::seed_from_u64(seed))));
    Endpoint::new_with_abstract_socket(config, server, socket, runtime).unwrap()
}

/// Connection IDs that follow from a seed.
struct SeededIds(StdRng);

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        self.0.fill_bytes(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW_UNIX_S)))
    }
}

/// Two sockets without QUIC: one sends, the other receives.
struct Raw {
    from: Binding,
    to: Binding,
}

impl Raw {
    fn bind(net: &SimNet) -> Self {
        Self {
            from: net.bind(any_port(), Plane::Control).unwrap(),
            to: net.bind(any_port(), Plane::Control).unwrap(),
        }
    }

    fn to(&self) -> SocketAddr {
        local(&self.to)
    }

    fn send(&self, contents: &[u8]) {
        let destination = self.to();
        let transmit =
            quinn_udp::Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        self.from.socket.try_send(&transmit).unwrap();
    }

    async fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let mut meta = [quinn_udp::RecvMeta::default()];
        std::future::poll_fn(|cx| {
            self.to.socket.poll_recv(cx, &mut [std::io::IoSliceMut::new(&mut buffer)], &mut meta)
        })
        .await
        .unwrap();
        assert_eq!(meta[0].addr, local(&self.from));
        buffer[..meta[0].len].to_vec()
    }

    /// Takes whatever has arrived, as numbers.
    async fn receive_ready(&self, got: &mut Vec<u32>) {
        while let Ok(contents) = timeout(Duration::ZERO, self.receive()).await {
            got.push(u32::from_be_bytes(contents.try_into().unwrap()));
        }
    }
}

fn any_port() -> SocketAddr {
    (IpAddr::from([0, 0, 0, 0]), 0).into()
}

fn local(binding: &Binding) -> SocketAddr {
    binding.socket.local_addr().unwrap()
}
