//! Keeps connections to the servers, so that a pull waits for no handshake, and ten thousand at once are not ten thousand
//! handshakes.

use std::net::SocketAddr;
use std::time::Duration;

use rdcq_config::HerdAddresses;
use rdcq_env::Env;
use rdcq_transport::Pool;
use rdcq_wire::Role;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Servers of one role that stay connected: the first one asked, and two that are asked when it is gone.
const SERVERS: usize = 3;
/// How long a server may take to be connected.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it takes at most until a server is dialled, at first and after it was lost: one that restarts has lost the whole
/// herd at once.
const SPREAD: Duration = Duration::from_secs(2);
/// How long it takes at most after it has refused again and again: it may be full, or this node revoked.
const LONGEST_SPREAD: Duration = Duration::from_secs(300);
/// How often it is looked whether a connection is of use: its server may be about to leave.
const LOOK: Duration = Duration::from_secs(30);
/// Looks after which a connection is exchanged for what the pool has by then: it replaces those that are old.
const RENEWAL: u32 = 120;

/// Keeps a control connection to each of the servers that a pull asks, until `stop`.
pub(crate) fn keep(env: &Env, pool: &Pool, herd: &HerdAddresses, stop: &CancellationToken) {
    let servers = [
        (Role::BuildIndex, &herd.build_indexes),
        (Role::Tracker, &herd.trackers),
        (Role::Origin, &herd.origins),
    ];
    for (role, addrs) in servers {
        for addr in addrs.iter().take(SERVERS) {
            let keeping = keep_one(env.clone(), pool.clone(), *addr, role);
            let stop = stop.clone();
            env.spawn(async move { stop.run_until_cancelled(keeping).await });
        }
    }
}

async fn keep_one(env: Env, pool: Pool, addr: SocketAddr, role: Role) {
    let mut spread = SPREAD;
    loop {
        tokio::time::sleep(part_of(spread, &env)).await;
        match pool.get(addr, role, env.now() + PATIENCE).await {
            Ok(connection) => {
                spread = SPREAD;
                // What is held is not idle, and stays.
                for _ in 0..RENEWAL {
                    let closed = timeout(LOOK, connection.closed()).await.is_ok();
                    if closed || !connection.is_usable() {
                        break;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%addr, %role, %error, "a server cannot be reached");
                spread = (spread * 2).min(LONGEST_SPREAD);
            }
        }
    }
}

/// By lot, so that those who do something together do not do it at once.
fn part_of(time: Duration, env: &Env) -> Duration {
    time.mul_f64(env.random_u64() as f64 / u64::MAX as f64)
}
