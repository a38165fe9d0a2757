//! What a herd promises although nodes die, lose their power or lie: told in a simulated world, for some seeds each.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::try_join_all;
use rdcq::Seat;
use rdcq_client::ask;
use rdcq_netem_tests::world::{bytes, live, manifest};
use rdcq_netem_tests::{Client, World};
use rdcq_wire::message::Announce;
use rdcq_wire::{Digest, ErrorCode, Role};
use tracing_subscriber::fmt::MakeWriter;

const SEEDS: std::ops::Range<u64> = 0..5;
const ORIGIN: Seat = Seat::new(Role::Origin, 1);
const BUILD_INDEX: Seat = Seat::new(Role::BuildIndex, 1);

#[test]
fn an_acknowledged_push_survives_a_power_loss_of_the_origin() {
    for seed in SEEDS {
        let (log, _logging) = Log::listen();
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            let content = bytes(seed, 500_000);
            let tag = client.push(&content).await;
            world.lose_power(ORIGIN).await;
            world.restart(ORIGIN).await;
            client.pull(&tag).await.unwrap();
            assert_eq!(client.pulled(), content, "seed {seed}");
        });
        assert_eq!(log.lines_with(&["was cut again"]), 0, "seed {seed}: the blob's sidecar was not durable");
    }
}

#[test]
fn an_acknowledged_push_survives_a_power_loss_of_the_build_index() {
    for seed in SEEDS {
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            let content = bytes(seed, 100_000);
            let tag = client.push(&content).await;
            world.lose_power(BUILD_INDEX).await;
            world.restart(BUILD_INDEX).await;
            let pulled = client.pull(&tag).await.unwrap();
            assert_eq!(
                (pulled.record.tag(), pulled.record.digest),
                (tag, Digest::of(&content)),
                "seed {seed}"
            );
            assert_eq!(client.pulled(), content, "seed {seed}");
        });
    }
}

#[test]
fn an_acknowledged_remove_survives_a_power_loss_of_the_build_index() {
    for seed in SEEDS {
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            let tag = client.push(&bytes(seed, 100_000)).await;
            ask::remove(&world.operator(), &tag.parse().unwrap()).await.unwrap();
            world.lose_power(BUILD_INDEX).await;
            world.restart(BUILD_INDEX).await;
            let gone = client.pull(&tag).await.unwrap_err();
            assert_eq!(gone.code, ErrorCode::NotFound, "seed {seed}: {gone}");
        });
    }
}

/// The origin has sealed the content and forgotten in a restart that a push is under way, while the proxy has yet to write
/// the tag.
#[test]
fn content_that_waits_for_its_tag_survives_a_restart_of_the_origin() {
    let proxy = Seat::new(Role::Proxy, 1);
    for seed in SEEDS {
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            let content = bytes(seed, 500_000);
            let push = client.push(&content);
            tokio::pin!(push);
            while !world.is_whole(ORIGIN, &Digest::of(&content)) {
                tokio::select! {
                    biased;
                    _ = &mut push => panic!("seed {seed}: the push was over too soon"),
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
            }
            world.cut_off(proxy);
            world.kill(ORIGIN).await;
            world.restart(ORIGIN).await;
            // Time for the origin to ask the build-index what has a name.
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.heal(proxy);
            let tag = push.await;
            client.pull(&tag).await.unwrap();
            assert_eq!(client.pulled(), content, "seed {seed}");
        });
    }
}

#[test]
fn a_push_goes_on_where_it_was_after_the_death_of_the_origin_s_process() {
    for seed in SEEDS {
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            let content = bytes(seed, 4_000_000);
            let recorded = {
                let push = client.push(&content);
                tokio::pin!(push);
                let recorded = until_recorded(&mut world, ORIGIN, &content, push.as_mut()).await;
                world.kill(ORIGIN).await;
                world.restart(ORIGIN).await;
                assert_eq!(world.recorded(ORIGIN, &manifest(&content)), recorded, "seed {seed}");
                let tag = push.await;
                client.pull(&tag).await.unwrap();
                recorded
            };
            assert!(recorded > 0, "seed {seed}");
            assert_eq!(client.pulled(), content, "seed {seed}");
        });
    }
}

#[test]
fn an_agent_whose_process_dies_in_a_pull_does_not_fetch_recorded_pieces_again() {
    let agent = Seat::new(Role::Agent, 1);
    for seed in SEEDS {
        live(seed, async {
            let mut world = World::start(seed, 1).await;
            let client = world.client(1);
            let content = bytes(seed, 4_000_000);
            let tag = client.push(&content).await;
            let pull = client.pull(&tag);
            tokio::pin!(pull);
            let recorded = until_recorded(&mut world, agent, &content, pull.as_mut()).await;
            world.kill(agent).await;
            world.restart(agent).await;
            let from = pull.await.unwrap().sources;
            assert_eq!(client.pulled(), content, "seed {seed}");
            assert!(from.held >= recorded, "seed {seed}: {recorded} bytes were on record, {from:?}");
            let all = from.held + from.origins + from.agents - from.duplicate;
            assert_eq!(all, content.len() as u64, "seed {seed}: {from:?}");
        });
    }
}

#[test]
fn a_tracker_that_starts_anew_soon_knows_all_that_an_agent_has() {
    let tracker = Seat::new(Role::Tracker, 1);
    // More than one announcement tells of.
    let files = Announce::MAX as u64 + 4;
    live(1, async {
        let mut world = World::start(1, 2).await;
        let (first, second) = (world.client(1), world.client(2));
        let mut tags = Vec::new();
        for file in 0..files {
            tags.push(first.push(&bytes(file, 100)).await);
            first.pull(&tags[tags.len() - 1]).await.unwrap();
        }
        world.kill(tracker).await;
        world.restart(tracker).await;
        // A third of the time for which it remembers.
        tokio::time::sleep(Duration::from_secs(6)).await;
        world.kill(ORIGIN).await;
        for (tag, file) in tags.iter().zip(0..) {
            let from = second.pull(tag).await.unwrap().sources;
            assert_eq!((from.agents, from.origins), (100, 0), "file {file}");
            assert_eq!(second.pulled(), bytes(file, 100));
        }
    });
}

#[test]
fn an_agent_that_lies_is_banned_by_the_others_and_they_get_the_right_bytes() {
    let liar = Seat::new(Role::Agent, 1);
    for seed in SEEDS {
        let (log, _logging) = Log::listen();
        let addr = live(seed, async {
            let world = World::start(seed, 3).await;
            let clients: Vec<Client> = (1..=3).map(|number| world.client(number)).collect();
            let content = bytes(seed, 2_000_000);
            let tag = clients[0].push(&content).await;
            clients[0].pull(&tag).await.unwrap();
            world.corrupt(liar, &Digest::of(&content));
            try_join_all(clients[1..].iter().map(|client| client.pull(&tag))).await.unwrap();
            for client in &clients[1..] {
                assert_eq!(client.pulled(), content, "seed {seed}");
            }
            world.addr(liar)
        });
        let (who, place) = (format!("node={liar}"), format!("addr={addr}"));
        let why = "are not that piece";
        let banned = log.lines_with(&["rdcq::audit", "banned: it sent wrong bytes", &who, &place, why]);
        assert_eq!(banned, 2, "seed {seed}: both others must ban {liar} at {addr}, and say why");
        assert_eq!(log.lines_with(&["banned"]), 2, "seed {seed}: nobody else is banned");
    }
}

/// Lets `work` go on until the node has some of the content on record, and says how many bytes.
async fn until_recorded<T>(
    world: &mut World,
    seat: Seat,
    content: &[u8],
    mut work: std::pin::Pin<&mut impl Future<Output = T>>,
) -> u64 {
    let manifest = manifest(content);
    loop {
        tokio::select! {
            biased;
            _ = &mut work => panic!("{seat} had everything at once"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        match world.recorded(seat, &manifest) {
            bytes if bytes < content.len() as u64 / 10 => {}
            bytes => return bytes,
        }
    }
}

/// What was logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes down what this thread logs for as long as the guard lives.
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines hold all of these words.
    fn lines_with(&self, words: &[&str]) -> usize {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
