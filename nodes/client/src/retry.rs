//! Trying again what may pass.

use std::time::Duration;

use rdcq_env::Env;

use crate::OperationError;

/// First pause between tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries until it succeeds, fails for good, or has failed for `patience` while `progress` stood still.
pub(crate) async fn until<T, F>(
    env: &Env,
    patience: Duration,
    progress: impl Fn() -> u64,
    mut attempt: impl FnMut() -> F,
) -> Result<T, OperationError>
where
    F: Future<Output = Result<T, OperationError>>,
{
    let mut give_up = env.now() + patience;
    let mut reached = progress();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt().await {
            Err(error) if error.is_passing() => error,
            outcome => return outcome,
        };
        if progress() != reached {
            reached = progress();
            give_up = env.now() + patience;
            pause = FIRST_PAUSE;
        }
        if env.now() + pause >= give_up {
            return Err(error);
        }
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rdcq_env::SimDisk;
    use rdcq_wire::ErrorCode;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Fails `failures` times, then succeeds; `progress` says how far it was after so many attempts.
    async fn check(
        code: ErrorCode,
        failures: u64,
        progress: impl Fn(u64) -> u64,
    ) -> Result<u64, OperationError> {
        let env = Env::simulated(1, SimDisk::new());
        let attempts = Cell::new(0);
        until(
            &env,
            PATIENCE,
            || progress(attempts.get()),
            || {
                attempts.set(attempts.get() + 1);
                let outcome = if attempts.get() > failures {
                    Ok(attempts.get())
                } else {
                    Err(OperationError::new(code, ""))
                };
                std::future::ready(outcome)
            },
        )
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_pass_is_tried_again_until_patience_ends() {
        assert_eq!(check(ErrorCode::Unavailable, 3, |_| 0).await.unwrap(), 4);
        assert_eq!(
            check(ErrorCode::Unavailable, 1000, |_| 0).await.unwrap_err().code,
            ErrorCode::Unavailable
        );
    }

    #[tokio::test(start_paused = true)]
    async fn patience_begins_anew_with_every_step_forward() {
        assert_eq!(check(ErrorCode::Busy, 1000, |attempts| attempts).await.unwrap(), 1001);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_an_error_at_once() {
        assert_eq!(check(ErrorCode::Conflict, 1, |_| 0).await.unwrap_err().code, ErrorCode::Conflict);
    }
}
