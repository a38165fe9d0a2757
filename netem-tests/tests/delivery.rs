//! On which way content comes from an agent to a client's file, and that it is right on each, in a simulated world.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use rdcq::Seat;
use rdcq_client::pull::{self, Delivered, PullProgress, Pulled};
use rdcq_client::push::PushProgress;
use rdcq_client::{OperationError, Session, ask};
use rdcq_config::HerdAddresses;
use rdcq_env::{DeskName, Env, Fault, Mode, SimDesks, SimDisk};
use rdcq_netem_tests::world::{self, PORT, bytes, live, manifest};
use rdcq_netem_tests::{Client, Conditions, SimNet, World};
use rdcq_transport::{CallError, Endpoint, IncomingCall, Refusal, Service};
use rdcq_wire::message::{
    Encoding, Failure, GetPieces, Lent, ManifestBody, Pieces, Pulled as PulledReply, Release, Released,
    Sources,
};
use rdcq_wire::{Attributes, Digest, ErrorCode, Kind, Manifest, Name, Nonce, Record, Role, State};
use tokio::time::sleep;

const SEEDS: std::ops::Range<u64> = 0..5;
const AGENT: Seat = Seat::new(Role::Agent, 1);
/// Several parts of a delivery.
const SIZE: usize = 10_000_000;
/// How long a token is good, as PROTOCOL.md says.
const TOKEN_LIFE: Duration = Duration::from_secs(5);
/// Longer than an agent keeps a pull's content after the last word about it, and than it takes to find what has no name.
const LEASES_ARE_OVER: Duration = Duration::from_secs(200);

/// All bytes lent.
fn lent(content: &[u8]) -> Delivered {
    Delivered { lent: content.len() as u64, sent: 0 }
}

/// All bytes sent.
fn sent(content: &[u8]) -> Delivered {
    Delivered { lent: 0, sent: content.len() as u64 }
}

fn code(error: &CallError) -> ErrorCode {
    match error {
        CallError::Failed(Failure { code, .. }) => *code,
        other => panic!("{other}"),
    }
}

#[test]
fn a_client_on_the_agent_s_machine_is_lent_the_file_and_one_elsewhere_is_sent_the_bytes() {
    for seed in SEEDS {
        live(seed, async {
            let world = World::start(seed, 1).await;
            let (near, far) = (world.client(1), world.distant_client(1));
            let content = bytes(seed, SIZE);
            let tag = near.push(&content).await;
            assert_eq!(near.pull(&tag).await.unwrap().delivered, lent(&content), "seed {seed}");
            assert_eq!(far.pull(&tag).await.unwrap().delivered, sent(&content), "seed {seed}");
            assert!(near.pulled() == content && far.pulled() == content, "seed {seed}");
        });
    }
}

#[test]
fn an_agent_without_a_desk_says_so_and_sends_the_bytes() {
    live(1, async {
        let world = World::start_without_desks(1, 1).await;
        let client = world.client(1);
        let content = bytes(1, SIZE);
        let tag = client.push(&content).await;
        assert_eq!(client.pull(&tag).await.unwrap().delivered, sent(&content));
        assert!(client.pulled() == content);
        let refused = client.lend(&world, AGENT, Digest::of(&content)).await.unwrap_err();
        assert_eq!(code(&refused), ErrorCode::Unsupported);
    });
}

#[test]
fn nothing_is_lent_of_content_that_the_agent_has_nothing_of() {
    live(2, async {
        let world = World::start(2, 1).await;
        let client = world.client(1);
        let content = bytes(2, 100_000);
        let tag = client.push(&content).await;
        // The origin has it; the agent has not.
        let refused = client.lend(&world, AGENT, Digest::of(&content)).await.unwrap_err();
        assert_eq!(code(&refused), ErrorCode::NotFound);
        client.pull(&tag).await.unwrap();
        client.lend(&world, AGENT, Digest::of(&content)).await.unwrap();
    });
}

#[test]
fn a_token_that_was_used_or_is_old_or_was_never_given_gets_nothing() {
    live(3, async {
        let world = World::start(3, 1).await;
        let client = world.client(1);
        let content = bytes(3, 100_000);
        let tag = client.push(&content).await;
        client.pull(&tag).await.unwrap();
        let lend = async || client.lend(&world, AGENT, Digest::of(&content)).await.unwrap();
        let refused = async |lent: &Lent| client.pick_up(lent).await.err().expect("a refusal").kind();

        let good = lend().await;
        let mut guess = *good.token.as_bytes();
        guess[0] ^= 1;
        let guess = Lent { token: Nonce::from_bytes(guess), ..good.clone() };
        assert_eq!(refused(&guess).await, ErrorKind::NotFound);
        let file = client.pick_up(&good).await.unwrap();
        let mut read = vec![0; content.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == content);
        assert_eq!(refused(&good).await, ErrorKind::NotFound);

        let old = lend().await;
        sleep(TOKEN_LIFE).await;
        assert_eq!(refused(&old).await, ErrorKind::NotFound);
        // The desk is the agent's machine's alone.
        let far = world.distant_client(1);
        assert_eq!(far.pick_up(&lend().await).await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn what_was_lent_stays_for_as_long_as_what_is_sent() {
    live(4, async {
        let world = World::start(4, 2).await;
        let clients = [world.client(1), world.client(2)];
        let content = bytes(4, 100_000);
        let digest = Digest::of(&content);
        let tag = clients[0].push(&content).await;
        for client in &clients {
            client.pull(&tag).await.unwrap();
        }
        clients[0].lend(&world, AGENT, digest).await.unwrap();
        ask::remove(&world.operator(), &tag.parse().unwrap()).await.unwrap();
        let whole = || [1, 2].map(|number| world.is_whole(Seat::new(Role::Agent, number), &digest));
        sleep(Duration::from_secs(30)).await;
        assert_eq!(whole(), [true, false]);
        sleep(LEASES_ARE_OVER).await;
        assert_eq!(whole(), [false, false]);
    });
}

#[test]
fn content_that_was_damaged_at_the_agent_is_not_delivered_and_the_old_file_stays() {
    for seed in SEEDS {
        live(seed, async {
            let world = World::start(seed, 1).await;
            let client = world.client(1);
            let yesterday = bytes(seed, 100_000);
            client.pull(&client.push(&yesterday).await).await.unwrap();
            let content = bytes(!seed, SIZE);
            let tag = client.push(&content).await;
            pull::fetch_only(client.session(), &tag.parse().unwrap()).await.unwrap();
            world.flip(AGENT, &Digest::of(&content), SIZE as u64 / 2 + seed);
            let error = client.pull(&tag).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::Integrity, "seed {seed}: {error}");
            assert!(client.pulled() == yesterday, "seed {seed}");
        });
    }
}

#[test]
fn what_cannot_be_read_of_a_lent_file_is_sent() {
    live(5, async {
        let world = World::start(5, 1).await;
        let client = world.client(1);
        let content = bytes(5, SIZE);
        let tag = client.push(&content).await;
        pull::fetch_only(client.session(), &tag.parse().unwrap()).await.unwrap();
        world.disk(AGENT).set_fault(Some(Fault::FailRead { nth: 7 }));
        let Delivered { lent, sent } = client.pull(&tag).await.unwrap().delivered;
        assert!(lent > 0 && sent > 0 && lent + sent == SIZE as u64, "{lent} lent, {sent} sent");
        assert!(client.pulled() == content);
    });
}

/// An agent takes more than a second to fetch [`SIZE`] so.
const SLOW: &str = "64Mbit/s";
/// What is delivered at once.
const PART: u64 = 4 * 1024 * 1024;

/// Pulls, and says from which byte count on it was delivered after the fetch.
async fn pull_counting(client: &Client, tag: &str) -> (Result<Pulled, OperationError>, u64) {
    let first = Mutex::new(None);
    let note = |step| {
        if let PullProgress::Delivering { done, .. } = step {
            first.lock().unwrap().get_or_insert(done);
        }
    };
    let pulled = client.pull_telling(tag, &note).await;
    (pulled, first.into_inner().unwrap().unwrap_or_default())
}

/// Waits until the agent has so many bytes of the content.
async fn fetched(world: &World, manifest: &Manifest, bytes: usize) {
    while world.recorded(AGENT, manifest) < bytes as u64 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn most_is_written_before_the_last_piece_comes_where_the_file_is_lent_and_nothing_elsewhere() {
    for seed in SEEDS {
        live(seed, async {
            let world = World::start(seed, 1).await;
            let (near, far) = (world.client(1), world.distant_client(1));
            world.slow_down(AGENT, SLOW);
            let content = bytes(seed, SIZE);
            let (pulled, early) = pull_counting(&near, &near.push(&content).await).await;
            assert_eq!(pulled.unwrap().delivered, lent(&content), "seed {seed}");
            assert!(early > SIZE as u64 / 2, "seed {seed}: {early} bytes were written early");
            assert!(near.pulled() == content, "seed {seed}");
            let content = bytes(!seed, SIZE);
            let (pulled, early) = pull_counting(&far, &far.push(&content).await).await;
            assert_eq!(pulled.unwrap().delivered, sent(&content), "seed {seed}");
            assert!(early <= PART, "seed {seed}: {early} bytes were written early");
            assert!(far.pulled() == content, "seed {seed}");
            assert!(near.drafts().is_empty() && far.drafts().is_empty(), "seed {seed}");
        });
    }
}

#[test]
fn interrupted_while_the_agent_fetches_a_pull_leaves_no_draft_and_the_old_file() {
    live(9, async {
        let world = World::start(9, 1).await;
        let client = world.client(1);
        let yesterday = bytes(9, 100_000);
        client.pull(&client.push(&yesterday).await).await.unwrap();
        world.slow_down(AGENT, SLOW);
        let content = bytes(10, SIZE);
        let tag = client.push(&content).await;
        let interruption = async {
            fetched_by_half(&world, &content).await;
            assert_eq!(client.drafts().len(), 1);
            assert!(client.pulled() == yesterday);
        };
        tokio::select! {
            pulled = client.pull(&tag) => panic!("it ended before: {pulled:?}"),
            () = interruption => {}
        }
        sleep(Duration::from_millis(1)).await;
        assert!(client.drafts().is_empty() && client.pulled() == yesterday);
        client.pull(&tag).await.unwrap();
        assert!(client.drafts().is_empty() && client.pulled() == content);
    });
}

async fn fetched_by_half(world: &World, content: &[u8]) {
    fetched(world, &manifest(content), SIZE / 2).await;
}

#[test]
fn a_byte_that_is_damaged_at_the_agent_while_it_fetches_is_not_delivered() {
    for seed in SEEDS {
        for heals in [false, true] {
            live(seed, async {
                let world = World::start(seed, 1).await;
                let client = world.client(1);
                let yesterday = bytes(seed, 100_000);
                client.pull(&client.push(&yesterday).await).await.unwrap();
                world.slow_down(AGENT, SLOW);
                let content = bytes(!seed, SIZE);
                let (manifest, tag) = (manifest(&content), client.push(&content).await);
                let damage = async {
                    fetched(&world, &manifest, 1).await;
                    let piece = world.recorded_pieces(AGENT, &manifest)[0];
                    let place = manifest.pieces.bytes_of(piece).unwrap();
                    world.flip(AGENT, &manifest.content, place.start);
                    if heals {
                        fetched(&world, &manifest, SIZE / 2).await;
                        world.flip(AGENT, &manifest.content, place.start);
                    }
                };
                let ((pulled, early), ()) = join(pull_counting(&client, &tag), damage).await;
                if heals {
                    assert!(pulled.unwrap().delivered.sent > SIZE as u64 / 2, "seed {seed}");
                    assert!(early <= PART, "seed {seed}: {early} bytes were written early");
                    assert!(client.pulled() == content, "seed {seed}");
                } else {
                    assert_eq!(pulled.unwrap_err().code, ErrorCode::Integrity, "seed {seed}");
                    assert!(client.pulled() == yesterday, "seed {seed}");
                }
                assert!(client.drafts().is_empty(), "seed {seed}");
            });
        }
    }
}

#[test]
fn an_agent_that_is_started_again_in_a_pull_goes_on_and_so_does_the_draft_unless_the_tag_leads_elsewhere() {
    for (seed, moved) in [(11, false), (12, true), (13, false), (14, true)] {
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            world.slow_down(AGENT, SLOW);
            let contents = [seed, !seed].map(|seed| bytes(seed, SIZE));
            let tag = client.push(&contents[0]).await;
            let latest = tag.rsplit_once(':').unwrap().0;
            let restart = async {
                fetched_by_half(&world, &contents[0]).await;
                world.kill(AGENT).await;
                if moved {
                    client.push(&contents[1]).await;
                }
                world.restart(AGENT).await;
            };
            let (pulled, ()) = join(client.pull(latest), restart).await;
            let content = &contents[usize::from(moved)];
            assert_eq!(pulled.unwrap().delivered, lent(content), "seed {seed}");
            assert!(client.pulled() == *content && client.drafts().is_empty(), "seed {seed}");
        });
    }
}

/// An agent whose desk hands out what it should not, and which sends the right bytes.
struct Liar {
    content: Bytes,
    manifest: Manifest,
    desk: DeskName,
}

impl Liar {
    fn record(&self) -> Record {
        let Manifest { content: digest, pieces, .. } = &self.manifest;
        Record {
            name: Name::conventional("host-1".parse().unwrap(), "/", "in").unwrap(),
            version: "1".parse().unwrap(),
            seq: 1,
            digest: *digest,
            manifest: Digest::of(&self.manifest.encode()),
            size: pieces.size(),
            pieces: pieces.len(),
            by: "host-1".parse().unwrap(),
            at_unix_ms: Env::SIMULATED_EPOCH_MS,
            push: 1,
            attributes: Attributes::default(),
            state: State::Live,
        }
    }
}

impl Service for Liar {
    async fn call(self: Arc<Self>, mut call: IncomingCall) -> Result<(), Refusal> {
        match call.kind() {
            Kind::Pull => {
                let reply = PulledReply { record: self.record(), sources: Sources::default(), elapsed_ms: 1 };
                call.reply(&reply, Vec::new()).await
            }
            Kind::GetManifest => call.reply(&ManifestBody {}, vec![self.manifest.encode().into()]).await,
            Kind::Lend => {
                let (desk, token) =
                    (Nonce::from_bytes(*self.desk.as_bytes()), Nonce::from_bytes([9; Nonce::LEN]));
                call.reply(&Lent { desk, token }, Vec::new()).await
            }
            Kind::GetPieces => {
                let GetPieces { span, .. } = call.request()?;
                let place = self.manifest.pieces.bytes_of_span(span).unwrap();
                let bytes = self.content.slice(place.start as usize..place.end as usize);
                call.reply(&Pieces { span, encoding: Encoding::Raw }, vec![bytes]).await
            }
            _ => {
                let Release { .. } = call.request()?;
                call.reply(&Released {}, Vec::new()).await
            }
        }
    }
}

/// Pulls `content` from an agent that lends a file with the bytes `lie`; gives what is then in the target.
async fn pull_from_liar(
    seed: u64,
    content: Vec<u8>,
    lie: Vec<u8>,
) -> (Result<Pulled, OperationError>, Vec<u8>) {
    let net = SimNet::new(seed, Conditions::LAN);
    let desks = SimDesks::default();
    let agent = world::host(seed, &net, 1, SimDisk::new(), Some(desks.clone()));
    let user = world::host(seed, &net, 2, SimDisk::new(), Some(desks));
    let path = Path::new("/lie");
    agent.env.disk().create_new(path, Mode::Private).unwrap().write_all_at(&lie, 0).unwrap();
    let file = agent.env.disk().open_read(path).unwrap();
    let desk = agent.env.open_desk().unwrap();
    let liar = Liar { manifest: manifest(&content), content: content.into(), desk: desk.name() };
    agent.env.spawn(desk.serve(move |_| {
        let file = Arc::clone(&file);
        async move { Some(file) }
    }));
    let listen = SocketAddr::new(world::ip(1), PORT);
    let endpoint: Endpoint = world::endpoint(&agent, listen, &world::credentials("agent-1", Role::Agent));
    let tag = liar.record().tag().parse().unwrap();
    endpoint.serve(Role::Agent, Arc::new(liar));
    let herd = HerdAddresses::default();
    let session =
        Session::open(&user, &world::credentials("host-1", Role::Client), herd, Some(listen)).unwrap();
    let patience = Duration::from_secs(10);
    let order = pull::Pull::new(tag, PathBuf::from("/out"), patience);
    let pulled = pull::pull(&session, &order, &|_| ()).await;
    (pulled, user.env.disk().read(Path::new("/out"), u64::MAX).unwrap())
}

#[test]
fn a_file_that_is_written_to_while_it_is_pushed_is_refused_and_no_tag_names_it() {
    live(9, async {
        let world = World::start(9, 1).await;
        let client = world.client(1);
        let content = bytes(9, SIZE);
        // While it is read, where it was read already and where it was not; and while it is sent.
        let reading =
            |step| matches!(step, PushProgress::Cutting { done, .. } if (1..SIZE as u64).contains(&done));
        let sending = |step| matches!(step, PushProgress::Sending { .. });
        let cases: [(&(dyn Fn(PushProgress) -> bool + Sync), u64); 4] = [
            (&reading, 0),
            (&reading, SIZE as u64 - 1),
            (&reading, SIZE as u64),
            (&sending, SIZE as u64 - 1),
        ];
        for (number, (meddles, offset)) in cases.into_iter().enumerate() {
            let mut other = content.clone();
            other[0] = u8::try_from(number).unwrap();
            let pushed = client
                .push_telling(&other, &|step| {
                    if meddles(step) {
                        client.write_to_source(&[!content[SIZE - 1]], offset);
                    }
                })
                .await;
            let error = pushed.map(|pushed| pushed.record).unwrap_err();
            assert_eq!(error.code, ErrorCode::Integrity, "case {number}: {error}");
            assert!(error.to_string().contains("changed while it was read"), "case {number}: {error}");
        }
        let none = client.pull("host-1-/-in:latest").await.unwrap_err();
        assert_eq!(none.code, ErrorCode::NotFound, "{none}");

        // Also where nothing has to be sent, and nobody else could notice.
        client.push(&content).await;
        let pushed = client
            .push_telling(&content, &|step| {
                if reading(step) {
                    client.write_to_source(&[!content[0]], 0);
                }
            })
            .await;
        assert_eq!(pushed.map(|pushed| pushed.record).unwrap_err().code, ErrorCode::Integrity);
    });
}

#[test]
fn an_agent_that_lends_wrong_bytes_is_asked_for_the_right_ones() {
    let content = bytes(6, SIZE);
    let mut flipped = content.clone();
    flipped[SIZE - 1] ^= 1;
    let short = content[..SIZE - 1].to_vec();
    let lies = [flipped, short, Vec::new(), bytes(7, SIZE)];
    for (seed, lie) in (0..).zip(lies) {
        let (pulled, target) = live(seed, pull_from_liar(seed, content.clone(), lie));
        let Delivered { lent, sent } = pulled.unwrap().delivered;
        assert!(sent > 0 && lent + sent == SIZE as u64, "lie {seed}: {lent} lent, {sent} sent");
        assert!(target == content, "lie {seed}");
    }
}

#[test]
fn more_bytes_than_the_content_has_are_left_out() {
    let content = bytes(8, SIZE);
    let longer = [&content[..], b"and more"].concat();
    let (pulled, target) = live(8, pull_from_liar(8, content.clone(), longer));
    assert_eq!(pulled.unwrap().delivered, lent(&content));
    assert!(target == content);
}
