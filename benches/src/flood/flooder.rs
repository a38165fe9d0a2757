//! Strangers: handshakes with a certificate of another CA, and garbage.
//!
//! Orders: `aim ADDRESS` begins a flood, `stop` ends it and says what it came to.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use quinn::crypto::rustls::QuicClientConfig;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::herd::credentials;
use crate::processes;

/// How often what is due is sent.
const TICK: Duration = Duration::from_millis(2);
/// Most handshakes under way; more that are due are skipped, and counted.
const IN_FLIGHT: usize = 2048;
/// How long a stranger waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Sockets that strangers knock from.
const SOCKETS: usize = 4;
/// A flood ends by itself after this time.
const LONGEST: Duration = Duration::from_secs(120);
/// Different datagrams of garbage. Each is sent with new bytes where a connection's ID would stand.
const GARBAGE: usize = 512;
/// Bytes in the garbage that has to pass for the begin of a connection.
const INITIAL: usize = 1200;
/// Where connection IDs stand: after the first byte, and after the version and a length.
const SHORT_ID: std::ops::Range<usize> = 1..9;
const LONG_ID: std::ops::Range<usize> = 6..14;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Folder with the herd's certificates, by which its nodes are recognised.
    certs: PathBuf,
    /// Folder with the strangers' certificates.
    outsider: PathBuf,
    /// Handshakes begun a second.
    handshakes: u32,
    /// Datagrams of garbage a second.
    garbage: u32,
}

/// What a flood came to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) seconds: f64,
    pub(crate) handshakes_per_s: f64,
    /// Handshakes that the other side ended, by refusing the stranger early or late.
    pub(crate) answered_per_s: f64,
    pub(crate) skipped_per_s: f64,
    pub(crate) garbage_per_s: f64,
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    answered: AtomicU64,
    skipped: AtomicU64,
}

/// A flood that goes on.
struct Flood {
    since: Instant,
    counts: Arc<Counts>,
    knocking: tokio::task::JoinHandle<()>,
    throwing: JoinHandle<std::io::Result<u64>>,
    stop: Arc<AtomicBool>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut orders = processes::orders();
    let config = stranger(&arguments)?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoints: Vec<_> =
        (0..SOCKETS).map(|_| quinn::Endpoint::client(any)).collect::<Result<_, std::io::Error>>()?;
    let mut flood = None;
    processes::say("ready")?;
    while let Some(order) = orders.recv().await {
        match (order.split_once(' '), flood.take()) {
            (Some(("aim", aim)), None) => {
                flood = Some(Flood::begin(&arguments, &config, &endpoints, aim.parse()?)?);
                processes::answer(&())?;
            }
            (None, Some(running)) if order == "stop" => processes::answer(&running.end()?)?,
            _ => anyhow::bail!("a flooder is told {order:?}"),
        }
    }
    Ok(())
}

/// Trusts the herd's nodes, so that its handshakes go on to where they are refused, and shows another CA's certificate.
fn stranger(arguments: &Arguments) -> anyhow::Result<quinn::ClientConfig> {
    let mut tls = (*credentials(&arguments.certs)?.client_config()).clone();
    let outsider = credentials(&arguments.outsider)?.client_config();
    tls.client_auth_cert_resolver = Arc::clone(&outsider.client_auth_cert_resolver);
    let crypto = QuicClientConfig::try_from(tls).context("the TLS configuration serves QUIC")?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

impl Flood {
    fn begin(
        arguments: &Arguments,
        config: &quinn::ClientConfig,
        endpoints: &[quinn::Endpoint],
        aim: SocketAddr,
    ) -> anyhow::Result<Self> {
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let knocking =
            knock(arguments.handshakes, config.clone(), endpoints.to_vec(), aim, Arc::clone(&counts));
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(aim)?;
        let (rate, stopped) = (arguments.garbage, Arc::clone(&stop));
        Ok(Self {
            since: Instant::now(),
            counts,
            knocking: tokio::spawn(knocking),
            throwing: std::thread::spawn(move || throw(rate, &socket, &stopped)),
            stop,
        })
    }

    fn end(self) -> anyhow::Result<Reached> {
        self.knocking.abort();
        self.stop.store(true, Relaxed);
        let seconds = self.since.elapsed().as_secs_f64();
        let thrown = self.throwing.join().map_err(|_| anyhow::anyhow!("the thread of garbage panicked"))?;
        let per_second = |count: &AtomicU64| count.load(Relaxed) as f64 / seconds;
        Ok(Reached {
            seconds,
            handshakes_per_s: per_second(&self.counts.begun),
            answered_per_s: per_second(&self.counts.answered),
            skipped_per_s: per_second(&self.counts.skipped),
            garbage_per_s: thrown.context("sending garbage")? as f64 / seconds,
        })
    }
}

/// Begins handshakes as they fall due.
async fn knock(
    rate: u32,
    config: quinn::ClientConfig,
    endpoints: Vec<quinn::Endpoint>,
    aim: SocketAddr,
    counts: Arc<Counts>,
) {
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (started, mut due_before) = (Instant::now(), 0);
    while started.elapsed() < LONGEST {
        ticks.tick().await;
        let due = due(rate, started);
        for number in due_before..due {
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                counts.skipped.fetch_add(1, Relaxed);
                continue;
            };
            let endpoint = &endpoints[number as usize % endpoints.len()];
            let Ok(connecting) = endpoint.connect_with(config.clone(), aim, "flood") else { return };
            counts.begun.fetch_add(1, Relaxed);
            let counts = Arc::clone(&counts);
            tokio::spawn(async move {
                if tokio::time::timeout(PATIENCE, knock_once(connecting)).await.is_ok() {
                    counts.answered.fetch_add(1, Relaxed);
                }
                drop(permit);
            });
        }
        due_before = due;
    }
}

/// A client is done before its certificate was looked at; that it is refused it hears afterwards.
async fn knock_once(connecting: quinn::Connecting) {
    if let Ok(connection) = connecting.await {
        connection.closed().await;
    }
}

/// Sends garbage as it falls due, and returns how much it was.
fn throw(rate: u32, socket: &UdpSocket, stop: &AtomicBool) -> std::io::Result<u64> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut garbage: Vec<(Vec<u8>, _)> = (0..GARBAGE).map(|number| make_garbage(number, &mut rng)).collect();
    let (started, mut thrown) = (Instant::now(), 0);
    while !stop.load(Relaxed) && started.elapsed() < LONGEST {
        let due = due(rate, started);
        while thrown < due && !stop.load(Relaxed) {
            let (bytes, id) = &mut garbage[thrown as usize % GARBAGE];
            rng.fill_bytes(&mut bytes[id.clone()]);
            // Nobody listens yet, or no more: the kernel tells of an earlier datagram.
            if let Err(error) = socket.send(bytes)
                && error.kind() != std::io::ErrorKind::ConnectionRefused
            {
                return Err(error);
            }
            thrown += 1;
        }
        std::thread::sleep(TICK);
    }
    Ok(thrown)
}

/// How many are due of `rate` a second.
fn due(rate: u32, since: Instant) -> u64 {
    (since.elapsed().as_secs_f64() * f64::from(rate)) as u64
}

/// In turn: bytes at random, what looks like the begin of a connection, what looks like a datagram of one.
fn make_garbage(number: usize, rng: &mut StdRng) -> (Vec<u8>, std::ops::Range<usize>) {
    let len = match number % 3 {
        1 => INITIAL,
        _ => rng.random_range(32..=INITIAL),
    };
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    match number % 3 {
        0 => (bytes, SHORT_ID),
        1 => {
            // RFC 9000, section 17.2.2: an Initial of version 1, both IDs 8 bytes long, no token, and a length that fits.
            bytes[0] = 0b1100_0000 | bytes[0] & 0b11;
            bytes[1..5].copy_from_slice(&1_u32.to_be_bytes());
            (bytes[5], bytes[14], bytes[23]) = (8, 8, 0);
            let rest = u16::try_from(INITIAL - 26).unwrap_or(u16::MAX);
            bytes[24..26].copy_from_slice(&(0x4000 | rest).to_be_bytes());
            (bytes, LONG_ID)
        }
        _ => {
            bytes[0] = 0b0100_0000 | bytes[0] & 0b11_1111;
            (bytes, SHORT_ID)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_looks_like_what_it_should() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let (initial, id) = make_garbage(1, &mut rng);
            assert_eq!(
                (initial.len(), initial[0] >> 4, &initial[1..5]),
                (INITIAL, 0b1100, &[0, 0, 0, 1][..])
            );
            // A length, the ID, another length and ID, no token, and a length of two bytes that ends with the datagram.
            let rest = usize::from(u16::from_be_bytes([initial[24] & 0x3f, initial[25]]));
            assert_eq!((usize::from(initial[5]), initial[14], initial[23]), (id.len(), 8, 0));
            assert_eq!((initial[24] >> 6, 26 + rest), (1, INITIAL));

            let (short, id) = make_garbage(2, &mut rng);
            assert_eq!(short[0] >> 6, 0b01);
            assert!(short.len() > id.end && make_garbage(0, &mut rng).0.len() > id.end);
        }
    }
}
