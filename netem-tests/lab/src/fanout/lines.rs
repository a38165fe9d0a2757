//! The lines that a run prints.

use std::time::Duration;

use anyhow::Context as _;
use rdcq_wire::ByteRate;
use serde::Serialize;

use super::case::{Case, Kind};
use super::meter::{Run, sum};
use crate::report::{Rounded, print};

/// Into how many parts the least time is cut to show what links did in each.
const PARTS: u32 = 10;

/// One run.
#[derive(Serialize)]
struct Ran<'a> {
    test: &'a str,
    system: &'a str,
    agents: u8,
    bytes: u64,
    #[serde(serialize_with = "crate::report::shown")]
    rate: ByteRate,
    /// The least time that the links allow.
    bound_seconds: Rounded,
    /// From the start of the pulls until the last file was delivered.
    last_seconds: Rounded,
    last_ratio: Rounded,
    median_ratio: Rounded,
    /// Bytes that left the source's interface, by the file's.
    copies: Rounded,
    /// Bytes that came to the agents' interfaces, by what had to come.
    received: Rounded,
    /// Packets that came to them for each KiB of it: 0.73 if all are full.
    packets_per_kib: Rounded,
    /// Seconds of processor for each GB that the agents' interfaces sent and received.
    agents_cpu_per_gb: Rounded,
    /// The same of commands, which are all there is where no agent goes on afterwards.
    commands_cpu_per_gb: Rounded,
    /// The same of the source, for each GB that it sent.
    source_cpu_per_gb: Rounded,
    /// Seconds of processor of all, for each GB that any interface sent or received.
    all_cpu_per_gb: Rounded,
    /// The same for each GB that was delivered.
    all_cpu_per_gb_delivered: Rounded,
    /// How much of the machine was in use, from 0 to 1.
    busy: Rounded,
    right: bool,
}

/// What the links did, in percent of their rate, for each tenth of the least time, and beyond it.
#[derive(Serialize)]
struct Links<'a> {
    test: &'a str,
    system: &'a str,
    agents: u8,
    /// When a byte, a quarter, half, 90 and 99 percent of all that came had come; in seconds.
    received_at: Vec<Rounded>,
    source_up: Vec<u32>,
    agents_up: Vec<u32>,
    agents_down: Vec<u32>,
    /// Packets that did not fit the queue of a link, in percent of those that passed: of the source's up, the agents' up, and theirs
    /// down.
    dropped_percent: [Rounded; 3],
    /// When each agent had the file, in seconds.
    ended: Vec<Rounded>,
    #[serde(flatten)]
    told: Option<Told>,
}

/// What the agents told.
#[derive(Serialize)]
pub(super) struct Told {
    /// When the last one had verified all, in seconds from its request.
    pub(super) fetched_seconds: Rounded,
    /// Payload from the origin, by the file's size.
    pub(super) from_origin: Rounded,
    /// Payload that came twice, by what had to come.
    pub(super) duplicate: Rounded,
}

/// Agents of one kind among others.
#[derive(Serialize)]
struct OfKind {
    test: &'static str,
    agents: u8,
    kind: Kind,
    count: usize,
    bound_seconds: Rounded,
    last_seconds: Rounded,
    last_ratio: Rounded,
}

/// What a system came to: when each agent had the file, in the agents' order.
pub(super) struct Came<'a> {
    pub(super) system: &'a str,
    pub(super) seconds: Vec<f64>,
    pub(super) right: bool,
    pub(super) told: Option<Told>,
}

/// Prints what came of a run.
pub(super) fn show(case: &Case, run: &Run, came: Came<'_>) -> anyhow::Result<()> {
    let Came { system, seconds: unsorted, right, told } = came;
    let mut seconds = unsorted.clone();
    seconds.sort_by(f64::total_cmp);
    let last = *seconds.last().context("no agents")?;
    let kind = if case.count(Kind::Slow) == 0 { Kind::Fast } else { Kind::Slow };
    let (bound, bytes) = (case.bound(kind), case.bytes as f64);
    let all = f64::from(case.agents) * bytes;
    let pulling = 1..=usize::from(case.agents);
    let hosts = run.carried()?;
    let (source, agents) = (hosts[0], sum(&hosts[pulling]));
    let gigabytes = (agents.sent + agents.received) as f64 / 1e9;
    let used = run.used;
    let used_by_all = used.receivers + used.commands + used.source;
    let carried = gigabytes + (source.sent + source.received) as f64 / 1e9;
    print(&Ran {
        test: "fanout",
        system,
        agents: case.agents,
        bytes: case.bytes,
        rate: case.rate,
        bound_seconds: Rounded(bound),
        last_seconds: Rounded(last),
        last_ratio: Rounded(last / bound),
        median_ratio: Rounded(seconds[(seconds.len() - 1) / 2] / bound),
        copies: Rounded(source.sent as f64 / bytes),
        received: Rounded(agents.received as f64 / all),
        packets_per_kib: Rounded(agents.received_packets as f64 / (all / 1024.0)),
        agents_cpu_per_gb: Rounded(used.receivers / gigabytes),
        commands_cpu_per_gb: Rounded(used.commands / gigabytes),
        source_cpu_per_gb: Rounded(used.source / (source.sent as f64 / 1e9)),
        all_cpu_per_gb: Rounded(used_by_all / carried),
        all_cpu_per_gb_delivered: Rounded(used_by_all / (all / 1e9)),
        busy: Rounded(run.busy),
        right,
    })?;
    if kind == Kind::Slow {
        for kind in [Kind::Fast, Kind::Slow] {
            show_kind(case, kind, &unsorted)?;
        }
    }
    show_links(case, run, system, &seconds, told)
}

fn show_kind(case: &Case, kind: Kind, seconds: &[f64]) -> anyhow::Result<()> {
    let own = (1..).zip(seconds).filter(|(agent, _)| case.kind(*agent) == kind);
    let last = own.map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let bound = case.bound(kind);
    print(&OfKind {
        test: "fanout, kinds",
        agents: case.agents,
        kind,
        count: case.count(kind),
        bound_seconds: Rounded(bound),
        last_seconds: Rounded(last),
        last_ratio: Rounded(last / bound),
    })
}

fn show_links(
    case: &Case,
    run: &Run,
    system: &str,
    seconds: &[f64],
    told: Option<Told>,
) -> anyhow::Result<()> {
    let part = Duration::from_secs_f64(case.bound(Kind::Fast)) / PARTS;
    let (mut source_up, mut agents_up, mut agents_down) = (Vec::new(), Vec::new(), Vec::new());
    let rates = (0..=usize::from(case.agents)).map(|host| case.rate_of(host));
    let rates: Vec<_> = rates.collect::<anyhow::Result<_>>()?;
    let due = |rates: &[ByteRate]| rates.iter().map(|rate| rate.bytes_per_second() as f64).sum::<f64>();
    let percent = |bytes: u64, rates: &[ByteRate]| {
        (bytes as f64 / (due(rates) * part.as_secs_f64()) * 100.0).round() as u32
    };
    let last = seconds.last().copied().unwrap_or_default();
    for number in 0..(last / part.as_secs_f64()).ceil() as u32 {
        let (before, after) = (run.until(part * number)?, run.until(part * (number + 1))?);
        let carried: Vec<_> = after.iter().zip(&before).map(|(after, before)| after.since(*before)).collect();
        let agents = sum(&carried[1..rates.len()]);
        source_up.push(percent(carried[0].sent, &rates[..1]));
        agents_up.push(percent(agents.sent, &rates[1..]));
        agents_down.push(percent(agents.received, &rates[1..]));
    }
    let carried = run.carried()?;
    let agents = sum(&carried[1..rates.len()]);
    let dropped = |way: usize| run.dropped[1..rates.len()].iter().map(|dropped| dropped[way]).sum::<u64>();
    let dropped = [
        (run.dropped[0][0], carried[0].sent_packets),
        (dropped(0), agents.sent_packets),
        (dropped(1), agents.received_packets),
    ];
    let received = agents.received as f64;
    let received_at = [0.0, 0.25, 0.5, 0.9, 0.99].map(|part| run.received_at((received * part) as u64 + 1));
    let received_at = received_at.into_iter().map(|seconds| Ok(Rounded(seconds?)));
    print(&Links {
        test: "fanout, links",
        system,
        agents: case.agents,
        received_at: received_at.collect::<anyhow::Result<_>>()?,
        source_up,
        agents_up,
        agents_down,
        dropped_percent: dropped.map(|(dropped, passed)| Rounded(dropped as f64 / passed as f64 * 100.0)),
        ended: seconds.iter().map(|seconds| Rounded(*seconds)).collect(),
        told,
    })
}
