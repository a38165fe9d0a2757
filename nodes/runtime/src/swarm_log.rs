//! The steps of downloads' swarms, as a log tells them, and the same steps once more.
//!
//! A node whose filter lets [`TARGET`] through at the level of traces (`RDCQ_LOG=info,rdcq::swarm_steps=trace`) logs what each swarm begins
//! with, what it is told at which time, and what it decides. [`replay`] reads such a log and does all of it to swarms of its own. A
//! decision that surprised somebody can so be looked at as often as they like, without a network.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::ops::Deref;

use rdcq_swarm::{Action, Difference, Event, Start, Step, Swarm, Time};
use serde::{Deserialize, Serialize};

/// What the log calls steps.
pub const TARGET: &str = "rdcq::swarm_steps";

/// One line of the log.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Which download's swarm: its seed, as no two are alike.
    swarm: u64,
    did: Did,
}

#[derive(Serialize, Deserialize)]
enum Did {
    Start(Box<Start>),
    Step(Step),
}

/// A swarm whose steps are logged if that was wanted when it began. Whatever changes it goes through here.
pub(crate) struct LoggedSwarm {
    swarm: Swarm,
    /// Its name in the log.
    log: Option<u64>,
}

impl LoggedSwarm {
    pub(crate) fn begin(start: Start) -> Self {
        let is_wanted = tracing::enabled!(target: TARGET, tracing::Level::TRACE);
        let log = is_wanted.then_some(start.seed);
        if let Some(swarm) = log {
            tell(swarm, Did::Start(Box::new(start.clone())));
        }
        Self { swarm: start.swarm(), log }
    }

    pub(crate) fn handle_event(&mut self, now: Time, event: Event) {
        if let Some(swarm) = self.log {
            tell(swarm, Did::Step(Step::Event(now, event.clone())));
        }
        self.swarm.handle_event(now, event);
    }

    pub(crate) fn handle_timeout(&mut self, now: Time) {
        if let Some(swarm) = self.log {
            tell(swarm, Did::Step(Step::Timeout(now)));
        }
        self.swarm.handle_timeout(now);
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        let action = self.swarm.poll_action();
        if let Some(swarm) = self.log {
            tell(swarm, Did::Step(Step::Action(action)));
        }
        action
    }
}

impl Deref for LoggedSwarm {
    type Target = Swarm;

    fn deref(&self) -> &Swarm {
        &self.swarm
    }
}

fn tell(swarm: u64, did: Did) {
    let line = serde_json::to_string(&Line { swarm, did }).expect("numbers, names and lists are JSON");
    tracing::trace!(target: TARGET, "{line}");
}

/// How much of a log was done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Replayed {
    /// Swarms whose beginning is in the log.
    pub swarms: u64,
    /// What was done to them.
    pub steps: u64,
    /// What they decided.
    pub actions: u64,
}

/// Why a log was not done again to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no log of this version.
    #[error("line {line} is no step of a swarm: {source}")]
    Line {
        /// The line's number.
        line: u64,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The log is not whole.
    #[error("line {line} is about a swarm whose beginning is not in the log")]
    Beginning {
        /// The line's number.
        line: u64,
    },
    /// A swarm decided otherwise.
    #[error("line {line}, after {} steps that were alike: {difference}", replayed.steps)]
    Different {
        /// The line's number.
        line: u64,
        /// What was alike.
        replayed: Replayed,
        /// What was not.
        difference: Difference,
    },
}

/// Does again what a log tells, as text, of swarms; its other lines do not matter.
pub fn replay(log: impl BufRead) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed::default();
    let mut swarms: BTreeMap<u64, Swarm> = BTreeMap::new();
    for (line, text) in (1..).zip(log.lines()) {
        let text = text?;
        let Some(step) = step_in(&text) else { continue };
        let Line { swarm, did } =
            serde_json::from_str(step).map_err(|source| ReplayError::Line { line, source })?;
        match did {
            Did::Start(start) => {
                replayed.swarms += 1;
                swarms.insert(swarm, start.swarm());
            }
            Did::Step(step) => {
                let swarm = swarms.get_mut(&swarm).ok_or(ReplayError::Beginning { line })?;
                let decided = matches!(step, Step::Action(Some(_)));
                step.repeat(swarm).map_err(|difference| ReplayError::Different {
                    line,
                    replayed,
                    difference,
                })?;
                replayed.steps += 1;
                replayed.actions += u64::from(decided);
            }
        }
    }
    Ok(replayed)
}

/// What a line of a log tells of a swarm, if it does: what it says of when, how grave and where comes before.
fn step_in(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(TARGET)?;
    rest.strip_prefix(": ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdcq_swarm::{PeerId, PeerKind, Settings};
    use rdcq_wire::Span;

    use super::*;

    const SWARM: u64 = 7;

    /// The lines of a swarm that hears of two agents and gets nothing from them.
    fn log() -> Vec<String> {
        let start = Start {
            settings: Settings::default(),
            lengths: vec![20_000; 100],
            have: vec![Span::new(3, 4)],
            seed: SWARM,
            now: Time::default(),
        };
        let mut swarm = start.clone().swarm();
        let mut did = vec![Did::Start(Box::new(start))];
        for round in 1..20_u32 {
            let now = Time(Duration::from_millis(u64::from(round) * 300));
            let peer = PeerId(round % 2);
            let event = match round {
                1 | 2 => Event::PeerJoined { peer, kind: PeerKind::Agent },
                _ => Event::PeerHas { peer, spans: vec![Span::new(round, 30)] },
            };
            swarm.handle_event(now, event.clone());
            swarm.handle_timeout(now);
            did.extend([Did::Step(Step::Event(now, event)), Did::Step(Step::Timeout(now))]);
            loop {
                let action = swarm.poll_action();
                did.push(Did::Step(Step::Action(action)));
                if action.is_none() {
                    break;
                }
            }
        }
        let json = |did| serde_json::to_string(&Line { swarm: SWARM, did }).unwrap();
        did.into_iter().map(|did| format!("2026-11-23T17:00:00Z TRACE {TARGET}: {}", json(did))).collect()
    }

    fn check(lines: &[String]) -> Result<Replayed, ReplayError> {
        replay(lines.join("\n").as_bytes())
    }

    #[test]
    fn a_log_leads_to_the_same_decisions_among_whatever_else_is_logged() {
        let mut lines = log();
        let steps = lines.len() as u64 - 1;
        lines.insert(1, "2026-11-23T17:00:00Z  INFO rdcq_agent: serving".to_owned());
        let replayed = check(&lines).unwrap();
        assert_eq!((replayed.swarms, replayed.steps), (1, steps));
        assert!(replayed.actions > 2, "{replayed:?}");
    }

    #[test]
    fn the_first_other_decision_is_told() {
        let mut lines = log();
        let place = lines.iter().position(|line| line.contains("Request")).unwrap();
        lines[place] = lines[place].replace("\"request\":0", "\"request\":1");
        let error = check(&lines).unwrap_err();
        let ReplayError::Different { line, replayed, difference } = &error else { panic!("{error}") };
        assert_eq!((*line, replayed.steps), (place as u64 + 1, place as u64 - 1), "{error}");
        assert_ne!(difference.before, difference.now, "{error}");
    }

    #[test]
    fn what_is_no_whole_log_is_refused() {
        let lines = log();
        let error = check(&lines[1..]).unwrap_err();
        assert!(matches!(error, ReplayError::Beginning { line: 1 }), "{error}");
        let cut = lines[1][..lines[1].len() - 3].to_owned();
        let error = check(&[lines[0].clone(), cut]).unwrap_err();
        assert!(matches!(error, ReplayError::Line { line: 2, .. }), "{error}");
    }
}
