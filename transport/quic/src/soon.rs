//! Time limits for what is mostly done at once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// As tokio's `timeout`, but sets no timer for what is ready when it is first looked at: for small requests, the timers
/// would cost as much as the rest. The limit counts from that first look.
pub(crate) const fn within<S>(limit: Duration, step: S) -> Limited<S> {
    Limited { step, limit: Limit::Within(limit), timer: None }
}

/// The same up to a point in time.
pub(crate) const fn until<S>(deadline: Instant, step: S) -> Limited<S> {
    Limited { step, limit: Limit::Until(deadline), timer: None }
}

/// It took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late;

enum Limit {
    Within(Duration),
    Until(Instant),
}

impl Limit {
    fn timer(&self) -> Sleep {
        match *self {
            Self::Within(limit) => sleep(limit),
            Self::Until(deadline) => sleep_until(deadline),
        }
    }
}

pin_project! {
    /// A step that may take a limited time. Not an `async fn`, which would keep the step twice, and each around it twice
    /// that: requests would be some kilobytes.
    pub(crate) struct Limited<S> {
        #[pin]
        step: S,
        limit: Limit,
        // Boxed, for most never have one.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<S: Future> Future for Limited<S> {
    type Output = Result<S::Output, Late>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(done) = this.step.poll(context) {
            return Poll::Ready(Ok(done));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(this.limit.timer()));
        timer.as_mut().poll(context).map(|()| Err(Late))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_is_done_also_when_no_time_is_left() {
        assert_eq!(within(Duration::ZERO, async { 1 }).await, Ok(1));
        assert_eq!(until(Instant::now(), async { 2 }).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_is_given_up_in_time() {
        let begun = Instant::now();
        assert_eq!(within(Duration::from_secs(3), std::future::pending::<()>()).await, Err(Late));
        assert_eq!(until(begun + Duration::from_secs(5), std::future::pending::<()>()).await, Err(Late));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }

    #[test]
    fn a_step_is_kept_once() {
        let step = async {
            let kept = [0_u8; 1000];
            std::future::pending::<()>().await;
            kept
        };
        let size = size_of_val(&step);
        assert!(size_of_val(&within(Duration::ZERO, step)) <= size + 40);
    }
}
