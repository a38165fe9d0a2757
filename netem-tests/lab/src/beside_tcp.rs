//! A pull and a flow of TCP on one link: who has how much of it.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use rdcq_config::Congestion;
use rdcq_wire::Class;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::herd::{Ask, Puller};
use crate::means::Means;
use crate::path::{Bottleneck, Path};
use crate::report::{Rounded, print};
use crate::tcp::Received;

/// How long both run before anything counts.
const BEFORE: Duration = Duration::from_secs(3);
/// Where TCP is received.
const PORT: u16 = 7499;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    bottleneck: Bottleneck,
    /// The round trip, in milliseconds.
    #[arg(long, default_value_t = 20)]
    rtt: u64,
    /// Our controllers, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "tolerant-cubic,cubic,new-reno,bbr")]
    controllers: Vec<Congestion>,
    /// TCP's controllers.
    #[arg(long, value_delimiter = ',', default_value = "cubic,bbr")]
    tcp: Vec<String>,
    /// How long both are watched, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How often each is done.
    #[arg(long, default_value_t = 1)]
    runs: u32,
    /// Three seconds, and TCP's cubic alone.
    #[arg(long)]
    short: bool,
}

#[derive(Serialize)]
struct Shares<'a> {
    test: &'a str,
    means: Means,
    #[serde(serialize_with = "crate::report::shown")]
    congestion: Congestion,
    tcp: &'a str,
    rtt_ms: u64,
    queue_ms: u64,
    ours_mbit: Rounded,
    tcp_mbit: Rounded,
    /// Of what both had.
    our_percent: Rounded,
}

pub(crate) async fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    if arguments.short {
        (arguments.seconds, arguments.tcp) = (3, vec!["cubic".to_owned()]);
    }
    let path = Path::start(&arguments.controllers, 16 << 20, arguments.bottleneck.means)?;
    let sources = path.sources.iter().map(|(_, source)| Puller::new(source, path.puller()));
    let pullers: Vec<_> = sources.collect::<anyhow::Result<_>>()?;
    path.set(arguments.bottleneck.link(arguments.rtt, 0.0))?;
    for _ in 0..arguments.runs {
        for (number, puller) in pullers.iter().enumerate() {
            for tcp in &arguments.tcp {
                share(&arguments, &path, number, puller, tcp).await?;
            }
        }
    }
    Ok(())
}

/// Lets both run, and prints what each had.
async fn share(
    arguments: &Arguments,
    path: &Path,
    number: usize,
    puller: &Puller,
    tcp: &str,
) -> anyhow::Result<()> {
    let (congestion, source) = &path.sources[number];
    let until = BEFORE + Duration::from_secs(arguments.seconds);
    let flow = flow(path, number, tcp, until)?;
    let ask = Ask { class: Class::Normal, streams: 4, pieces: 32, from: BEFORE, until, rest: None };
    let pulled = puller.pull(&path.network, source, ask)?.await??;
    let flowed = flow.await??;
    let mbit = |bytes: u64, seconds: f64| bytes as f64 * 8e-6 / seconds;
    let (ours, tcps) = (mbit(pulled.sum(), pulled.seconds), mbit(flowed.bytes, flowed.seconds));
    print(&Shares {
        test: "beside-tcp",
        means: path.network.means(),
        congestion: *congestion,
        tcp,
        rtt_ms: arguments.rtt,
        queue_ms: arguments.bottleneck.queue,
        ours_mbit: Rounded(ours),
        tcp_mbit: Rounded(tcps),
        our_percent: Rounded(ours / (ours + tcps) * 100.0),
    })
}

/// Sends over TCP from the source's host to the one that pulls.
fn flow(
    path: &Path,
    number: usize,
    tcp: &str,
    until: Duration,
) -> anyhow::Result<JoinHandle<anyhow::Result<Received>>> {
    let lab = std::env::current_exe()?.display().to_string();
    let (from, to) = (path.network.host(number).clone(), path.network.host(path.puller()).clone());
    let (address, tcp) = (format!("{}:{PORT}", to.ip), tcp.to_owned());
    let ms = |time: Duration| time.as_millis().to_string();
    let receive = [&*lab, "tcp-receive", "--listen", &address, "--from-ms", &ms(BEFORE), "--ms", &ms(until)]
        .map(str::to_owned);
    let received = tokio::task::spawn_blocking(move || {
        let said = to.run(&receive.each_ref().map(|word| &**word))?;
        serde_json::from_str(&said).context(said)
    });
    tokio::task::spawn_blocking(move || {
        // The receiver may still have to start.
        for _ in 0..100 {
            if from.run(&[&lab, "tcp-send", "--to", &address, "--congestion", &tcp]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    Ok(received)
}
