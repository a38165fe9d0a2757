//! Content that is lent: its file, opened for reading, to a client on this host.
//!
//! Who may have it is decided where it is asked for, on an authenticated connection; the client is told a token, and
//! whoever says that at the desk gets the file, once. So a process that finds the desk has nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdcq_env::{DeskName, DeskToken, Env};
use rdcq_store::ContentStore;
use rdcq_wire::message::{Failure, Lent};
use rdcq_wire::{Digest, ErrorCode, Nonce};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a token is good: many times what a client takes from the answer to the desk. PROTOCOL.md tells it.
const TOKEN_LIFE: Duration = Duration::from_secs(5);
/// Tokens that may wait to be used: more than the clients of a host that begin to deliver within [`TOKEN_LIFE`].
const MAX_TOKENS: usize = 1024;

/// What is lent and has yet to be picked up. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Loans(Arc<Shared>);

struct Shared {
    env: Env,
    desk: DeskName,
    /// By the hash of the token, so that how long a search takes tells nobody how near a guess was.
    waiting: Mutex<BTreeMap<Digest, Loan>>,
}

struct Loan {
    content: Digest,
    until: Instant,
}

impl Loans {
    /// Opens a desk and attends to it until the role stops; `None` where there cannot be one.
    pub(crate) fn open(env: &Env, store: &ContentStore, stop: &CancellationToken) -> Option<Self> {
        let desk = match env.open_desk() {
            Ok(desk) => desk,
            Err(error) => {
                tracing::info!(%error, "no desk: clients on this host are sent content over QUIC");
                return None;
            }
        };
        let loans = Self::at(env.clone(), desk.name());
        let (lender, store, stop) = (loans.clone(), store.clone(), stop.clone());
        let serving = desk.serve(move |token| {
            let (content, store) = (lender.redeem(token), store.clone());
            async move {
                let content = content?;
                let opened = store.open_file(&content).await;
                opened.inspect_err(|error| tracing::warn!(%error, "lent content cannot be handed out")).ok()
            }
        });
        env.spawn(async move { stop.run_until_cancelled(serving).await });
        Some(loans)
    }

    fn at(env: Env, desk: DeskName) -> Self {
        Self(Arc::new(Shared { env, desk, waiting: Mutex::default() }))
    }

    /// Makes a token for content, which should stay pinned for longer than the token is good.
    pub(crate) fn lend(&self, content: Digest) -> Result<Lent, Failure> {
        let token: [u8; Nonce::LEN] = self.0.env.random_bytes();
        let now = self.0.env.now();
        let mut waiting = self.waiting();
        waiting.retain(|_, loan| loan.until > now);
        if waiting.len() >= MAX_TOKENS {
            let reason = "too many files wait to be picked up; ask for the pieces";
            let retry_after_ms = u32::try_from(TOKEN_LIFE.as_millis()).expect("a few seconds");
            return Err(Failure { retry_after_ms, ..Failure::new(ErrorCode::Busy, reason) });
        }
        waiting.insert(Digest::of(&token), Loan { content, until: now + TOKEN_LIFE });
        Ok(Lent { desk: Nonce::from_bytes(*self.0.desk.as_bytes()), token: Nonce::from_bytes(token) })
    }

    /// The content that a token stands for; from now on it stands for none.
    fn redeem(&self, token: DeskToken) -> Option<Digest> {
        let loan = self.waiting().remove(&Digest::of(token.as_bytes()))?;
        (loan.until > self.0.env.now()).then_some(loan.content)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Digest, Loan>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rdcq_env::SimDisk;

    use super::*;

    const CONTENT: Digest = Digest::from_bytes([1; Digest::LEN]);

    fn loans() -> Loans {
        Loans::at(Env::simulated(1, SimDisk::new()), DeskName::from_bytes([3; 16]))
    }

    fn token(lent: &Lent) -> DeskToken {
        DeskToken::from_bytes(*lent.token.as_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_for_its_content_and_once() {
        let loans = loans();
        let other = Digest::from_bytes([2; Digest::LEN]);
        let (first, second) = (loans.lend(CONTENT).unwrap(), loans.lend(other).unwrap());
        assert_ne!(first.token, second.token);
        assert_eq!(loans.redeem(token(&second)), Some(other));
        assert_eq!(loans.redeem(token(&first)), Some(CONTENT));
        assert_eq!(loans.redeem(token(&first)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_never_given_is_good_for_nothing() {
        let loans = loans();
        let lent = loans.lend(CONTENT).unwrap();
        let mut guess = *lent.token.as_bytes();
        guess[15] ^= 1;
        assert_eq!(loans.redeem(DeskToken::from_bytes(guess)), None);
        assert_eq!(loans.redeem(token(&lent)), Some(CONTENT), "a wrong guess takes nothing away");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_for_5_s() {
        let loans = loans();
        let (early, late) = (loans.lend(CONTENT).unwrap(), loans.lend(CONTENT).unwrap());
        tokio::time::advance(TOKEN_LIFE - Duration::from_millis(1)).await;
        assert_eq!(loans.redeem(token(&early)), Some(CONTENT));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(loans.redeem(token(&late)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_tokens_wait_than_the_maximum_and_those_that_ended_make_room() {
        let loans = loans();
        for _ in 0..MAX_TOKENS {
            loans.lend(CONTENT).unwrap();
        }
        assert_eq!(loans.lend(CONTENT).unwrap_err().code, ErrorCode::Busy);
        tokio::time::advance(TOKEN_LIFE).await;
        loans.lend(CONTENT).unwrap();
        assert_eq!(loans.waiting().len(), 1);
    }
}
