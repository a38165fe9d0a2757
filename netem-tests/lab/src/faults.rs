//! Whether a pull ends right, whatever a network does to packets.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use rdcq_config::Congestion;
use serde::Serialize;

use crate::fabric::Way;
use crate::link::{Faults, Link};
use crate::means::Means;
use crate::path::{Bottleneck, Path};
use crate::report::{Rounded, print};

/// When what happens in the middle of a pull begins.
const MIDDLE: Duration = Duration::from_millis(700);
/// What still passes a hole: more than QUIC's least datagram.
const HOLE: u16 = 1300;

/// How many a short run has.
const SHORT: usize = 4;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    bottleneck: Bottleneck,
    /// The round trip, in milliseconds.
    #[arg(long, default_value_t = 20)]
    rtt: u64,
    /// The servers' controllers, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "tolerant-cubic")]
    controllers: Vec<Congestion>,
    /// Bytes of the file that is pulled.
    #[arg(long, default_value_t = 16 << 20)]
    size: u64,
    /// How long a pull may take, in seconds.
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Duplicates, a hole and a cut alone, and a file of 8 MiB.
    #[arg(long)]
    short: bool,
}

#[derive(Serialize)]
struct Ended {
    test: &'static str,
    means: Means,
    #[serde(serialize_with = "crate::report::shown")]
    congestion: Congestion,
    fault: &'static str,
    /// From the command's start to its end, with all that it had to try again; none if it did not end in time.
    seconds: Option<Rounded>,
    sent_bytes: u64,
    right: bool,
}

/// What happens to a path.
#[derive(Clone, Copy)]
enum Fault {
    /// From the start on.
    Always(Link),
    /// To packets to the puller, from the middle on.
    Later(Link),
    /// Nothing passes these ways for a while in the middle.
    Cut(&'static [Way], Duration),
}

/// All of them, on a path that is otherwise like `link`; first those that any controller is through with soon.
fn all(link: Link) -> Vec<(&'static str, Fault)> {
    let none = Faults::default();
    let always = |faults| Fault::Always(Link { faults, ..link });
    let (s, ms) = (Duration::from_secs, Duration::from_millis);
    vec![
        ("none", Fault::Always(link)),
        ("5 % come twice", always(Faults { duplicate: 0.05, ..none })),
        ("a hole for more than 1300 bytes", Fault::Later(Link { hole: Some(HOLE), ..link })),
        ("nothing to the puller for 2 s", Fault::Cut(&[Way::Down], s(2))),
        ("5 % overtake by half a round trip", always(Faults { reorder: 0.05, ..none })),
        ("a bit is turned over in 1 %", always(Faults { corrupt: 0.01, ..none })),
        ("jitter of 5 ms", Fault::Always(Link { jitter: ms(5), ..link })),
        ("5 % are lost", always(Faults { loss: 0.05, ..none })),
        ("nothing from the puller for 2 s", Fault::Cut(&[Way::Up], s(2))),
        ("nothing either way for 5 s", Fault::Cut(&[Way::Up, Way::Down], s(5))),
    ]
}

pub(crate) async fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    if arguments.short {
        arguments.size = 8 << 20;
    }
    let link = arguments.bottleneck.link(arguments.rtt, 0.0);
    let mut path = Path::start(&arguments.controllers, arguments.size, arguments.bottleneck.means)?;
    let mut faults = all(link);
    if arguments.short {
        faults.truncate(SHORT);
    }
    let mut wrong = Vec::new();
    for number in 0..arguments.controllers.len() {
        for &(name, fault) in &faults {
            let first = if let Fault::Always(link) = fault { link } else { link };
            let patience = Duration::from_secs(arguments.patience);
            let happen = async |path: &Path| happen(path, link, fault).await;
            let (outcome, log) = path.pull(number, first, patience, happen).await?;
            let seconds = outcome.fetched.map(|fetched| Rounded(fetched.command_seconds));
            let congestion = path.sources[number].0;
            let (sent_bytes, right) = (outcome.sent_bytes, outcome.right && seconds.is_some());
            let means = path.network.means();
            print(&Ended { test: "faults", means, congestion, fault: name, seconds, sent_bytes, right })?;
            if !right {
                wrong.push(format!("{congestion}, {name}, the agent logged:\n{log}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "pulls that did not end right:\n{}", wrong.join("\n"));
    Ok(())
}

/// Does to the path what is to happen while a pull runs.
async fn happen(path: &Path, link: Link, fault: Fault) -> anyhow::Result<()> {
    let set =
        |ways: &[Way], link| ways.iter().try_for_each(|way| path.network.link(path.puller(), *way, link));
    match fault {
        Fault::Always(_) => Ok(()),
        Fault::Later(later) => {
            tokio::time::sleep(MIDDLE).await;
            set(&[Way::Down], later)
        }
        Fault::Cut(ways, time) => {
            tokio::time::sleep(MIDDLE).await;
            set(ways, Link { cut: true, ..link })?;
            tokio::time::sleep(time).await;
            set(ways, link)
        }
    }
}
