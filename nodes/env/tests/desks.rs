//! What every desk must do, and what strangers at a real one cannot.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rdcq_env::{Desk, DeskName, DeskToken, DiskFile, Env, Mode, SimDesks, SimDisk};

const TOKEN: DeskToken = DeskToken::from_bytes([7; 16]);
const OTHER: DeskToken = DeskToken::from_bytes([8; 16]);
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a check on a real machine and on a simulated one, each with a folder of its own.
fn check(on_machine: impl AsyncFn(&Env, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    real(async || on_machine(&Env::system(), folder.path()).await);
    let simulated =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let env = || Env::simulated_at(1, SimDisk::new(), SimDesks::default());
    simulated.block_on(async { on_machine(&env(), Path::new("/")).await });
}

fn real(work: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work());
}

/// A file with these bytes, opened for reading alone.
fn file(env: &Env, folder: &Path, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let path = folder.join("lent");
    env.disk().create_new(&path, Mode::Private).unwrap().write_all_at(bytes, 0).unwrap();
    env.disk().open_read(&path).unwrap()
}

/// Opens a desk that has `file` for [`TOKEN`], and for no other.
fn open(env: &Env, file: Arc<dyn DiskFile>) -> DeskName {
    let desk = env.open_desk().unwrap();
    let name = desk.name();
    env.spawn(desk.serve(move |token| {
        let found = (token == TOKEN).then(|| Arc::clone(&file));
        async move { found }
    }));
    name
}

async fn refusal(env: &Env, desk: DeskName, token: DeskToken) -> ErrorKind {
    env.pick_up(desk, token, PATIENCE).await.err().expect("nothing is handed out").kind()
}

/// Somebody who comes to a real desk and says nothing yet.
fn come(desk: DeskName) -> UnixStream {
    let hex: String = desk.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let addr = SocketAddr::from_abstract_name(format!("rdcq-desk-{hex}")).unwrap();
    UnixStream::connect_addr(&addr).unwrap()
}

#[test]
fn whoever_says_the_token_gets_the_file_and_whoever_says_another_gets_nothing() {
    check(async |env, folder| {
        let desk = open(env, file(env, folder, b"some bytes"));
        assert_eq!(refusal(env, desk, OTHER).await, ErrorKind::NotFound);
        let lent = env.pick_up(desk, TOKEN, PATIENCE).await.unwrap();
        let mut bytes = [0; 5];
        lent.read_exact_at(&mut bytes, 5).unwrap();
        assert_eq!((&bytes, lent.len().unwrap()), (b"bytes", 10));
    });
}

#[test]
fn a_desk_that_is_gone_is_found_by_nobody() {
    check(async |env, _| {
        let desk: Desk = env.open_desk().unwrap();
        let name = desk.name();
        drop(desk);
        assert_eq!(refusal(env, name, TOKEN).await, ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_desk_at_which_nobody_serves_is_not_waited_for_long() {
    check(async |env, _| {
        let desk = env.open_desk().unwrap();
        let picked_up = env.pick_up(desk.name(), TOKEN, Duration::from_millis(100)).await;
        assert_eq!(picked_up.err().unwrap().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn no_more_are_attended_to_at_a_time_than_16_and_the_newest_stay() {
    struct Attended(Arc<AtomicUsize>);
    impl Drop for Attended {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    check(async |env, _| {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let desk = env.open_desk().unwrap();
        let name = desk.name();
        let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
        env.spawn(desk.serve(move |_| {
            peak.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
            let attended = Attended(Arc::clone(&inside));
            async move {
                let _attended = attended;
                std::future::pending().await
            }
        }));
        let comers: Vec<_> = (0..40)
            .map(|_| {
                let guest = env.clone();
                env.spawn(async move {
                    guest.pick_up(name, TOKEN, Duration::from_secs(2)).await.err().unwrap().kind()
                })
            })
            .collect();
        let mut outcomes = Vec::new();
        for comer in comers {
            outcomes.push(comer.await.unwrap());
        }
        let waited = outcomes.iter().filter(|outcome| **outcome == ErrorKind::TimedOut).count();
        assert_eq!((most.load(SeqCst), waited), (16, 16), "{outcomes:?}");
    });
}

#[test]
fn what_is_lent_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    real(async || {
        let env = Env::system();
        let desk = open(&env, file(&env, folder.path(), b"some bytes"));
        let lent = env.pick_up(desk, TOKEN, PATIENCE).await.unwrap();
        lent.write_all_at(b"other", 0).unwrap_err();
        lent.set_len(0).unwrap_err();
        assert_eq!(env.disk().read(&folder.path().join("lent"), 100).unwrap(), b"some bytes");
    });
}

#[test]
fn what_is_no_regular_file_is_not_taken() {
    real(async || {
        let env = Env::system();
        let folder = env.disk().open_read(Path::new("/")).unwrap();
        let desk = open(&env, folder);
        assert_eq!(refusal(&env, desk, TOKEN).await, ErrorKind::InvalidInput);
    });
}

#[test]
fn strangers_who_say_nothing_keep_nobody_waiting_and_are_sent_away_within_a_second_or_so() {
    let folder = tempfile::tempdir().unwrap();
    real(async || {
        let env = Env::system();
        let desk = open(&env, file(&env, folder.path(), b"some bytes"));
        let mut silent: Vec<_> = (0..60).map(|_| come(desk)).collect();
        silent[59].write_all(&[7; 15]).unwrap();
        let began = Instant::now();
        env.pick_up(desk, TOKEN, PATIENCE).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(1500)).await;
        for stranger in &mut silent {
            stranger.set_nonblocking(true).unwrap();
            // Sent away: the end, and not "nothing yet".
            assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
        }
        env.pick_up(desk, TOKEN, PATIENCE).await.unwrap();
    });
}

#[test]
fn strangers_who_talk_get_nothing_and_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    real(async || {
        let env = Env::system();
        let desk = open(&env, file(&env, folder.path(), b"some bytes"));
        for _ in 0..200 {
            drop(come(desk));
            let mut stranger = come(desk);
            // The desk may have closed already.
            let _ = stranger.write_all(&[9; 100_000]);
            // Leaves without taking what the token is for.
            let mut hasty = come(desk);
            let _ = hasty.write_all(TOKEN.as_bytes());
        }
        let mut stranger = come(desk);
        stranger.write_all(&[9; 16]).unwrap();
        assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
        env.pick_up(desk, TOKEN, PATIENCE).await.unwrap();
    });
}

#[test]
fn a_world_without_desks_has_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let env = Env::simulated(1, SimDisk::new());
        assert_eq!(env.open_desk().err().unwrap().kind(), ErrorKind::Unsupported);
        let nowhere = DeskName::from_bytes([1; 16]);
        assert_eq!(refusal(&env, nowhere, TOKEN).await, ErrorKind::ConnectionRefused);
    });
}
