//! A client that pulls many tags at once through its host's agent.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rdcq_client::Session;
use rdcq_client::pull::{Pull, pull};
use rdcq_config::Config;
use rdcq_runtime::{Host, load_credentials};
use rdcq_wire::TagQuery;
use tokio::task::JoinSet;

use crate::herd::{BytesFrom, PullReport};
use crate::report;

/// Tags that share a connection to the agent: commands would have one each, and a connection bears only so many requests.
const TOGETHER: usize = 8;
/// How long the herd may take to be reached.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct Arguments {
    /// The client's settings.
    #[arg(long)]
    config: PathBuf,
    /// Where the files go, each under its number.
    #[arg(long)]
    folder: PathBuf,
    tags: Vec<TagQuery>,
}

/// Pulls all of them, and says what came from where.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { config: path, folder, tags } = arguments;
    let config = Config::parse(&std::fs::read_to_string(&path)?, &path.display().to_string())?;
    let host = Host::system();
    let credentials = load_credentials(&host.env, &config.identity).await?;
    let agent = config.client.unwrap_or_default().agent;
    let (mut sessions, mut pulls) = (Vec::new(), JoinSet::new());
    for (number, query) in tags.into_iter().enumerate() {
        if number % TOGETHER == 0 {
            sessions.push(Session::open(&host, &credentials, config.herd.clone(), Some(agent))?);
        }
        let Some(session) = sessions.last().cloned() else { continue };
        let order = Pull::new(query, folder.join(number.to_string()), PATIENCE);
        pulls.spawn(async move { pull(&session, &order, &|_| ()).await });
    }
    let mut all = PullReport { fetch_ms: 0, bytes_from: BytesFrom { origins: 0, duplicate: 0 } };
    while let Some(pulled) = pulls.join_next().await {
        let pulled = pulled??;
        all.fetch_ms = all.fetch_ms.max(u64::try_from(pulled.fetched_in.as_millis())?);
        all.bytes_from.origins += pulled.sources.origins;
        all.bytes_from.duplicate += pulled.sources.duplicate;
    }
    sessions.iter().for_each(Session::close);
    // The close of a connection is sent by a task of its own.
    tokio::time::sleep(Duration::from_millis(10)).await;
    report::print(&all)
}
