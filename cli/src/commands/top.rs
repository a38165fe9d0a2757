//! `rdcq top`.

mod page;
mod rates;
mod screen;
mod selection;
mod text;

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use futures_util::{Stream, StreamExt, stream};
use rdcq_client::meter::meter;
use rdcq_client::{OperationError, Session};
use rdcq_wire::ErrorCode;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::caller::{Caller, Rights};
use crate::console::{Console, Output};
use crate::duration;
use crate::failure::Failure;
use crate::servers::{Server, Servers, ask_each, verdict};

use page::{Paint, View};
use rates::{Outcome, Pages};
use screen::{Key, Screen};
use selection::Selection;

use super::status::UNTOLD;

/// Figures that a node gives are up to 200 ms old: what is read sooner again may be the same ones.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(3600);

/// How long a page waits for a node that does not answer, at least.
const PATIENCE: Duration = Duration::from_secs(1);

/// Show what nodes move against what they may: by direction, class, peer and transfer. On a terminal a page that is read anew every second: Tab or the arrow keys lead from node to node, q ends it. Elsewhere, and with
/// --once or --output json, one reading.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq top --interval 5s"))]
pub(crate) struct Top {
    #[command(flatten)]
    servers: Servers,
    /// How long from one reading to the next.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    interval: Duration,
    /// Print one reading and end.
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        if !(SHORTEST..=LONGEST).contains(&self.interval) {
            let what = format!("--interval is {:?}; it may be 500ms to 1h", self.interval);
            return Err(Failure::usage(what));
        }
        let caller = Caller::open(console, herd, Rights::Operator, None).await?;
        let servers = self.servers.of(&caller.session);
        let moves = !self.once && console.output == Output::Text && io::stdout().is_terminal();
        if moves {
            caller.attend(watch(&caller, &servers, self.interval)).await
        } else {
            let twice =
                caller.attend(async { Ok(read_twice(&caller.session, &servers, self.interval).await) });
            let [before, after] = twice.await?;
            let verdict = verdict(console, &servers, &after, UNTOLD);
            console.result(Some(caller.herd.as_str()), &Pages::of(&servers, &before, &after))?;
            verdict
        }
    }
}

async fn read(session: &Session, servers: &[Server]) -> Vec<Outcome> {
    ask_each(servers, |server| meter(session, server.role, server.addr)).await
}

async fn read_twice(session: &Session, servers: &[Server], pause: Duration) -> [Vec<Outcome>; 2] {
    let before = read(session, servers).await;
    tokio::time::sleep(pause).await;
    [before, read(session, servers).await]
}

/// A reading every so often. A node that does not answer holds up the others no longer than it must.
fn readings(session: &Session, servers: &[Server], pause: Duration) -> impl Stream<Item = Vec<Outcome>> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let patience = pause.max(PATIENCE);
    let ask = move |server: Server| async move {
        let answer = timeout(patience, meter(session, server.role, server.addr)).await;
        answer.unwrap_or_else(|_| {
            let text = format!("no answer within {patience:?}");
            Err(OperationError::new(ErrorCode::TimedOut, text))
        })
    };
    stream::unfold(ticks, move |mut ticks| async move {
        ticks.tick().await;
        Some((ask_each(servers, ask).await, ticks))
    })
}

/// Shows the page until somebody has seen enough.
async fn watch(caller: &Caller, servers: &[Server], pause: Duration) -> Result<(), Failure> {
    let mut readings = Box::pin(readings(&caller.session, servers, pause));
    let (mut screen, mut keys) = Screen::open()?;
    let paint = Paint::of_environment();
    let (mut before, mut pages, mut selection) = (Vec::new(), Pages::default(), Selection::default());
    loop {
        let (page, place) = selection.find(&pages);
        let view = View { herd: caller.herd.as_str(), page, place, count: pages.nodes.len(), paint };
        screen.draw(|frame| page::draw(frame, &view))?;
        tokio::select! {
            biased;
            key = keys.recv() => match key {
                Some(Key::Next) => selection.next(&pages),
                Some(Key::Previous) => selection.previous(&pages),
                Some(Key::Redraw) => {}
                Some(Key::End) | None => return Ok(()),
            },
            Some(after) = readings.next() => {
                pages = Pages::of(servers, &before, &after);
                before = after;
            }
        }
    }
}
