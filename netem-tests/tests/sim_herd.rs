//! A whole herd in one deterministic world: the very `App`s of `rdcq node`, on a network in memory that loses and
//! reorders, on disks in memory, under a paused clock.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::try_join_all;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use rdcq::{Herd, HerdError, HerdPlan, Place, Seat};
use rdcq_certs::{Authority, Credentials, KeyKind, system_time};
use rdcq_client::{Session, ask, pull, push};
use rdcq_env::{Env, Mode, SimDisk};
use rdcq_netem_tests::simnet::{Conditions, Odds, SimNet, Trace};
use rdcq_runtime::{Catalogues, Host};
use rdcq_wire::message::Sources;
use rdcq_wire::{Digest, ErrorCode, Identity, Name, NodeId, Role};

const SEEDS: u64 = 100;
const AGENTS: u32 = 3;
/// Virtual time that one story may take.
const LONG_ENOUGH: Duration = Duration::from_secs(600);

/// What came of a story: every datagram, and who fed whom.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    trace: Trace,
    sources: Vec<Sources>,
    digest: Digest,
}

#[test]
fn a_herd_lives_the_same_life_twice_for_each_of_100_seeds() {
    let mut traces = Vec::new();
    for seed in 0..SEEDS {
        let first = live(seed);
        let second = live(seed);
        assert_eq!(first, second, "seed {seed} led to two different courses of events");
        traces.push(first.trace.hash);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len() as u64, SEEDS, "different seeds must lead to different courses of events");
}

fn live(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let told = tokio::time::timeout(LONG_ENOUGH, story(seed)).await;
        told.unwrap_or_else(|_| panic!("seed {seed}: the story has no end after {LONG_ENOUGH:?}"))
    })
}

/// Pushes two versions, pulls them on every agent at once, removes one.
async fn story(seed: u64) -> Outcome {
    let world = World::new(seed);
    let herd = world.start().await;
    let clients: Vec<Client> = (1..=AGENTS).map(|number| Client::new(&world, &herd, number)).collect();
    let content = bytes(seed, 200_000 + usize::try_from(seed).unwrap() * 1_000);
    let first = clients[0].push(&content, seed).await;
    let pulled = try_join_all(clients.iter().map(|client| client.pull(&first))).await.unwrap();
    for client in &clients {
        assert_eq!(client.read("/out"), content, "seed {seed}");
    }
    let corrected = [&content[..100_000], b"a line more", &content[100_000..]].concat();
    let second = clients[1].push(&corrected, seed).await;
    assert_ne!(first, second, "seed {seed}");
    clients[2].pull(&second).await.unwrap();
    assert_eq!(clients[2].read("/out"), corrected, "seed {seed}");
    ask::remove(&world.operator(&herd), &first.parse().unwrap()).await.unwrap();
    let gone = clients[1].pull(&first).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound, "seed {seed}: {gone}");
    let sources = pulled.into_iter().map(|pulled| pulled.sources).collect();
    Outcome { trace: world.net.trace(), sources, digest: Digest::of(&corrected) }
}

struct World {
    seed: u64,
    net: SimNet,
}

impl World {
    fn new(seed: u64) -> Self {
        let conditions = Conditions {
            latency: Duration::from_millis(1),
            jitter: Duration::from_micros(500),
            loss: Odds::per_mille(5 + u16::try_from(seed % 20).unwrap()),
            reorder: Odds::per_mille(20),
            ..Conditions::default()
        };
        Self { seed, net: SimNet::new(seed, conditions) }
    }

    fn host(&self, number: u8) -> (Host, IpAddr) {
        let ip = IpAddr::from(Ipv4Addr::new(10, 0, 0, number));
        let env = Env::simulated(self.seed << 8 | u64::from(number), SimDisk::new());
        (Host { env, network: Arc::new(self.net.host(ip)), catalogues: Catalogues::memory() }, ip)
    }

    async fn start(&self) -> Herd {
        let mut number = 0;
        let plan = HerdPlan::with_agents(AGENTS);
        let herd = Herd::start(plan, |seat| {
            number += 1;
            let (host, ip) = self.host(number);
            let credentials = Arc::new(credentials(&seat.to_string(), seat.role));
            Ok::<_, HerdError>(place(seat, host, SocketAddr::new(ip, 7400), credentials))
        });
        herd.await.unwrap()
    }

    fn operator(&self, herd: &Herd) -> Session {
        herd.session(&self.host(200).0, &credentials("operator", Role::Operator), 1).unwrap()
    }
}

fn place(seat: Seat, host: Host, listen: SocketAddr, credentials: Arc<Credentials>) -> Place {
    Place { host, listen, data_dir: PathBuf::from(format!("/{seat}")), credentials }
}

struct Client {
    host: Host,
    node: NodeId,
    session: Session,
}

impl Client {
    fn new(world: &World, herd: &Herd, number: u32) -> Self {
        let (host, _) = world.host(100 + u8::try_from(number).unwrap());
        let node = format!("host-{number}");
        let session = herd.session(&host, &credentials(&node, Role::Client), number as usize).unwrap();
        Self { host, node: node.parse().unwrap(), session }
    }

    /// Pushes bytes as the next version, and returns its tag.
    async fn push(&self, content: &[u8], seed: u64) -> String {
        let path = Path::new("/in");
        let disk = self.host.env.disk();
        // Nothing is there to remove before the first push.
        let _ = disk.remove_file(path);
        disk.create_new(path, Mode::Shared).unwrap().write_all_at(content, 0).unwrap();
        let name = Name::conventional(self.node.clone(), "/", "in").unwrap();
        let push = push::Push { path: path.to_owned(), name, version: None, patience: LONG_ENOUGH };
        let pushed = push::push(&self.session, &push, &|_| ()).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(pushed.record.digest, Digest::of(content), "seed {seed}");
        pushed.record.tag()
    }

    async fn pull(&self, tag: &str) -> Result<pull::Pulled, rdcq_client::OperationError> {
        let query = tag.parse().unwrap();
        let pull = pull::Pull { query, target: PathBuf::from("/out"), patience: LONG_ENOUGH };
        pull::pull(&self.session, &pull, &|_| ()).await
    }

    fn read(&self, path: &str) -> Vec<u8> {
        self.host.env.disk().read(Path::new(path), u64::MAX).unwrap()
    }
}

/// The herd's CA, made once: a certificate's bytes are no part of a course of events, its length is.
static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    Authority::generate("sim".parse().unwrap(), KeyKind::Ed25519, now()).unwrap()
});

fn credentials(node: &str, role: Role) -> Credentials {
    let identity = Identity { herd: "sim".parse().unwrap(), node: node.parse().unwrap(), roles: role.into() };
    let issued = AUTHORITY.issue(&identity, now()).unwrap();
    let ca = AUTHORITY.cert_pem();
    Credentials::from_pem(ca, &issued.cert_pem, &issued.key_pem, system_time()).unwrap()
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}
