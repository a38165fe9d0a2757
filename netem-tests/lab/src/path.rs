//! Servers and a host that pulls from them, with a path in between that can be made bad.

use std::path::Path as Folder;
use std::time::Duration;

use clap::Args;
use rdcq_config::Congestion;
use rdcq_wire::ByteRate;

use crate::fabric::Way;
use crate::herd::{Agent, FORGOTTEN, Fetched, Plan, Source};
use crate::link::Link;
use crate::means::Means;
use crate::namespaces::Network;
use crate::usage::Cpu;

/// How long pulls may take to be killed and ended after their patience.
const GRACE: Duration = Duration::from_secs(20);

/// The narrowest link of a path, as commands take it.
#[derive(Args)]
pub(crate) struct Bottleneck {
    /// What the link carries each way.
    #[arg(long, default_value = "100Mbit/s")]
    pub(crate) rate: ByteRate,
    /// How long a packet may wait for the link, in milliseconds.
    #[arg(long, default_value_t = 50)]
    pub(crate) queue: u64,
    /// What makes the links; left out, netem where the kernel has it.
    #[arg(long)]
    pub(crate) means: Option<Means>,
}

impl Bottleneck {
    /// Both directions with such a round trip and loss each way, from 0 to 1.
    pub(crate) fn link(&self, rtt_ms: u64, loss: f64) -> Link {
        let ms = Duration::from_millis;
        Link::path(self.rate, ms(self.queue), ms(rtt_ms), loss)
    }
}

/// How long an agent runs before it is asked for anything, as agents do: it is connected to its servers by then.
const WARM: Duration = Duration::from_secs(1);

/// Servers, one for each congestion controller and each on a host of its own, and a host that pulls.
pub(crate) struct Path {
    // In this order: what runs in the network ends before its folder goes.
    pub(crate) network: Network,
    pub(crate) sources: Vec<(Congestion, Source)>,
    /// Agents started so far.
    agents: u32,
    _folder: tempfile::TempDir,
}

/// What a pull came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// None if it did not end in time.
    pub(crate) fetched: Option<Fetched>,
    /// Whether the file that was delivered is the one that was pushed.
    pub(crate) right: bool,
    /// Bytes that left the source's interface.
    pub(crate) sent_bytes: u64,
    /// How much of the machine was in use, from 0 to 1.
    pub(crate) busy: f64,
}

impl Path {
    /// Starts servers that offer a file of `size` bytes.
    pub(crate) fn start(
        controllers: &[Congestion],
        size: u64,
        wanted: Option<Means>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rdcq-lab-").tempdir()?;
        let mut network = Network::linked(u8::try_from(controllers.len() + 1)?, wanted)?;
        let source = |(host, congestion): (usize, &Congestion)| {
            let own: &Folder = &folder.path().join(congestion.name());
            let plan = Plan { congestion: *congestion, ..Plan::default() };
            Ok((*congestion, Source::start_on(host, own, &mut network, &[size], plan)?))
        };
        let sources = controllers.iter().enumerate().map(source).collect::<anyhow::Result<_>>()?;
        Ok(Self { network, sources, agents: 0, _folder: folder })
    }

    /// The host that pulls.
    pub(crate) fn puller(&self) -> usize {
        self.sources.len()
    }

    /// Makes the path another one, the same way there and back.
    pub(crate) fn set(&self, link: Link) -> anyhow::Result<()> {
        self.network.link(self.puller(), Way::Up, link)?;
        self.network.link(self.puller(), Way::Down, link)
    }

    /// Pulls from the `number`th source through a new agent, while `meanwhile` does what it likes to the path, which is
    /// `link` at first. What the agent logged comes with what came of it.
    pub(crate) async fn pull(
        &mut self,
        number: usize,
        link: Link,
        patience: Duration,
        meanwhile: impl AsyncFnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Outcome, String)> {
        self.agents += 1;
        let name = format!("agent-{}", self.agents);
        let (source, host) = (&self.sources[number].1, self.sources.len());
        self.set(link)?;
        let agent = Agent::start(&name, source, &mut self.network, host)?;
        tokio::time::sleep(WARM).await;
        let (sent, cpu) = (self.network.host(number).sent_bytes()?, Cpu::now()?);
        let pull = agent.pull(&self.network, source, patience);
        // What is done to the path ends with the pull.
        let both = async { tokio::try_join!(async { pull.await? }, meanwhile(self)) };
        let fetched = tokio::time::timeout(patience + GRACE, both).await??.0;
        let outcome = Outcome {
            fetched,
            right: agent.is_right(source)?,
            sent_bytes: self.network.host(number).sent_bytes()? - sent,
            busy: cpu.busy_since()?,
        };
        // The next agent starts on a good path.
        self.set(Link::default())?;
        let log = agent.log()?;

        agent.stop(&mut self.network)?;
        tokio::time::sleep(FORGOTTEN).await;
        Ok((outcome, log))
    }
}
