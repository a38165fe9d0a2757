//! What a pool knows of each address.

use std::collections::BTreeMap;
use std::time::Duration;

use rdcq_env::watch;
use tokio::time::Instant;

use crate::link::Side;
use crate::{ConnectError, Connection};

use super::{Dialled, Key};

/// How long after a first failure the next dial waits at most; each further one doubles it.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// How long a dial waits at most: a server that is back is found soon.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// How long failures are remembered after the next dial is due.
const GRUDGE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Slots {
    by_key: BTreeMap<Key, Slot>,
    /// Counts uses, so that the slot used longest ago is known.
    uses: u64,
}

enum Slot {
    Dialling {
        dialled: watch::Receiver<Dialled>,
        /// The peer has dialled, too.
        inbound: Option<Connection>,
        failures: u32,
    },
    Open {
        connection: Connection,
        used: u64,
    },
    Failed {
        error: ConnectError,
        failures: u32,
        /// When the next dial is due.
        until: Instant,
    },
}

/// What a slot has for whoever asks.
pub(super) enum Found {
    Open(Connection),
    Wait(watch::Receiver<Dialled>),
    Dial(watch::Sender<Dialled>, watch::Receiver<Dialled>),
    Later { until: Instant, error: ConnectError },
}

impl Slots {
    pub(super) fn look_up(&mut self, key: Key, now: impl FnOnce() -> Instant) -> Found {
        self.uses += 1;
        let failures = match self.by_key.get_mut(&key) {
            Some(Slot::Open { connection, used }) if connection.is_usable() => {
                *used = self.uses;
                return Found::Open(connection.clone());
            }
            Some(Slot::Dialling { dialled, .. }) => return Found::Wait(dialled.clone()),
            Some(Slot::Failed { until, error, .. }) if now() < *until => {
                return Found::Later { until: *until, error: error.clone() };
            }
            Some(Slot::Failed { failures, .. }) => *failures,
            _ => 0,
        };
        let (result, dialled) = watch::channel(None);
        self.by_key.insert(key, Slot::Dialling { dialled: dialled.clone(), inbound: None, failures });
        Found::Dial(result, dialled)
    }

    /// Ends a dial. `stays` says whether what was dialled stays if the peer has dialled, too; `jitter`, from 0 to 1, is
    /// by how much less than it might the next dial waits if it failed.
    pub(super) fn settle_dial(
        &mut self,
        key: Key,
        dialled: Result<Connection, ConnectError>,
        stays: bool,
        now: Instant,
        jitter: f64,
    ) -> Result<Connection, ConnectError> {
        self.uses += 1;
        let (inbound, failures) = match self.by_key.remove(&key) {
            Some(Slot::Dialling { inbound, failures, .. }) => (inbound, failures),
            _ => (None, 0),
        };
        let inbound = inbound.filter(Connection::is_usable);
        let settled = match (dialled, inbound) {
            (Ok(dialled), Some(_)) if stays => Ok(dialled),
            (_, Some(inbound)) => Ok(inbound),
            (dialled, None) => dialled,
        };
        let slot = match &settled {
            Ok(connection) => Slot::Open { connection: connection.clone(), used: self.uses },
            Err(error) => {
                let until = now + backoff(failures, jitter);
                Slot::Failed { error: error.clone(), failures: failures.saturating_add(1), until }
            }
        };
        self.by_key.insert(key, slot);
        settled
    }

    /// Takes a connection in that the peer has opened. `stays` says whether it stays if there is another.
    pub(super) fn take_in(&mut self, key: Key, connection: Connection, stays: bool) {
        match self.by_key.get_mut(&key) {
            Some(Slot::Dialling { inbound, .. }) => {
                *inbound = Some(connection);
            }
            // Nobody has asked for it yet: a crowd that connects must not push out what this node uses.
            None => drop(self.by_key.insert(key, Slot::Open { connection, used: 0 })),
            // A peer that has dialled before and does so again has lost the first one.
            Some(Slot::Open { connection: kept, .. })
                if kept.is_usable() && kept.link().side == Side::Dialled && !stays => {}
            Some(slot) => {
                let used = if let Slot::Open { used, .. } = slot { *used } else { 0 };
                *slot = Slot::Open { connection, used };
            }
        }
    }

    /// Lets go of connections that nobody holds and that were not used for `idle`, and of those older than `age`, whose
    /// successors are then not all dialled at once.
    pub(super) fn expire(&mut self, idle: Duration, age: Duration) {
        self.by_key.retain(|(addr, _), slot| match slot {
            Slot::Open { connection, .. } => {
                let link = connection.link();
                let spread = f64::from(addr.port() % 64) / 640.0;
                (connection.is_shared() || link.idle() < idle) && link.age() < age.mul_f64(1.0 - spread)
            }
            Slot::Dialling { .. } | Slot::Failed { .. } => true,
        });
    }

    /// Lets go of what is of no use. Looks at every connection, so it is done seldom.
    pub(super) fn forget(&mut self, now: Instant) {
        self.by_key.retain(|_, slot| match slot {
            Slot::Open { connection, .. } => connection.is_usable(),
            Slot::Dialling { .. } => true,
            Slot::Failed { until, .. } => now < *until + GRUDGE,
        });
    }

    /// Makes room while there are more than `max`: first go failures and what peers have opened, which stays open, then what
    /// is of no use, then what this node has opened; each time what was used longest ago.
    pub(super) fn tidy(&mut self, max: usize, now: Instant) {
        self.make_room(max, false);
        if self.by_key.len() > max {
            self.forget(now);
            self.make_room(max, true);
        }
    }

    fn make_room(&mut self, max: usize, also_dialled: bool) {
        while self.by_key.len() > max {
            let spare = self.by_key.iter().filter_map(|(key, slot)| match slot {
                Slot::Open { connection, used } => {
                    let spare = also_dialled || connection.link().side == Side::Accepted;
                    spare.then_some((*used, *key))
                }
                Slot::Failed { .. } => Some((0, *key)),
                Slot::Dialling { .. } => None,
            });
            let Some((_, oldest)) = spare.min() else { return };
            self.by_key.remove(&oldest);
        }
    }
}

/// How long the next dial waits after so many failures before this one: between half of it and all of it, so that those
/// who lost a server together do not come back together.
fn backoff(failures: u32, jitter: f64) -> Duration {
    let longest = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_BACKOFF);
    longest.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_longest_and_is_spread() {
        let ms = |failures, jitter| backoff(failures, jitter).as_millis();
        assert_eq!([0, 1, 2, 5, 6, 99].map(|failures| ms(failures, 0.0)), [100, 200, 400, 3200, 5000, 5000]);
        assert_eq!((ms(0, 1.0), ms(99, 1.0), ms(2, 0.5)), (50, 2500, 300));
    }

    #[test]
    fn a_failed_dial_is_due_again_later_and_forgotten_after_a_while() {
        let (mut slots, start) = (Slots::default(), Instant::now());
        let key: Key = ("10.0.0.1:7400".parse().unwrap(), rdcq_wire::Role::Origin);
        let error = ConnectError::TimedOut { addr: key.0 };
        let mut now = start;
        for wait in [100, 200, 400] {
            assert!(matches!(slots.look_up(key, || now), Found::Dial(..)));
            assert!(matches!(slots.look_up(key, || now), Found::Wait(_)), "one dial at a time");
            assert!(slots.settle_dial(key, Err(error.clone()), true, now, 0.0).is_err());
            let due = now + Duration::from_millis(wait);
            match slots.look_up(key, || due - Duration::from_millis(1)) {
                Found::Later { until, error: why } => assert_eq!((until, &why), (due, &error)),
                _ => panic!("it is not due for {wait} ms"),
            }
            now = due;
        }
        slots.forget(now + GRUDGE - Duration::from_millis(1));
        assert_eq!(slots.by_key.len(), 1);
        slots.forget(now + GRUDGE);
        assert!(slots.by_key.is_empty());
    }

    #[test]
    fn failures_make_room_and_dials_do_not() {
        let (mut slots, now) = (Slots::default(), Instant::now());
        let keys = [1, 2, 3].map(|port| (([10, 0, 0, 1], port).into(), rdcq_wire::Role::Origin));
        let dials = keys.map(|key| slots.look_up(key, || now));
        let error = ConnectError::TimedOut { addr: keys[1].0 };
        assert!(slots.settle_dial(keys[1], Err(error), true, now, 0.0).is_err());
        slots.tidy(1, now);
        assert_eq!(slots.by_key.keys().copied().collect::<Vec<_>>(), [keys[0], keys[2]]);
        drop(dials);
    }
}
