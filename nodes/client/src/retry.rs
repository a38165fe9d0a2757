//! Trying again what may pass.

use std::time::Duration;

use rdcq_env::Env;

use crate::OperationError;

/// First pause between tries; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries until it succeeds, fails for good, or has failed for `patience`.
pub(crate) async fn until<T, F>(
    env: &Env,
    patience: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, OperationError>
where
    F: Future<Output = Result<T, OperationError>>,
{
    let give_up = env.now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Err(error) if error.is_passing() && env.now() + pause < give_up => {
                tracing::debug!(%error, ?pause, "trying again");
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}
