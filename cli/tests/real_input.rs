//! Real files of every size and name, pushed and pulled with the built binary.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/herd.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod herd;
#[path = "support/noise.rs"]
mod noise;
#[path = "support/service.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod service;
#[path = "cli/user.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod user;
#[path = "support/waiting.rs"]
mod waiting;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use rdcq_wire::manifest::PieceSizes;

use crate::agent::Agent;
use crate::herd::{Delivered, Herd, blobs, digest_of};
use crate::noise::{digest_of_file, noise, write_large};
use crate::waiting::until;

/// Rounds of a race; each is another chance for the wrong order.
const RACES: u32 = 20;

/// Pushes bytes and pulls them back, and returns how many pieces they are.
#[track_caller]
fn there_and_back(herd: &Herd, name: &str, bytes: &[u8]) -> u64 {
    herd.write(name, bytes);
    let pushed = herd.push(name);
    assert_eq!((pushed.size, pushed.new), (bytes.len() as u64, true), "{pushed:?}");
    assert_eq!((pushed.digest, pushed.sent_bytes), (digest_of(bytes), bytes.len() as u64));
    let pulled = herd.pull(&pushed.tag, "back");
    assert_eq!(pulled.bytes_from.network(), bytes.len() as u64, "{pulled:?}");
    assert_eq!(pulled.delivered, Delivered { lent: bytes.len() as u64, sent: 0 });
    assert!(herd.read("back") == bytes, "{} bytes came back changed", bytes.len());
    herd.inspect(&pushed.tag).pieces
}

/// The sizes of pieces of small files.
fn small() -> PieceSizes {
    PieceSizes::of_blob(0)
}

#[test]
fn a_file_of_no_bytes_arrives() {
    assert_eq!(there_and_back(&Herd::with_agents(1), "empty", b""), 0);
}

#[test]
fn a_file_of_one_byte_arrives() {
    assert_eq!(there_and_back(&Herd::with_agents(1), "one", b"x"), 1);
}

#[test]
fn a_file_as_long_as_the_shortest_piece_and_one_of_a_byte_more_arrive() {
    let (herd, min) = (Herd::with_agents(1), small().min as usize);
    assert_eq!(there_and_back(&herd, "shortest", &noise(1, min)), 1);
    there_and_back(&herd, "shortest and one", &noise(2, min + 1));
}

#[test]
fn a_file_of_one_longest_piece_and_one_of_a_byte_more_arrive() {
    let (herd, max) = (Herd::with_agents(1), small().max as usize);
    assert_eq!(there_and_back(&herd, "longest", &vec![0; max]), 1);
    assert_eq!(there_and_back(&herd, "longest and one", &vec![0; max + 1]), 2);
}

#[test]
fn a_file_of_1_gib_arrives() {
    let herd = Herd::with_agents(1);
    let source = herd.path("large");
    let digest = write_large(&source, 1024);
    let pushed = herd.push("large");
    assert_eq!((pushed.size, &pushed.digest), (1 << 30, &digest));
    // Origin, agent and delivered file are three copies; the disk need not bear a fourth.
    std::fs::remove_file(source).unwrap();
    let pulled = herd.pull(&pushed.tag, "large");
    assert_eq!((pulled.size, pulled.bytes_from.network()), (1 << 30, 1 << 30), "{pulled:?}");
    assert_eq!(digest_of_file(&herd.path("large")), digest);
}

#[test]
fn names_with_spaces_and_chinese_characters_arrive_under_their_own_names() {
    let herd = Herd::with_agents(1);
    std::fs::create_dir(herd.path("to here")).unwrap();
    for name in ["a name with spaces.txt", "xxx交易数据.txt", " 交易 数据 .txt"] {
        herd.write(name, name.as_bytes());
        let pushed = herd.push(name);
        assert!(pushed.key().ends_with(name), "{pushed:?}");
        assert_eq!(herd.inspect(&pushed.tag).file, name);
        let pulled = herd.pull(&pushed.tag, "to here");
        assert!(pulled.target.ends_with(Path::new("to here").join(name)), "{pulled:?}");
        assert_eq!(std::fs::read(herd.path("").join(&pulled.target)).unwrap(), name.as_bytes());
    }
}

#[test]
fn a_large_shared_library_of_the_toolchain_arrives() {
    let herd = Herd::with_agents(1);
    let library = large_library();
    let pushed = herd.push(library.to_str().unwrap());
    assert_eq!(pushed.size, std::fs::metadata(&library).unwrap().len());
    herd.pull(&pushed.tag, "library.so");
    assert_eq!(digest_of_file(&herd.path("library.so")), digest_of_file(&library));
}

/// The largest shared library of the toolchain that built this test.
fn large_library() -> PathBuf {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().unwrap();
    let sysroot = String::from_utf8(output.stdout).unwrap();
    let entries = std::fs::read_dir(Path::new(sysroot.trim()).join("lib")).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let libraries = files.filter(|file| file.extension().is_some_and(|extension| extension == "so"));
    libraries.max_by_key(|file| std::fs::metadata(file).unwrap().len()).unwrap()
}

#[test]
fn the_same_content_under_two_tags_is_sent_and_stored_once() {
    let herd = Herd::with_agents(1);
    let bytes = noise(3, 500_000);
    herd.write("one", &bytes);
    herd.write("two", &bytes);
    let (one, two) = (herd.push("one"), herd.push("two"));
    assert_eq!((one.sent_bytes, two.sent_bytes), (500_000, 0));
    assert!(two.new && one.tag != two.tag, "{two:?}");
    assert_eq!(herd.origin_blobs(), [digest_of(&bytes)]);
    for (pushed, name) in [(&one, "one"), (&two, "two")] {
        assert_eq!(herd.inspect(pushed.key()).version, pushed.version);
        herd.pull(pushed.key(), "back");
        assert!(herd.read("back") == bytes, "{name}");
    }
}

#[test]
fn removing_one_of_two_tags_leaves_the_other_whole() {
    let mut herd = Herd::with_agents(1);
    let (bytes, other) = (noise(4, 500_000), noise(5, 10_000));
    herd.write("one", &bytes);
    herd.write("two", &bytes);
    herd.write("other", &other);
    let (one, two, third) = (herd.push("one"), herd.push("two"), herd.push("other"));
    herd.remove(&one.tag);
    // Content that loses its only name goes; once it is gone, so is whatever the removal before it took.
    herd.remove(&third.tag);
    until("content without a name is gone", || !herd.origin_blobs().contains(&third.digest));
    assert_eq!(herd.origin_blobs(), [digest_of(&bytes)]);
    // The next start looks at everything anew.
    herd.kill_and_restart();
    herd.run(&["inspect", one.key()]).failed(3, &[one.key()]);
    herd.pull(two.key(), "back");
    assert!(herd.read("back") == bytes);
}

#[test]
fn a_removal_that_races_a_push_of_the_same_content_leaves_the_pushed_tag_whole() {
    let herd = Herd::with_agents(1);
    let mut kept = Vec::new();
    for round in 0..RACES {
        let bytes = noise(100 + u64::from(round), 1000);
        herd.write("one", &bytes);
        herd.write("two", &bytes);
        let begin = Instant::now();
        let one = herd.push("one");
        // Each round the removal meets the push at a later one of its steps.
        let later = begin.elapsed() * round / RACES;
        let two = thread::scope(|scope| {
            let removal = scope.spawn(|| {
                thread::sleep(later);
                herd.remove(&one.tag);
            });
            let two = herd.push("two");
            removal.join().unwrap();
            two
        });
        herd.run(&["inspect", &one.tag]).failed(3, &[]);
        kept.push((two.tag, bytes));
    }
    // Nobody but the origin has any of it.
    for (tag, bytes) in kept {
        herd.pull(&tag, "back");
        assert!(herd.read("back") == bytes, "{tag}");
    }
}

#[test]
fn a_version_removed_and_pushed_again_is_pulled_corrected() {
    let herd = Herd::with_agents(1);
    herd.write("table", b"wrong");
    let key = herd.push("table").key().to_owned();
    let tag = format!("{key}:2026-11-22");
    herd.push_as("table", &tag);
    herd.pull(&tag, "before");
    herd.remove(&tag);
    herd.run(&["pull", &tag, "--dst-path", "between"]).failed(3, &[&tag]);
    herd.write("table", b"corrected");
    let corrected = herd.push_as("table", &tag);
    assert!(corrected.new && corrected.tag == tag, "{corrected:?}");
    herd.pull(&tag, "after");
    assert_eq!((herd.read("before"), herd.read("after")), (b"wrong".into(), b"corrected".into()));
    assert!(!herd.path("between").exists());
}

#[test]
fn the_latest_version_follows_every_push_removal_and_correction() {
    let herd = Herd::with_agents(1);
    let push = |text: &str| {
        herd.write("table", text.as_bytes());
        herd.push("table")
    };
    let first = push("one");
    let key = first.key();
    let latest = |version: &str, text: &str| {
        assert_eq!(herd.inspect(key).version, version);
        for query in [key.to_owned(), format!("{key}:latest")] {
            assert_eq!(herd.pull(&query, "back").version, version);
            assert_eq!(String::from_utf8(herd.read("back")).unwrap(), text);
        }
    };
    latest("1", "one");
    let second = push("two");
    latest("2", "two");
    herd.remove(&second.tag);
    latest("1", "one");
    assert_eq!(herd.push_as("table", &second.tag).tag, second.tag);
    latest("2", "two");
    herd.remove(&first.tag);
    latest("2", "two");
    // A correction is the newest word about its key, whatever its version is called.
    herd.write("table", b"one, corrected");
    herd.push_as("table", &first.tag);
    latest("1", "one, corrected");
    herd.remove(key);
    latest("2", "two");
    herd.remove(key);
    herd.run(&["inspect", key]).failed(3, &[key]);
}

#[test]
fn two_agents_that_pull_at_once_make_one_download_each() {
    const SIZE: u64 = 16 << 20;
    let herd = Herd::with_agents(2);
    let digest = write_large(&herd.path("large"), 16);
    let tag = herd.push("large").tag;
    let [one, two] = thread::scope(|scope| {
        let (herd, tag) = (&herd, &tag);
        let pull = |agent, target| scope.spawn(move || herd.pull_through(agent, tag, target));
        [pull("1", "one"), pull("2", "two")].map(|pull| pull.join().unwrap())
    });
    for (pulled, target) in [(one, "one"), (two, "two")] {
        assert_eq!(pulled.bytes_from.network(), SIZE, "{pulled:?}");
        assert_eq!(pulled.bytes_from.held, 0, "{pulled:?}");
        assert_eq!(digest_of_file(&herd.path(target)), digest);
    }
}

#[test]
fn an_agent_asked_twice_at_once_downloads_once() {
    const SIZE: u64 = 64 << 20;
    let herd = Herd::with_agents(1);
    let digest = write_large(&herd.path("large"), 64);
    let tag = herd.push("large").tag;
    let store = herd.path("joined-data");
    let agent = Agent::start(&herd, &store);
    let before = herd.service().file_bytes_read();
    let [one, two] = thread::scope(|scope| {
        let (herd, tag, addr) = (&herd, &tag, agent.addr.as_str());
        let pull = |target| scope.spawn(move || herd.pull_through(addr, tag, target));
        [pull("one"), pull("two")].map(|pull| pull.join().unwrap())
    });
    // What the origin reads it sends: a second download would read everything again.
    let read = herd.service().file_bytes_read() - before;
    assert!((SIZE..SIZE + SIZE / 2).contains(&read), "the origin read {read} bytes");
    for (pulled, target) in [(one, "one"), (two, "two")] {
        assert_eq!(pulled.bytes_from.network() + pulled.bytes_from.held, SIZE, "{pulled:?}");
        assert_eq!(digest_of_file(&herd.path(target)), digest);
    }
    assert_eq!(blobs(&store.join("agent/content")), [digest]);
}
