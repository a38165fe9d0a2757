//! Pushes and pulls that go on while something else happens.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rdcq::Seat;

use crate::cluster::{Cluster, poll, tag_of};
use crate::file::{File, MIB};

/// Large enough for some pieces, small enough for many rounds.
const SIZE: usize = MIB / 2;

/// Pushes and pulls that went on.
pub(crate) struct Load<'a> {
    cluster: &'a Cluster,
    agents: &'a [Seat],
    rounds: &'a [AtomicUsize],
}

/// Does something while each of the agents pulls again and again what nobody has pulled before, and returns how many
/// pulls there were. Each of them must end well, with the right bytes.
pub(crate) fn under_load(cluster: &Cluster, agents: &[Seat], during: impl FnOnce(&Load<'_>)) -> usize {
    let stop = AtomicBool::new(false);
    let rounds: Vec<AtomicUsize> = agents.iter().map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|threads| {
        for (agent, rounds) in agents.iter().zip(&rounds) {
            let stop = &stop;
            threads.spawn(move || {
                // Whoever waits for rounds sees that there are no more.
                let _stopping = OnDrop(|| stop.store(true, Ordering::Relaxed));
                while !stop.load(Ordering::Relaxed) {
                    round(cluster, *agent, rounds.load(Ordering::Relaxed));
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stopping = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let load = Load { cluster, agents, rounds: &rounds };
        load.more();
        during(&load);
        load.more();
    });
    rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).sum()
}

impl Load<'_> {
    /// Waits until each agent has pulled twice more: once wholly after now.
    #[track_caller]
    pub(crate) fn more(&self) {
        let now: Vec<usize> = self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect();
        for ((agent, rounds), now) in self.agents.iter().zip(self.rounds).zip(now) {
            let went_on = poll(|| (rounds.load(Ordering::Relaxed) >= now + 2).then_some(()));
            assert!(went_on.is_some(), "{agent} does not pull any more: {}", self.cluster.log(*agent));
        }
    }
}

/// A file that nobody has, there and back.
fn round(cluster: &Cluster, agent: Seat, round: usize) {
    let len = SIZE + 2 * round + agent.number as usize % 2;
    let file = File::create(cluster.path(&format!("load-{len}")), len);
    let pushed = cluster.begin_push(&file).end();
    assert!(pushed.is_success(), "{agent}, push {round}: {pushed:?}");
    let pulled = cluster.begin_pull(&tag_of(&pushed), agent).end();
    assert!(pulled.is_success(), "{agent}, pull {round}: {pulled:?}\n{}", cluster.log(agent));
    cluster.check_pulled(agent, &file);
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
