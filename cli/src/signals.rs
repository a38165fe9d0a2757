//! SIGINT, SIGTERM and SIGHUP.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// What a SIGHUP means to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// The terminal is gone, and the command with it, unless it was started to outlive the terminal.
    Ends,
    /// Nothing that ends the command.
    Stays,
}

/// From here on the signals that end a command no longer end the process by themselves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    pub(crate) fn listen(hangup: Hangup) -> Result<Self, Failure> {
        let hangup = (hangup == Hangup::Ends && !is_hangup_ignored()).then(hangups).transpose()?;
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    /// Does `work`, unless a signal comes first.
    pub(crate) async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.next() => Err(Failure::interrupted()),
            done = work => done,
        }
    }

    /// Lets `drain` end, unless another signal says that it takes too long.
    pub(crate) async fn hurry(&mut self, drain: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.next() => {}
            () = drain => {}
        }
    }
}

/// From here on a SIGHUP no longer ends the process by itself.
pub(crate) fn hangups() -> Result<Signal, Failure> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::other(format!("cannot listen for signals: {error}")))
}

/// Whether whoever started the process made it ignore hangups, as nohup does; listening would undo that.
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}
