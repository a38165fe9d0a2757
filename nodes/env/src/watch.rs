//! A value that many can wait on, who are woken in the order in which they began to wait.
//!
//! tokio's channel of this name wakes in an order that it draws at random, which would give a simulation two courses of
//! events for one seed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value, for one to set and many to wait on.
pub fn channel<T: Clone>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

/// Sets the value. Dropped, it closes the channel.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// Waits on the value.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<T> {
    value: T,
    version: u64,
    open: bool,
}

/// The sender is gone, and the value as it was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl<T: Clone> Sender<T> {
    /// A value that nobody waits on yet.
    pub fn new(value: T) -> Self {
        let state = Mutex::new(State { value, version: 0, open: true });
        Self(Arc::new(Shared { state, changed: Notify::new() }))
    }

    /// Sets the value and wakes who waits.
    pub fn send_replace(&self, value: T) {
        let mut state = self.0.lock();
        state.value = value;
        state.version += 1;
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Somebody more who waits, from the present value on.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: Arc::clone(&self.0), seen: self.0.lock().version }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().open = false;
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Receiver<T> {
    /// The present value.
    pub fn get(&self) -> T {
        self.shared.lock().value.clone()
    }

    /// The present value, which then counts as seen.
    pub fn see(&mut self) -> T {
        let state = self.shared.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// Whether the value may still change.
    pub fn is_open(&self) -> bool {
        self.shared.lock().open
    }

    /// Waits until the value is not the one seen, and sees it.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let shared = Arc::clone(&self.shared);
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed, also one made before the first poll.
            changed.as_mut().enable();
            {
                let state = self.shared.lock();
                if state.version != self.seen {
                    self.seen = state.version;
                    return Ok(());
                }
                if !state.open {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }

    /// Waits until the value is as wanted, and returns it.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<T, Closed> {
        loop {
            let value = self.see();
            if wanted(&value) {
                return Ok(value);
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_are_woken_in_the_order_in_which_they_wait() {
        let (sender, receiver) = channel(0);
        let (woken, mut order) = mpsc::unbounded_channel();
        for number in 0..20 {
            let (mut receiver, woken) = (receiver.clone(), woken.clone());
            tokio::spawn(async move {
                receiver.changed().await.unwrap();
                woken.send(number).unwrap();
            });
        }
        tokio::task::yield_now().await;
        sender.send_replace(1);
        for number in 0..20 {
            assert_eq!(order.recv().await, Some(number));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_value_is_seen_before_the_end() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        drop(sender);
        assert_eq!(receiver.changed().await, Ok(()));
        assert_eq!(receiver.get(), 1);
        assert_eq!(receiver.changed().await, Err(Closed));
        assert_eq!(receiver.clone().wait_for(|value| *value == 1).await, Ok(1));
        assert_eq!(receiver.wait_for(|value| *value == 2).await, Err(Closed));
    }
}
