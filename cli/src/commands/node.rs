//! `rdcq node`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use rdcq_runtime::{Host, ReloadOutcome, Reloads};
use serde::Serialize;

use crate::console::Console;
use crate::data_threads::data_threads;
use crate::failure::Failure;
use crate::node;
use crate::reloaded::Reloaded;
use crate::settings;
use crate::settings_watch::SettingsWatch;
use crate::signals::{self, Hangup, Signals};

/// Run the roles that a settings file names, until SIGTERM.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq node --config agent.toml"))]
pub(crate) struct Node {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Node {
    pub(crate) async fn run(self, console: &Console) -> Result<(), Failure> {
        let mut signals = Signals::listen(Hangup::Stays)?;
        let mut hangups = signals::hangups()?;
        let mut watch = SettingsWatch::new(&self.config);
        let config = settings::read(&self.config)?;
        let threads = data_threads()?;
        let (reloads, mut orders) = Reloads::channel();
        let host = Host { reloads, ..threads.host() };
        let node = signals.or(async { Ok(node::Node::start(&host, config).await?) }).await?;
        let herd = node.identity().herd.to_string();
        console.result(Some(&herd), &Ready::of(&node))?;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => break,
                _ = hangups.recv() => drop(self.reload_all(&node, &mut watch, console)),
                orders = orders.next() => {
                    let outcome = self.reload_all(&node, &mut watch, console);
                    orders.into_iter().for_each(|order| order.answer(outcome.clone()));
                }
                () = watch.saved() => drop(self.reload(&node, console)),
            }
        }
        console.note("stopping; a second signal stops at once");
        signals.hurry(node.drain()).await;
        Ok(())
    }
}

impl Node {
    /// Reads all anew that can be while the node runs.
    fn reload_all(&self, node: &node::Node, watch: &mut SettingsWatch, console: &Console) -> ReloadOutcome {
        node.reload_credentials();
        console.note("certificates are read anew");
        watch.skip();
        self.reload(node, console)
    }

    /// Reads the settings anew; what is wrong with them changes nothing.
    fn reload(&self, node: &node::Node, console: &Console) -> ReloadOutcome {
        let reloaded = settings::read(&self.config).and_then(|config| Ok(node.reload(config)?));
        match reloaded {
            Ok(reloaded) => {
                let Reloaded { changed, restart, kept } = &reloaded;
                tracing::info!(?changed, ?restart, ?kept, "settings were read anew");
                console.note(&reloaded);
                Ok(reloaded.settings())
            }
            Err(Failure { what, .. }) => {
                tracing::error!(why = %what, "the changed settings are not used; those from before hold");
                let what = format!("{what}; the settings from before hold");
                console.note(&what);
                Err(what)
            }
        }
    }
}

/// What callers wait for before they connect.
#[derive(Serialize)]
struct Ready {
    node: String,
    ready: Vec<Serving>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<String>,
}

#[derive(Serialize)]
struct Serving {
    role: &'static str,
    addr: String,
}

impl Ready {
    fn of(node: &node::Node) -> Self {
        let serving =
            node.addresses().map(|(role, addr)| Serving { role: role.name(), addr: addr.to_string() });
        let admin = node.admin().map(|addr| addr.to_string());
        Self { node: node.identity().node.to_string(), ready: serving.collect(), admin }
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ready")?;
        self.ready.iter().try_for_each(|Serving { role, addr }| write!(f, " {role}={addr}"))?;
        self.admin.iter().try_for_each(|addr| write!(f, " admin={addr}"))
    }
}
