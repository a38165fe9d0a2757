//! A herd in a world of its own: the very `App`s of `rdcq node`, on a network in memory that loses and reorders, on disks
//! in memory, under a paused clock.
//!
//! [`World`] is the herd and what can befall its nodes; [`Client`] is somebody who pushes and pulls. Whatever fails panics
//! with the seed: this is for tests alone.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::{RngCore, SeedableRng, rngs::StdRng};
use rdcq::{Herd, HerdError, HerdPlan, Place, Seat};
use rdcq_certs::{Authority, Credentials, KeyKind, system_time};
use rdcq_client::{OperationError, Session, pull, push};
use rdcq_env::{DeskName, DeskToken, Disk, DiskFile, Env, Mode, SimDesks, SimDisk};
use rdcq_runtime::{Catalogues, Host, Reloads, security};
use rdcq_transport::{CallError, Direction, Endpoint, Limits, Pool, Scope};
use rdcq_wire::message::{Lend, Lent};
use rdcq_wire::{Class, Cutter, Digest, Identity, Manifest, Name, NodeId, PieceIndex, Role};

use crate::simnet::{Conditions, Odds, SimNet, Trace};

/// What a client pushes.
const SOURCE: &str = "/in";

/// Virtual time that anything in a world may take.
pub const LONG_ENOUGH: Duration = Duration::from_secs(600);

/// Runs a story under a paused clock, to its end or for [`LONG_ENOUGH`].
pub fn live<T>(seed: u64, story: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let told = tokio::time::timeout(LONG_ENOUGH, story).await;
        told.unwrap_or_else(|_| panic!("seed {seed}: the story has no end after {LONG_ENOUGH:?}"))
    })
}

/// Bytes that follow from a seed and cannot be compressed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A running herd, each node on a machine of its own.
pub struct World {
    seed: u64,
    net: SimNet,
    machines: BTreeMap<Seat, Machine>,
    herd: Herd,
}

/// Where one node lives, and what outlives it.
struct Machine {
    number: u8,
    /// How often a node was started here.
    lives: u64,
    disk: SimDisk,
    desks: Option<SimDesks>,
    host: Host,
    credentials: Arc<Credentials>,
}

impl World {
    /// Starts a herd with one of each server. Everything that happens in it follows from `seed`.
    pub async fn start(seed: u64, agents: u32) -> Self {
        Self::start_on(seed, agents, || Some(SimDesks::default())).await
    }

    /// As [`Self::start`], on machines on which nobody can open a desk.
    pub async fn start_without_desks(seed: u64, agents: u32) -> Self {
        Self::start_on(seed, agents, || None).await
    }

    async fn start_on(seed: u64, agents: u32, desks: impl Fn() -> Option<SimDesks>) -> Self {
        let net = SimNet::new(seed, conditions(seed));
        let plan = HerdPlan::with_agents(agents);
        let mut machines: BTreeMap<_, _> = (1..)
            .zip(plan.seats())
            .map(|(number, seat)| (seat, Machine::new(seed, &net, number, seat, desks())))
            .collect();
        let herd = Herd::start(plan, |seat| {
            let machine = machines.get_mut(&seat).unwrap();
            Ok::<_, HerdError>(machine.place(seat))
        });
        let herd = herd.await.unwrap();
        Self { seed, net, machines, herd }
    }

    /// Every datagram so far.
    pub fn trace(&self) -> Trace {
        self.net.trace()
    }

    /// A client who pulls through the `number`th agent and is on its machine, as far as desks go; network and disk are its own.
    pub fn client(&self, number: u32) -> Client {
        let desks = self.machines[&Seat::new(Role::Agent, number)].desks.clone();
        self.client_at(number, desks)
    }

    /// A client on a machine of its own, who pulls through the `number`th agent.
    pub fn distant_client(&self, number: u32) -> Client {
        self.client_at(number, Some(SimDesks::default()))
    }

    fn client_at(&self, number: u32, desks: Option<SimDesks>) -> Client {
        let machine = 100 + u8::try_from(number).unwrap();
        let host = host(self.seed, &self.net, machine, SimDisk::new(), desks);
        let node = format!("host-{number}");
        let session = self.herd.session(&host, &credentials(&node, Role::Client), number as usize).unwrap();
        Client { seed: self.seed, host, node: node.parse().unwrap(), session }
    }

    /// Somebody who may remove.
    pub fn operator(&self) -> Session {
        let host = host(self.seed, &self.net, 200, SimDisk::new(), None);
        self.herd.session(&host, &credentials("operator", Role::Operator), 1).unwrap()
    }

    /// What a node's machine keeps on its disk.
    pub fn disk(&self, seat: Seat) -> &SimDisk {
        &self.machines[&seat].disk
    }

    /// Where a node serves.
    pub fn addr(&self, seat: Seat) -> SocketAddr {
        self.machines[&seat].addr()
    }

    /// Ends a node as `kill -9` does: its disk keeps what was written, synced or not.
    pub async fn kill(&mut self, seat: Seat) {
        drop(self.herd.take(seat).unwrap());
        let machine = &self.machines[&seat];
        machine.host.env.kill();
        self.net.crash(machine.addr().ip());
        // The tasks end on the runtime's next turn, which is over before time goes on.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Cuts a node's power: what it had not synced is gone. Its catalogue is taken for lost, too; all it held must
    /// follow from the files.
    pub async fn lose_power(&mut self, seat: Seat) {
        self.kill(seat).await;
        let machine = self.machines.get_mut(&seat).unwrap();
        machine.disk.crash();
        machine.host.catalogues = Catalogues::memory();
    }

    /// Starts a node again that was killed, where it was.
    pub async fn restart(&mut self, seat: Seat) {
        let machine = self.machines.get_mut(&seat).unwrap();
        machine.lives += 1;
        let seed = self.seed ^ machine.lives << 32;
        let catalogues = machine.host.catalogues.clone();
        let (disk, desks) = (machine.disk.clone(), machine.desks.clone());
        machine.host = Host { catalogues, ..host(seed, &self.net, machine.number, disk, desks) };
        let place = machine.place(seat);
        self.herd.restart(seat, place).await.unwrap();
    }

    /// Cuts a node off from all others; what is on its way still arrives.
    pub fn cut_off(&self, seat: Seat) {
        self.net.partition(self.addr(seat).ip());
    }

    /// Lets a node reach the others again.
    pub fn heal(&self, seat: Seat) {
        self.net.heal(self.addr(seat).ip());
    }

    /// Whether a node has content whole.
    pub fn is_whole(&self, seat: Seat, digest: &Digest) -> bool {
        self.disk(seat).exists(&blob(seat, digest)).unwrap()
    }

    /// Bytes of the pieces that a node has on record while it lacks others; none once it has all.
    pub fn recorded(&self, seat: Seat, manifest: &Manifest) -> u64 {
        let pieces = self.recorded_pieces(seat, manifest);
        pieces.into_iter().map(|index| u64::from(manifest.pieces.piece(index).unwrap().len)).sum()
    }

    /// The pieces that a node has on record while it lacks others; none once it has all.
    pub fn recorded_pieces(&self, seat: Seat, manifest: &Manifest) -> Vec<PieceIndex> {
        let map = content_folder(seat).join("partial").join(manifest.content.hex() + ".map");
        let Ok(map) = self.disk(seat).read(&map, u64::MAX) else { return Vec::new() };
        // The map ends with a byte a piece.
        let marks = &map[map.len() - manifest.pieces.len() as usize..];
        let held = (0..).map(PieceIndex).zip(marks).filter(|(_, mark)| **mark == HELD);
        held.map(|(index, _)| index).collect()
    }

    /// Makes a node that has content whole serve other bytes for all of it.
    pub fn corrupt(&self, seat: Seat, digest: &Digest) {
        let blob = self.disk(seat).open(&blob(seat, digest)).unwrap();
        let lies = bytes(!self.seed, usize::try_from(blob.len().unwrap()).unwrap());
        blob.write_all_at(&lies, 0).unwrap();
    }

    /// Lets a node take in no more than `rate` from now on; until it is started again.
    pub fn slow_down(&self, seat: Seat, rate: &str) {
        let bandwidth = &self.machines[&seat].host.bandwidth;
        let [egress, mut ingress] =
            [Direction::Egress, Direction::Ingress].map(|one| bandwidth.stats(one).limits);
        ingress.node = rate.parse().unwrap();
        bandwidth.set_limits(egress, ingress);
    }

    /// Damages one byte of content that a node has whole or in the making.
    pub fn flip(&self, seat: Seat, digest: &Digest, at: u64) {
        let partial = content_folder(seat).join("partial").join(digest.hex());
        let blob =
            self.disk(seat).open(&blob(seat, digest)).or_else(|_| self.disk(seat).open(&partial)).unwrap();
        let mut byte = [0];
        blob.read_exact_at(&mut byte, at).unwrap();
        blob.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("seed", &self.seed).field("net", &self.net).finish_non_exhaustive()
    }
}

/// How a store marks a piece that is there.
const HELD: u8 = 0xa5;

fn content_folder(seat: Seat) -> PathBuf {
    PathBuf::from(format!("/{seat}/content"))
}

fn blob(seat: Seat, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    content_folder(seat).join("blobs").join(&hex[..2]).join(&hex)
}

/// Some latency, some loss, some disorder; how much follows from the seed.
fn conditions(seed: u64) -> Conditions {
    Conditions {
        latency: Duration::from_millis(1),
        jitter: Duration::from_micros(500),
        loss: Odds::per_mille(5 + u16::try_from(seed % 20).unwrap()),
        reorder: Odds::per_mille(20),
        ..Conditions::default()
    }
}

/// Where the `number`th machine is.
pub fn ip(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

/// What a node on the `number`th machine stands on; its desks, if it has any, may be those of another one.
pub fn host(seed: u64, net: &SimNet, number: u8, disk: SimDisk, desks: Option<SimDesks>) -> Host {
    let seed = seed << 8 | u64::from(number);
    let env = match desks {
        Some(desks) => Env::simulated_at(seed, disk, desks),
        None => Env::simulated(seed, disk),
    };
    let bandwidth = rdcq_transport::Bandwidth::unlimited(&env);
    let network = Arc::new(net.host(ip(number)));
    Host { env, network, bandwidth, catalogues: Catalogues::memory(), reloads: Reloads::default() }
}

impl Machine {
    fn new(seed: u64, net: &SimNet, number: u8, seat: Seat, desks: Option<SimDesks>) -> Self {
        let disk = SimDisk::new();
        let host = host(seed, net, number, disk.clone(), desks.clone());
        Self {
            number,
            lives: 1,
            disk,
            desks,
            host,
            credentials: Arc::new(credentials(&seat.to_string(), seat.role)),
        }
    }

    fn addr(&self) -> SocketAddr {
        SocketAddr::new(ip(self.number), PORT)
    }

    fn place(&self, seat: Seat) -> Place {
        Place {
            host: self.host.clone(),
            listen: self.addr(),
            data_dir: PathBuf::from(format!("/{seat}")),
            credentials: Arc::clone(&self.credentials),
        }
    }
}

/// Where every node listens on its machine.
pub const PORT: u16 = 7400;

/// Somebody who pushes and pulls.
pub struct Client {
    seed: u64,
    host: Host,
    node: NodeId,
    session: Session,
}

impl Client {
    /// What the client asks through.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Pushes bytes as the next version, and returns its tag.
    pub async fn push(&self, content: &[u8]) -> String {
        let seed = self.seed;
        let pushed = self.push_telling(content, &|_| ()).await;
        let pushed = pushed.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(pushed.record.digest, Digest::of(content), "seed {seed}");
        pushed.record.tag()
    }

    /// As [`Self::push`], and tells of each step.
    pub async fn push_telling(
        &self,
        content: &[u8],
        progress: &(dyn Fn(push::PushProgress) + Send + Sync),
    ) -> Result<push::Pushed, OperationError> {
        let path = Path::new(SOURCE);
        // Nothing is there to remove before the first push.
        let _ = self.host.env.disk().remove_file(path);
        self.host.env.disk().create_new(path, Mode::Shared).unwrap().write_all_at(content, 0).unwrap();
        let name = Name::conventional(self.node.clone(), "/", "in").unwrap();
        let push = push::Push::new(path.to_owned(), name, None, LONG_ENOUGH);
        push::push(&self.session, &push, progress).await
    }

    /// Writes to the file that is being pushed.
    pub fn write_to_source(&self, bytes: &[u8], offset: u64) {
        self.host.env.disk().open(Path::new(SOURCE)).unwrap().write_all_at(bytes, offset).unwrap();
    }

    /// Pulls a tag to where [`Self::pulled`] finds it.
    pub async fn pull(&self, tag: &str) -> Result<pull::Pulled, OperationError> {
        self.pull_telling(tag, &|_| ()).await
    }

    /// As [`Self::pull`], and tells of each step.
    pub async fn pull_telling(
        &self,
        tag: &str,
        progress: &(dyn Fn(pull::PullProgress) + Send + Sync),
    ) -> Result<pull::Pulled, OperationError> {
        let query = tag.parse().unwrap();
        let pull = pull::Pull::new(query, PathBuf::from("/out"), LONG_ENOUGH);
        pull::pull(&self.session, &pull, progress).await
    }

    /// Temporary files beside what was pulled.
    pub fn drafts(&self) -> Vec<PathBuf> {
        let entries = self.host.env.disk().read_dir(Path::new("/")).unwrap();
        let names = entries.into_iter().map(|entry| Path::new("/").join(entry.name));
        names.filter(|path| path.extension().is_some_and(|end| end == "part")).collect()
    }

    /// Asks the client's agent for the file of some content, as a pull does.
    pub async fn lend(&self, world: &World, agent: Seat, digest: Digest) -> Result<Lent, CallError> {
        let credentials = credentials(self.node.as_str(), Role::Client);
        let endpoint = endpoint(&self.host, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), &credentials);
        let deadline = self.host.env.now() + Duration::from_secs(5);
        let scope = Scope { trace: self.host.env.random_u64(), deadline, class: Class::Normal };
        let pool = Pool::new(self.host.env.clone(), endpoint);
        let answer = pool.call(world.addr(agent), Role::Agent, scope, &Lend { digest }, Vec::new()).await?;
        Ok(answer.message)
    }

    /// Picks up, at a desk of the client's machine, what was lent.
    pub async fn pick_up(&self, lent: &Lent) -> std::io::Result<Arc<dyn DiskFile>> {
        let desk = DeskName::from_bytes(*lent.desk.as_bytes());
        let token = DeskToken::from_bytes(*lent.token.as_bytes());
        self.host.env.pick_up(desk, token, Duration::from_secs(1)).await
    }

    /// What was pulled last.
    pub fn pulled(&self) -> Vec<u8> {
        self.host.env.disk().read(Path::new("/out"), u64::MAX).unwrap()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A node's endpoint, which serves nothing yet.
pub fn endpoint(host: &Host, listen: SocketAddr, credentials: &Credentials) -> Endpoint {
    let security = security(credentials);
    Endpoint::open(&host.env, &*host.network, listen, security, Limits::default(), &host.bandwidth).unwrap()
}

/// The manifest of some bytes.
pub fn manifest(content: &[u8]) -> Manifest {
    let mut cutter = Cutter::new(content.len() as u64);
    cutter.update(content);
    cutter.finish().unwrap()
}

/// The herd's CA, made once: a certificate's bytes are no part of a course of events, its length is.
static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::generate("sim".parse().unwrap(), KeyKind::Ed25519, now()).unwrap());

/// What a node of the herd shows to the others.
pub fn credentials(node: &str, role: Role) -> Credentials {
    let identity = Identity { herd: "sim".parse().unwrap(), node: node.parse().unwrap(), roles: role.into() };
    let issued = AUTHORITY.issue(&identity, now()).unwrap();
    let ca = AUTHORITY.cert_pem();
    Credentials::from_pem(ca, &issued.cert_pem, &issued.key_pem, system_time()).unwrap()
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
