//! The environment that a node runs in.

use std::io;
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use crate::desk::{self, NONCE_LEN};
use crate::{Desk, DeskName, DeskToken, Disk, DiskFile, SimDesks, SimDisk, SystemDisk};

/// Clock, randomness, disk and executors. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Env {
    shared: Arc<Shared>,
    /// Where tasks run.
    tasks: Handle,
}

struct Shared {
    world: World,
    /// All other generators are drawn from this one, so that one seed decides a whole simulation.
    root: Mutex<StdRng>,
    disk: Arc<dyn Disk>,
    /// Whose threads blocking work runs on.
    blocking: Handle,
}

enum World {
    System,
    Simulated { since: Instant, tasks: Mutex<Tasks>, desks: Option<SimDesks> },
}

/// The tasks of a simulated node.
enum Tasks {
    Alive(Vec<AbortHandle>),
    Killed,
}

impl Env {
    /// Where a simulation's wall clock starts: 2026-01-01 00:00 UTC, in milliseconds since 1970.
    pub const SIMULATED_EPOCH_MS: u64 = 1_767_225_600_000;

    /// The machine's own clock, randomness and disk.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: tasks and blocking work run on the one it is called in.
    pub fn system() -> Self {
        Self::new(World::System, StdRng::from_os_rng(), Arc::new(SystemDisk))
    }

    /// A world that `seed` decides: virtual time, `disk`, and blocking work done where it is asked for.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, which should be single-threaded and paused.
    pub fn simulated(seed: u64, disk: SimDisk) -> Self {
        Self::simulated_with(seed, disk, None)
    }

    /// As [`Self::simulated`], on the machine that these desks are on. A world without any has no desks at all.
    pub fn simulated_at(seed: u64, disk: SimDisk, desks: SimDesks) -> Self {
        Self::simulated_with(seed, disk, Some(desks))
    }

    fn simulated_with(seed: u64, disk: SimDisk, desks: Option<SimDesks>) -> Self {
        let tasks = Mutex::new(Tasks::Alive(Vec::new()));
        let world = World::Simulated { since: Instant::now(), tasks, desks };
        Self::new(world, StdRng::seed_from_u64(seed), Arc::new(disk))
    }

    fn new(world: World, root: StdRng, disk: Arc<dyn Disk>) -> Self {
        let tasks = Handle::current();
        let shared = Shared { world, root: Mutex::new(root), disk, blocking: tasks.clone() };
        Self { shared: Arc::new(shared), tasks }
    }

    /// The same environment, whose tasks run elsewhere. Blocking work stays where it was.
    pub fn with_tasks_on(&self, tasks: Handle) -> Self {
        Self { shared: Arc::clone(&self.shared), tasks }
    }

    /// The monotonic clock, for everything that measures or waits.
    pub fn now(&self) -> Instant {
        Instant::now()
    }

    /// The wall clock in milliseconds since 1970-01-01 UTC; only for records and certificates.
    pub fn unix_ms(&self) -> u64 {
        let (epoch, since) = match self.shared.world {
            World::System => (0, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
            World::Simulated { since, .. } => (Self::SIMULATED_EPOCH_MS, since.elapsed()),
        };
        u64::try_from(since.as_millis()).map_or(u64::MAX, |ms| ms.saturating_add(epoch))
    }

    /// A new generator, seeded from the environment's own.
    pub fn rng(&self) -> StdRng {
        StdRng::from_rng(&mut *self.root())
    }

    /// A random number from the environment's own generator.
    pub fn random_u64(&self) -> u64 {
        self.root().next_u64()
    }

    /// Random bytes from the environment's own generator; on a real machine nobody can guess them.
    pub fn random_bytes<const LEN: usize>(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        self.root().fill_bytes(&mut bytes);
        bytes
    }

    fn root(&self) -> std::sync::MutexGuard<'_, StdRng> {
        self.shared.root.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk. Its calls block: make them inside [`Self::blocking`].
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.shared.disk
    }

    /// Opens a desk, at which open files are handed to other processes of this machine.
    ///
    /// # Errors
    ///
    /// Where there are no abstract Unix sockets, or no descriptor is left for one.
    ///
    /// # Panics
    ///
    /// On a real machine, outside a tokio runtime.
    pub fn open_desk(&self) -> io::Result<Desk> {
        let name = DeskName::from_bytes(self.random_bytes::<NONCE_LEN>());
        Desk::open(self.clone(), name, self.desks())
    }

    /// Picks up a file at a desk of this machine, opened for reading.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionRefused`]: no desk of this machine has the name. [`io::ErrorKind::NotFound`]: it has no file
    /// for the token, or no longer. [`io::ErrorKind::InvalidInput`]: it handed out what is no regular file.
    /// [`io::ErrorKind::TimedOut`]: nothing came within `patience`. Others: the system's, of the socket.
    pub async fn pick_up(
        &self,
        desk: DeskName,
        token: DeskToken,
        patience: Duration,
    ) -> io::Result<Arc<dyn DiskFile>> {
        if self.is_simulated() && self.desks().is_none() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        desk::pick_up(desk, token, patience, self.desks()).await
    }

    fn desks(&self) -> Option<&SimDesks> {
        match &self.shared.world {
            World::System => None,
            World::Simulated { desks, .. } => desks.as_ref(),
        }
    }

    /// Runs a task of its own.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = self.tasks.spawn(future);
        if let World::Simulated { tasks, .. } = &self.shared.world {
            tasks.lock().unwrap_or_else(PoisonError::into_inner).add(task.abort_handle());
        }
        task
    }

    /// Ends a simulated node's tasks where they stand, as `kill -9` does; what it spawns from now on ends at once. The
    /// tasks are gone when the runtime has had its next turn.
    ///
    /// # Panics
    ///
    /// On a real machine, where processes are killed from outside.
    pub fn kill(&self) {
        let World::Simulated { tasks, .. } = &self.shared.world else {
            panic!("only a simulated node is killed from within");
        };
        let killed =
            std::mem::replace(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner), Tasks::Killed);
        if let Tasks::Alive(tasks) = killed {
            tasks.iter().for_each(AbortHandle::abort);
        }
    }

    /// Does work that blocks or computes for long, off the tasks' threads; in a simulation right here.
    ///
    /// Work once started runs to its end even if this future is dropped. A panic of the work panics here.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.is_simulated() {
            return work();
        }
        joined(self.shared.blocking.spawn_blocking(work)).await
    }

    /// Runs a future in a task of its own and waits for it: for work that must not stop half-way because whoever waits
    /// is dropped. A panic of the future panics here.
    pub async fn run_to_end<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        joined(self.spawn(future)).await
    }

    /// Whether time and disk are simulated.
    pub fn is_simulated(&self) -> bool {
        matches!(self.shared.world, World::Simulated { .. })
    }
}

impl Tasks {
    fn add(&mut self, task: AbortHandle) {
        match self {
            Self::Killed => task.abort(),
            Self::Alive(tasks) => {
                // Full is the moment to look which have ended: then the vector does not grow without bound.
                if tasks.len() == tasks.capacity() {
                    tasks.retain(|task| !task.is_finished());
                }
                tasks.push(task);
            }
        }
    }
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => panic::resume_unwind(payload),
            // The runtime is shutting down and took the work back; it drops whoever waits, too.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_seed_decides_the_random_numbers_of_a_simulation() {
        let draw = |seed| {
            let env = Env::simulated(seed, SimDisk::new());
            [env.random_u64(), env.rng().next_u64(), env.rng().next_u64(), env.random_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7)[1], draw(7)[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_simulation_s_wall_clock_follows_virtual_time_from_a_fixed_epoch() {
        let env = Env::simulated(1, SimDisk::new());
        assert_eq!(env.unix_ms(), Env::SIMULATED_EPOCH_MS);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(env.unix_ms(), Env::SIMULATED_EPOCH_MS + 60_000);
    }

    #[tokio::test]
    async fn the_system_s_wall_clock_is_past_the_simulation_s_epoch() {
        assert!(Env::system().unix_ms() > Env::SIMULATED_EPOCH_MS);
    }

    #[tokio::test]
    async fn a_panic_of_blocking_work_panics_where_it_is_awaited() {
        let env = Env::system();
        let waiting = env.clone();
        let task = env.spawn(async move { waiting.blocking(|| panic!("the work broke")).await });
        let payload = task.await.unwrap_err().into_panic();
        assert_eq!(*payload.downcast_ref::<&str>().unwrap(), "the work broke");
    }

    #[tokio::test(start_paused = true)]
    async fn work_run_to_its_end_outlives_whoever_waits() {
        let env = Env::simulated(1, SimDisk::new());
        let (done, ended) = tokio::sync::oneshot::channel();
        let work = env.run_to_end(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            done.send(()).unwrap();
        });
        assert!(tokio::time::timeout(Duration::from_secs(1), work).await.is_err());
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn tasks_may_run_on_another_runtime() {
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let elsewhere = Env::system().with_tasks_on(other.handle().clone());
        let runtime = elsewhere.spawn(async { Handle::current().id() }).await.unwrap();
        assert_eq!(runtime, other.handle().id());
        assert_ne!(runtime, Handle::current().id());
        other.shutdown_background();
    }

    #[tokio::test(start_paused = true)]
    async fn a_killed_node_s_tasks_end_where_they_stand_and_no_new_one_lives() {
        let (dying, other) = (Env::simulated(1, SimDisk::new()), Env::simulated(2, SimDisk::new()));
        let sleep = || tokio::time::sleep(Duration::from_secs(1));
        let (before, bystander) = (dying.spawn(sleep()), other.spawn(sleep()));
        tokio::task::yield_now().await;
        dying.kill();
        let after = dying.spawn(sleep());
        assert!(before.await.unwrap_err().is_cancelled());
        assert!(after.await.unwrap_err().is_cancelled());
        bystander.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn blocking_work_of_a_simulation_runs_on_the_caller_s_thread() {
        let env = Env::simulated(1, SimDisk::new());
        let here = std::thread::current().id();
        assert_eq!(env.blocking(|| std::thread::current().id()).await, here);
    }
}
