//! Telling which of the things that a task waits for has come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// Rung by what seldom comes, heard by a task that is mostly woken for something else: it need not look each time.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Bell {
    /// One that was rung: its task has not looked yet.
    pub(crate) const fn new() -> Self {
        Self { rung: AtomicBool::new(true), task: AtomicWaker::new() }
    }

    /// Wakes the task.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }

    /// Forgets the task, which is over.
    pub(crate) fn silence(&self) {
        drop(self.task.take());
    }

    /// Whether it was rung since the last look; wakes whoever looks when it is rung again.
    pub(crate) fn was_rung(&self, context: &Context<'_>) -> bool {
        // In this order: who rings in between is seen now or wakes.
        self.task.register(context.waker());
        self.rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicU32);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_ring_is_heard_once_and_wakes() {
        let (bell, task) = (Bell::new(), Arc::new(Task::default()));
        let waker = Waker::from(Arc::clone(&task));
        let context = Context::from_waker(&waker);
        assert_eq!([bell.was_rung(&context), bell.was_rung(&context)], [true, false]);
        bell.ring();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert_eq!([bell.was_rung(&context), bell.was_rung(&context)], [true, false]);
        bell.silence();
        bell.ring();
        assert_eq!(task.0.load(Ordering::Relaxed), 1, "nobody is woken any more");
    }
}
