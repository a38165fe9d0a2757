//! Time limits for what is mostly done at once.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

/// As tokio's `timeout`, but sets no timer for what is ready when it is first looked at: for small requests, the timers
/// would cost as much as the rest.
pub(crate) async fn within<T>(limit: Duration, step: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut step = pin!(step);
    match poll!(&mut step) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, step).await,
    }
}

/// The same up to a point in time.
pub(crate) async fn until<T>(deadline: Instant, step: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut step = pin!(step);
    match poll!(&mut step) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout_at(deadline, step).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_is_done_also_when_no_time_is_left() {
        assert_eq!(within(Duration::ZERO, async { 1 }).await.unwrap(), 1);
        assert_eq!(until(Instant::now(), async { 2 }).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_is_given_up_in_time() {
        let begun = Instant::now();
        assert!(within(Duration::from_secs(3), std::future::pending::<()>()).await.is_err());
        assert!(until(begun + Duration::from_secs(5), std::future::pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
    }
}
