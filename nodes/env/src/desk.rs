//! Desks: where one process hands open files to others on its machine.
//!
//! A [`Desk`] has a name that nobody can guess. Whoever comes says a token, and gets the file that stands behind it, opened
//! for reading, or nothing. Who may have which token is not the desk's business: it asks whoever serves at it. On a real
//! machine a desk is a Unix socket and a file goes over as its descriptor; in a simulation the file itself goes from hand
//! to hand among those who share their [`SimDesks`].

mod simulated;
mod system;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

pub use self::simulated::SimDesks;

use self::simulated::{SimDoor, SimGuest};
use crate::{DiskFile, Env};

/// Bytes of a name and of a token.
pub const NONCE_LEN: usize = 16;
/// Guests attended to at a time. Who is honest says the token at once and is gone.
const MAX_GUESTS: usize = 16;
/// How long a guest may take to say a token.
const GUEST_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a guest could not be let in, as when the process has no descriptor left.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// What a desk is found by: random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeskName([u8; NONCE_LEN]);

/// What a file is picked up with: random bytes, kept out of logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeskToken([u8; NONCE_LEN]);

impl DeskName {
    /// A name that somebody told.
    pub const fn from_bytes(bytes: [u8; NONCE_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes to tell somebody.
    pub const fn as_bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }
}

impl DeskToken {
    /// A token that somebody told, or that was drawn at random.
    pub const fn from_bytes(bytes: [u8; NONCE_LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes to tell somebody.
    pub const fn as_bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }
}

impl fmt::Debug for DeskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeskToken(..)")
    }
}

/// A desk that is found under its name; dropped, it is gone.
pub struct Desk {
    env: Env,
    name: DeskName,
    door: Door,
}

enum Door {
    System(UnixListener),
    Simulated(SimDoor),
}

/// Somebody who came and has yet to say a token.
enum Guest {
    System(UnixStream),
    Simulated(SimGuest),
}

impl Desk {
    pub(crate) fn open(env: Env, name: DeskName, desks: Option<&SimDesks>) -> io::Result<Self> {
        let door = match desks {
            None if env.is_simulated() => return Err(io::ErrorKind::Unsupported.into()),
            None => Door::System(system::bind(name)?),
            Some(desks) => Door::Simulated(desks.open(name)),
        };
        Ok(Self { env, name, door })
    }

    /// What it is found by.
    pub const fn name(&self) -> DeskName {
        self.name
    }

    /// Attends to whoever comes, for as long as this future is kept: `find` says which file stands behind a token, if any.
    ///
    /// A guest gets one file or nothing. At most [`MAX_GUESTS`] are attended to at a time; one more sends the oldest away,
    /// so that those who come and say nothing keep nobody waiting.
    pub async fn serve<F, W>(mut self, find: F)
    where
        F: Fn(DeskToken) -> W + Send + Sync + 'static,
        W: Future<Output = Option<Arc<dyn DiskFile>>> + Send + 'static,
    {
        let find = Arc::new(find);
        let mut guests = Guests::default();
        loop {
            let Ok(guest) = self.door.next().await else {
                sleep(AFTER_REFUSAL).await;
                continue;
            };
            let find = Arc::clone(&find);
            guests.attend(&self.env, async move { attend(guest, &*find).await }).await;
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whatever goes wrong with a guest is the guest's loss.
async fn attend<F, W>(mut guest: Guest, find: &F)
where
    F: Fn(DeskToken) -> W,
    W: Future<Output = Option<Arc<dyn DiskFile>>>,
{
    let Ok(Ok(token)) = timeout(GUEST_PATIENCE, guest.token()).await else { return };
    if let Some(file) = find(token).await {
        let _ = guest.give(file).await;
    }
}

/// Those who are attended to.
struct Guests {
    room: Arc<Semaphore>,
    /// The oldest first.
    attended: VecDeque<AbortHandle>,
}

impl Default for Guests {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(MAX_GUESTS)), attended: VecDeque::new() }
    }
}

impl Guests {
    async fn attend(&mut self, env: &Env, attending: impl Future<Output = ()> + Send + 'static) {
        self.attended.retain(|guest| !guest.is_finished());
        if self.room.available_permits() == 0
            && let Some(oldest) = self.attended.pop_front()
        {
            oldest.abort();
        }
        let room = Arc::clone(&self.room).acquire_owned().await.expect("it is never closed");
        let task = env.spawn(async move {
            attending.await;
            drop(room);
        });
        self.attended.push_back(task.abort_handle());
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.attended.iter().for_each(AbortHandle::abort);
    }
}

impl Door {
    async fn next(&mut self) -> io::Result<Guest> {
        match self {
            Self::System(listener) => Ok(Guest::System(listener.accept().await?.0)),
            Self::Simulated(door) => Ok(Guest::Simulated(door.next().await)),
        }
    }
}

impl Guest {
    async fn token(&mut self) -> io::Result<DeskToken> {
        match self {
            Self::System(stream) => system::read_token(stream).await,
            Self::Simulated(guest) => Ok(guest.token()),
        }
    }

    async fn give(self, file: Arc<dyn DiskFile>) -> io::Result<()> {
        match self {
            Self::System(stream) => system::send_file(&stream, &*file).await,
            Self::Simulated(guest) => guest.give(file),
        }
    }
}

pub(crate) async fn pick_up(
    name: DeskName,
    token: DeskToken,
    patience: Duration,
    desks: Option<&SimDesks>,
) -> io::Result<Arc<dyn DiskFile>> {
    let picking_up = async {
        match desks {
            None => system::pick_up(name, token).await,
            Some(desks) => desks.pick_up(name, token).await,
        }
    };
    timeout(patience, picking_up).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The desk knows nothing of the token, or not any more.
fn nothing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the desk has no file for the token")
}
