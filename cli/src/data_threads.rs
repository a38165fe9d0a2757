//! Threads for what saturates a machine, so that the one that answers small questions is never behind it.

mod moderation;

use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rdcq_runtime::Host;
use rdcq_transport::{DataThread, Udp};
use tokio::runtime::Builder;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::moderation::Moderation;
use crate::failure::Failure;

/// More would share the caches of one socket's bytes for nothing.
const MOST: usize = 8;

/// One thread a core, each with a single-threaded runtime for one data socket of every node in this process. They end with
/// this handle.
pub struct DataThreads {
    threads: Vec<DataThread>,
    _stop: DropGuard,
}

impl DataThreads {
    /// Starts them.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
        let stop = CancellationToken::new();
        let threads = (0..count).map(|number| start(number, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { threads, _stop: stop.drop_guard() })
    }

    /// The machine's own host, whose nodes move their data on these threads.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, on which everything else runs.
    pub fn host(&self) -> Host {
        let network = Udp::with_data_threads(self.threads.clone());
        Host { network: Arc::new(network), ..Host::system() }
    }
}

/// Starts the threads for a command that runs nodes.
pub(crate) fn data_threads() -> Result<DataThreads, Failure> {
    DataThreads::start()
        .map_err(|error| Failure::other(format!("cannot start the threads for data: {error}")))
}

impl fmt::Debug for DataThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataThreads").field("count", &self.threads.len()).finish_non_exhaustive()
    }
}

fn start(number: usize, stop: CancellationToken) -> io::Result<DataThread> {
    let received = Arc::<AtomicU64>::default();
    let moderation = Mutex::new(Moderation::new(Arc::clone(&received)));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || moderation.lock().unwrap_or_else(PoisonError::into_inner).park())
        .build()?;
    let thread = DataThread { handle: runtime.handle().clone(), received };
    thread::Builder::new()
        .name(format!("data-{number}"))
        .spawn(move || runtime.block_on(stop.cancelled()))?;
    Ok(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_runs_on_a_data_thread_runs_on_no_other() {
        let threads = DataThreads::start().unwrap();
        let mut names = Vec::new();
        for thread in &threads.threads {
            let name = thread.handle.spawn(async { thread::current().name().map(str::to_owned) });
            names.push(name.await.unwrap().unwrap());
        }
        let wanted: Vec<_> = (0..threads.threads.len()).map(|number| format!("data-{number}")).collect();
        assert_eq!(names, wanted);
    }

    #[tokio::test]
    async fn the_threads_end_with_their_handle() {
        let threads = DataThreads::start().unwrap();
        let handle = threads.threads[0].handle.clone();
        drop(threads);
        // Its runtime drops what it is given once it is gone, or a moment before.
        assert!(handle.spawn(std::future::pending::<()>()).await.unwrap_err().is_cancelled());
    }
}
