//! `rdcq up`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use etcetera::choose_base_strategy;
use rdcq_runtime::Host;
use serde::Serialize;

use crate::admin::{Admin, BoundAdmin};
use crate::console::{Console, Output};
use crate::data_threads::data_threads;
use crate::failure::Failure;
use crate::herd::{Herd, HerdPlan};
use crate::settings::Places;
use crate::signals::{Hangup, Signals};
use crate::up_folder::{self, UpFolder};

/// Agents that one process may run: a laptop's worth.
const MAX_AGENTS: i64 = 64;

/// Keep a herd running on this host; the other commands find it without flags.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq up --agents 3"))]
pub(crate) struct Up {
    /// How many agents.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_AGENTS))]
    agents: u32,
    /// The folder that keeps the herd, rather than $XDG_DATA_HOME/rdcq/up.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer /livez, /readyz, /metrics and /version over HTTP at this address, for example 127.0.0.1:7400.
    #[arg(long, value_name = "IP:PORT")]
    admin: Option<SocketAddr>,
}

impl Up {
    pub(crate) async fn run(self, console: &Console) -> Result<(), Failure> {
        let mut signals = Signals::listen(Hangup::Ends)?;
        let threads = data_threads()?;
        let host = threads.host();
        let root = self.data.map_or_else(default_root, Ok)?;
        let folder = UpFolder::open(&host, &root).await?;
        let plan = HerdPlan::with_agents(self.agents);
        let grace = plan.limits.drain;
        let admin = match self.admin {
            Some(listen) => Some(BoundAdmin::bind(listen).await?),
            None => None,
        };
        let herd = signals.or(start(&host, &folder, plan)).await?;
        let admin =
            admin.map(|bound| bound.serve(folder.herd().clone(), herd.insights(), host.bandwidth.clone()));
        if let Err(failure) = announce(console, &host, &folder, &herd, admin.as_ref()).await {
            folder.withdraw();
            herd.drain(std::time::Duration::ZERO).await;
            return Err(failure);
        }
        signals.next().await;
        console.note("stopping; a second signal stops at once");
        folder.withdraw();
        admin.iter().for_each(Admin::drain);
        signals.hurry(herd.drain(grace)).await;
        admin.into_iter().for_each(Admin::stop);
        Ok(())
    }
}

fn default_root() -> Result<PathBuf, Failure> {
    let strategy = choose_base_strategy().map_err(|error| {
        let what = format!("cannot find this user's data folder: {error}");
        Failure::other(what).with_hint("name a folder with --data")
    })?;
    Ok(up_folder::default_root(&strategy))
}

async fn start(host: &Host, folder: &UpFolder, plan: HerdPlan) -> Result<Herd, Failure> {
    let mut places = BTreeMap::new();
    for seat in plan.seats() {
        places.insert(seat, folder.place(host, seat).await?);
    }
    let nobody = |seat| Failure::other(format!("nothing was prepared for {seat}"));
    Herd::start(plan, |seat| places.remove(&seat).ok_or_else(|| nobody(seat))).await
}

/// Lets commands find the herd, and tells people how.
async fn announce(
    console: &Console,
    host: &Host,
    folder: &UpFolder,
    herd: &Herd,
    admin: Option<&Admin>,
) -> Result<(), Failure> {
    folder.publish(host, herd).await?;
    let settings = folder.client_settings();
    let found = Places::of_environment(None).and_then(|places| places.find()).ok();
    let flag = match found {
        Some(found) if found.canonicalize().is_ok_and(|found| found == settings) => String::new(),
        _ => format!(" --herd {}", settings.display()),
    };
    if console.output != Output::Text {
        let admin = admin.map(|admin| admin.addr().to_string());
        let up = Ready { settings: settings.display().to_string(), agents: herd.agents().len(), admin };
        console.result(Some(folder.herd().as_str()), &up)?;
    }
    console.note(format_args!(
        "herd {} is up ({})\n  rdcq push{flag} FILE    prints the tag\n  rdcq pull{flag} TAG",
        folder.herd(),
        settings.display(),
    ));
    if let Some(admin) = admin {
        console.note(format_args!("  curl http://{}/metrics", admin.addr()));
    }
    Ok(())
}

#[derive(Serialize)]
struct Ready {
    settings: String,
    agents: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<String>,
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}", self.settings, self.agents)
    }
}
