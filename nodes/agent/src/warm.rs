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
/// After a connection is lost, the next one is dialled at some moment within this time: a server that restarts has lost
/// the whole herd at once.
const SPREAD: Duration = Duration::from_secs(2);
/// How often a connection is exchanged for what the pool has by then: it replaces those that are old.
const RENEWAL: Duration = Duration::from_secs(3600);

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
    loop {
        match pool.get(addr, role, env.now() + PATIENCE).await {
            // What is held is not idle, and stays.
            Ok(connection) => {
                if timeout(RENEWAL, connection.closed()).await.is_err() {
                    continue;
                }
            }
            Err(error) => tracing::debug!(%addr, %role, %error, "a server cannot be reached"),
        }
        tokio::time::sleep(SPREAD.mul_f64(env.random_u64() as f64 / u64::MAX as f64)).await;
    }
}
