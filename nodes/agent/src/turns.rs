//! How many downloads begin at once, and which.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::Env;
use rdcq_wire::{Class, Digest};
use tokio::sync::oneshot;

/// Downloads that have their turn at once: some seconds of a slow link in small files, and few enough that what each says to
/// trackers and neighbours stays little.
const AT_ONCE: usize = 16;
/// For how long a download holds up others: long ones go on beside them.
pub(crate) const LONGEST_TURN: Duration = Duration::from_secs(2);
/// What is asked for within so many milliseconds of the first counts as asked for at once. Hosts that begin within the same second do
/// not part ways for that, as they would by the hands of a clock.
const TOGETHER_MS: u64 = 10_000;

/// Lets downloads begin some at a time. What was asked for at once begins in the same order on every host, whatever order it was
/// asked for in, so that hosts which want the same files find one another at the same files.
#[derive(Clone)]
pub(crate) struct Turns {
    env: Env,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    taken: usize,
    waiting: BTreeMap<Place, oneshot::Sender<Turn>>,
    next: u64,
    /// When the first of what counts as asked for at once was, by the wall clock.
    together_since: u64,
}

/// What is due earlier comes first; the number tells two askers for one content apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    due: u64,
    digest: Digest,
    number: u64,
}

/// How much later than what is urgent something of a class is due, in units of [`TOGETHER_MS`]: ten minutes, an hour. However much
/// comes that is more urgent, everything has its turn.
const fn lag(class: Class) -> u64 {
    match class {
        Class::Urgent => 0,
        Class::Normal => 60,
        Class::Background => 360,
    }
}

/// A download's turn. Dropped, it is the next one's.
pub(crate) struct Turn(Arc<Mutex<State>>);

/// Somebody who waits. Dropped, they do no longer.
struct Waiting {
    state: Arc<Mutex<State>>,
    number: u64,
}

impl Turns {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, state: Arc::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn take(&self, class: Class, digest: Digest) -> Turn {
        let (waiting, turn) = {
            let mut state = locked(&self.state);
            let due = state.due(self.env.unix_ms(), class);
            if state.taken < AT_ONCE {
                state.taken += 1;
                return Turn(Arc::clone(&self.state));
            }
            let place = Place { due, digest, number: state.next };
            state.next += 1;
            let (tell, turn) = oneshot::channel();
            state.waiting.insert(place, tell);
            (Waiting { state: Arc::clone(&self.state), number: place.number }, turn)
        };
        let turn = turn.await;
        drop(waiting);
        // Whoever waits is told before it is forgotten.
        turn.unwrap_or_else(|_| Turn(Arc::clone(&self.state)))
    }

    /// Somebody wants what waits, and it matters to them.
    pub(crate) fn hasten(&self, class: Class, digest: Digest) {
        let mut state = locked(&self.state);
        let due = state.due(self.env.unix_ms(), class);
        let late = state.waiting.keys().filter(|place| place.digest == digest && place.due > due);
        for place in late.copied().collect::<Vec<_>>() {
            if let Some(tell) = state.waiting.remove(&place) {
                state.waiting.insert(Place { due, ..place }, tell);
            }
        }
    }
}

impl State {
    /// When what is asked for now is due, in milliseconds.
    fn due(&mut self, now: u64, class: Class) -> u64 {
        // Also if the clock was set back.
        if now.abs_diff(self.together_since) >= TOGETHER_MS {
            self.together_since = now;
        }
        self.together_since + lag(class) * TOGETHER_MS
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = locked(&self.0);
        let next = state.waiting.pop_first();
        match next {
            Some((_, tell)) => {
                drop(state);
                // One that has just given up drops its turn, which goes to the next.
                drop(tell.send(Self(Arc::clone(&self.0))));
            }
            None => state.taken -= 1,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        locked(&self.state).waiting.retain(|place, _| place.number != self.number);
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;
    use rdcq_env::SimDisk;

    use super::*;

    fn turns() -> (Turns, Vec<Turn>) {
        let turns = Turns::new(Env::simulated(1, SimDisk::new()));
        let taken = (0..AT_ONCE).map(|_| turns.take(Class::Normal, Digest::of(b"")).now_or_never().unwrap());
        let taken = taken.collect();
        (turns, taken)
    }

    fn wait(turns: &Turns, class: Class, name: &'static [u8]) -> BoxFuture<'static, Turn> {
        let turns = turns.clone();
        let mut waiting = async move { turns.take(class, Digest::of(name)).await }.boxed();
        assert!((&mut waiting).now_or_never().is_none());
        waiting
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_order_files_are_asked_for_in_their_order_is_the_same() {
        let begun = |names: [&'static [u8]; 3]| {
            let (turns, mut taken) = turns();
            let mut waiting = names.map(|name| (name, wait(&turns, Class::Normal, name)));
            let mut order = Vec::new();
            for _ in 0..3 {
                drop(taken.pop());
                for (name, future) in &mut waiting {
                    if order.contains(name) {
                        continue;
                    }
                    if let Some(turn) = future.now_or_never() {
                        order.push(*name);
                        // Held, so that only one goes at a time.
                        std::mem::forget(turn);
                    }
                }
            }
            order
        };
        assert_eq!(begun([b"a", b"b", b"c"]), begun([b"c", b"a", b"b"]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_at_once_is_told_by_the_first_of_it_and_not_by_the_clock() {
        for second in 0..TOGETHER_MS / 1000 {
            let (turns, mut taken) = turns();
            let until = 2 * TOGETHER_MS - turns.env.unix_ms() % TOGETHER_MS + 1000 * second;
            tokio::time::advance(Duration::from_millis(until)).await;
            // In the order of their digests.
            let mut names: [&'static [u8]; 2] = [b"a", b"b"];
            names.sort_by_key(|name| std::cmp::Reverse(Digest::of(name)));
            let mut early = wait(&turns, Class::Normal, names[0]);
            tokio::time::advance(Duration::from_millis(TOGETHER_MS - 1)).await;
            let mut late = wait(&turns, Class::Normal, names[1]);
            drop(taken.pop());
            let first = (&mut late).now_or_never();
            assert!(first.is_some() && (&mut early).now_or_never().is_none(), "begun in second {second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_urgent_goes_first_and_what_waits_longer_before_what_came_later() {
        let (turns, mut taken) = turns();
        let mut early = wait(&turns, Class::Normal, b"a");
        tokio::time::advance(Duration::from_millis(TOGETHER_MS)).await;
        let mut late: Vec<_> = [b"b", b"c", b"d", b"e"].map(|name| wait(&turns, Class::Normal, name)).into();
        let mut urgent = wait(&turns, Class::Urgent, b"f");
        drop(taken.pop());
        let first = (&mut urgent).now_or_never();
        assert!(first.is_some() && (&mut early).now_or_never().is_none());
        drop(taken.pop());
        assert!(late.iter_mut().all(|late| late.now_or_never().is_none()));
        assert!((&mut early).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_wants_it_most_counts_and_nothing_waits_for_ever() {
        let (turns, mut taken) = turns();
        let mut hastened = wait(&turns, Class::Background, b"a");
        let mut old = wait(&turns, Class::Normal, b"b");
        turns.hasten(Class::Urgent, Digest::of(b"a"));
        tokio::time::advance(Duration::from_secs(620)).await;
        let mut urgent = wait(&turns, Class::Urgent, b"c");
        drop(taken.pop());
        let first = (&mut hastened).now_or_never();
        assert!(first.is_some() && (&mut old).now_or_never().is_none());
        drop(taken.pop());
        let second = (&mut old).now_or_never();
        assert!(second.is_some() && (&mut urgent).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_costs_nobody_a_turn() {
        let (turns, taken) = turns();
        let given_up = wait(&turns, Class::Urgent, b"a");
        let told = wait(&turns, Class::Urgent, b"b");
        let mut last = wait(&turns, Class::Normal, b"c");
        drop(given_up);
        assert_eq!(locked(&turns.state).waiting.len(), 2);
        let mut taken = taken.into_iter();
        drop(taken.next());
        // Its turn has come, and it never looks.
        drop(told);
        assert!((&mut last).now_or_never().is_some());
        drop(taken);
        let free: Vec<_> =
            (0..AT_ONCE).filter_map(|_| turns.take(Class::Normal, Digest::of(b"")).now_or_never()).collect();
        assert_eq!(free.len(), AT_ONCE);
        assert_eq!(locked(&turns.state).taken, AT_ONCE);
    }
}
