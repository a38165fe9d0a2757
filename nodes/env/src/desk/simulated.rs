//! Desks of a simulated machine.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::{DeskName, DeskToken, MAX_GUESTS, nothing};
use crate::DiskFile;

/// The desks of a simulated machine. Clones share them: all who have one are on the same machine.
#[derive(Clone, Default)]
pub struct SimDesks(Arc<Mutex<BTreeMap<DeskName, mpsc::Sender<SimGuest>>>>);

/// A desk's side of its guests' way in.
pub(super) struct SimDoor {
    desks: SimDesks,
    name: DeskName,
    guests: mpsc::Receiver<SimGuest>,
}

/// Somebody who came.
pub(super) struct SimGuest {
    token: DeskToken,
    answer: oneshot::Sender<Arc<dyn DiskFile>>,
}

impl SimDesks {
    pub(super) fn open(&self, name: DeskName) -> SimDoor {
        let (way_in, guests) = mpsc::channel(MAX_GUESTS);
        self.lock().insert(name, way_in);
        SimDoor { desks: self.clone(), name, guests }
    }

    pub(super) async fn pick_up(&self, name: DeskName, token: DeskToken) -> io::Result<Arc<dyn DiskFile>> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let way_in = self.lock().get(&name).cloned().ok_or_else(gone)?;
        let (answer, file) = oneshot::channel();
        way_in.send(SimGuest { token, answer }).await.map_err(|_| gone())?;
        file.await.map_err(|_| nothing())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeskName, mpsc::Sender<SimGuest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDesks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDesks").field("open", &self.lock().len()).finish()
    }
}

impl SimDoor {
    pub(super) async fn next(&mut self) -> SimGuest {
        self.guests.recv().await.expect("the desks hold the other end for as long as this one is there")
    }
}

impl Drop for SimDoor {
    fn drop(&mut self) {
        self.desks.lock().remove(&self.name);
    }
}

impl SimGuest {
    pub(super) const fn token(&self) -> DeskToken {
        self.token
    }

    pub(super) fn give(self, file: Arc<dyn DiskFile>) -> io::Result<()> {
        self.answer.send(file).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
