//! A whole herd in one deterministic world, whose every course of events follows from its seed.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use futures_util::future::try_join_all;
use rdcq_client::ask;
use rdcq_netem_tests::world::{bytes, live};
use rdcq_netem_tests::{Trace, World};
use rdcq_wire::message::Sources;
use rdcq_wire::{Digest, ErrorCode};

const SEEDS: u64 = 100;
/// As many as there are clients.
const AGENTS: u32 = 3;

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
        let first = live(seed, story(seed));
        let second = live(seed, story(seed));
        assert_eq!(first, second, "seed {seed} led to two different courses of events");
        traces.push(first.trace.hash);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len() as u64, SEEDS, "different seeds must lead to different courses of events");
}

/// Pushes two versions, pulls them on every agent at once, removes one.
async fn story(seed: u64) -> Outcome {
    let world = World::start(seed, AGENTS).await;
    // One of them is elsewhere and is sent what the others are lent.
    let clients = [world.client(1), world.distant_client(2), world.client(3)];
    let content = bytes(seed, 200_000 + usize::try_from(seed).unwrap() * 1_000);
    let first = clients[0].push(&content).await;
    let pulled = try_join_all(clients.iter().map(|client| client.pull(&first))).await.unwrap();
    for client in &clients {
        assert_eq!(client.pulled(), content, "seed {seed}");
    }
    let corrected = [&content[..100_000], b"a line more", &content[100_000..]].concat();
    let second = clients[1].push(&corrected).await;
    assert_ne!(first, second, "seed {seed}");
    clients[2].pull(&second).await.unwrap();
    assert_eq!(clients[2].pulled(), corrected, "seed {seed}");
    ask::remove(&world.operator(), &first.parse().unwrap()).await.unwrap();
    let gone = clients[1].pull(&first).await.unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound, "seed {seed}: {gone}");
    let sent: Vec<_> = pulled.iter().map(|pulled| pulled.delivered.sent).collect();
    assert_eq!(sent, [0, content.len() as u64, 0], "seed {seed}");
    let sources = pulled.into_iter().map(|pulled| pulled.sources).collect();
    Outcome { trace: world.trace(), sources, digest: Digest::of(&corrected) }
}
