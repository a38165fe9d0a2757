//! `connections --active`: pulls while many connections are held, beside pulls while none are.

use rdcq_wire::Role;

use super::{Arguments, SETTLE_CLOSED, SETTLE_OPEN};
use crate::herd::{ETHERNET_DATAGRAM, Herd, Seeded};
use crate::processes::Part;
use crate::pulling::Pulled;
use crate::report::{self, Line};
use crate::turns::{self, Turn, figures};

/// How many times each side is run if nothing is said.
const RUNS: usize = 15;

pub(super) async fn run(arguments: &Arguments, clients: usize) -> anyhow::Result<()> {
    anyhow::ensure!(clients > 0 && arguments.size > 0, "--active and --size must be at least 1");
    let folder = tempfile::Builder::new().prefix("rdcq-active-").tempdir_in(&arguments.dir)?;
    let herd = Herd::new(folder.path(), ETHERNET_DATAGRAM, arguments.count + clients)?;
    let seeded = Seeded::start(herd, arguments.size).await?;
    let (certs, addr) = (seeded.herd.certs(), seeded.herd.origin_addr().to_string());
    let (mut holder, _) = Part::start(&["caller", &certs, &addr, Role::Origin.name()]).await?;
    let record = &seeded.record;
    let (number, digest) = (clients.to_string(), record.digest.to_string());
    let arguments_of_pullers = ["pullers", &certs, &addr, &number, &digest, &record.manifest.to_string()];
    let (mut pullers, _) = Part::start(&arguments_of_pullers).await?;
    // The first pull finds cold caches and short windows.
    let _: Pulled = pullers.ask("pull").await?;

    let runs = turns::pairs(arguments.runs.unwrap_or(RUNS), async |turn| {
        if turn == Turn::Variant {
            let _: f64 = holder.ask(&format!("open {}", arguments.count)).await?;
        }
        tokio::time::sleep(SETTLE_OPEN).await;
        let pulled: Pulled = pullers.ask("pull").await?;
        if turn == Turn::Variant {
            let () = holder.ask("close").await?;
            tokio::time::sleep(SETTLE_CLOSED).await;
        }
        if let Some(why) = &pulled.why {
            anyhow::bail!("{} of {clients} pulls went wrong: {why}", clients - pulled.right);
        }
        Ok(pulled)
    });
    let runs = runs.await?;
    let rate = |pulled: &Pulled| pulled.bytes as f64 * 8.0 / 1e9 / pulled.seconds;
    let right: Vec<_> = runs.iter().map(|(held, _)| (held.right as f64, clients as f64)).collect();
    report::print(
        arguments.output,
        &[
            Line::of("connections", "active-throughput", "Gbit/s", &figures(&runs, rate)),
            Line::of("connections", "active-right", "pulls", &right),
        ],
    )
}
