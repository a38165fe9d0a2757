//! What agents made of those that lied to them.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde::Serialize;

use super::swarm::Swarm;
use crate::report::Rounded;

/// What an agent logs of one that it will never ask again; the node's name follows.
const BANNED: &str = "banned: it sent wrong bytes node=";

/// What was told wrong, and what came of it.
#[derive(Debug, Serialize)]
pub(super) struct Lies {
    liars: u8,
    /// Pairs of an agent and a liar that it was lied to by.
    lied_to: usize,
    /// Such pairs of which the agent has logged that it asks the liar no more, by the name in the liar's certificate.
    banned: usize,
    /// Requests that were answered with wrong pieces, and how many these were.
    answers: usize,
    wrong_pieces: u32,
    /// The most of these that one agent had from one liar.
    most_of_one: u32,
    /// Their bytes, by what all agents had to receive.
    wrong_bytes: Rounded,
}

impl Lies {
    /// Those of a swarm that has ended; an agent that took an honest one for a liar is an error, and so is one that believes a liar
    /// still.
    pub(super) fn of(swarm: &Swarm<'_>) -> anyhow::Result<Self> {
        let (mut told, mut bans) = (Vec::new(), BTreeSet::new());
        for liar in &swarm.liars {
            told.extend(liar.lies()?.into_iter().map(|lie| (liar.name.clone(), lie)));
        }
        for agent in &swarm.agents {
            let log = agent.log()?;
            let banned = log.lines().filter_map(|line| line.split_once(BANNED)?.1.split(' ').next());
            bans.extend(banned.map(|liar| (agent.name().to_owned(), liar.to_owned())));
        }
        let lied_to: BTreeSet<_> = told.iter().map(|(liar, lie)| (lie.to.clone(), liar.clone())).collect();
        ensure!(bans.is_subset(&lied_to), "banned without a lie: {:?}", bans.difference(&lied_to));
        let of = |(agent, liar): &(String, String)| {
            told.iter().filter(|(by, lie)| by == liar && lie.to == *agent).map(|(_, lie)| lie.pieces).sum()
        };
        let all = f64::from(swarm.case.agents) * swarm.case.bytes as f64;
        Ok(Self {
            liars: swarm.case.liars,
            lied_to: lied_to.len(),
            banned: bans.len(),
            answers: told.len(),
            wrong_pieces: told.iter().map(|(_, lie)| lie.pieces).sum(),
            most_of_one: lied_to.iter().map(of).max().unwrap_or(0),
            wrong_bytes: Rounded(told.iter().map(|(_, lie)| lie.bytes).sum::<u64>() as f64 / all),
        })
    }
}
