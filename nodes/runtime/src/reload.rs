//! Asking a running node to read its settings anew.
//!
//! The task that reads them on SIGHUP and when the file is saved owns the [`ReloadOrders`]; the node's roles send what operators
//! ask for over the wire through [`Reloads`]. What waits is answered by one reading, so that nothing piles up.

use std::time::Duration;

use rdcq_wire::ErrorCode;
use rdcq_wire::message::{Failure, Setting};
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait for one reading.
const WAITING: usize = 32;

/// How long an order waits: less than those who ask do.
const PATIENCE: Duration = Duration::from_secs(3);

/// When an order that found no place may come again.
const COME_AGAIN_MS: u32 = 100;

/// Where a node is asked to read its settings anew. Cheap to clone; the default is that of a node without a settings file.
#[derive(Debug, Clone, Default)]
pub struct Reloads(Option<mpsc::Sender<ReloadOrder>>);

/// The orders that came to a node.
#[derive(Debug)]
pub struct ReloadOrders(mpsc::Receiver<ReloadOrder>);

/// Somebody waits for what becomes of the settings.
#[derive(Debug)]
pub struct ReloadOrder(oneshot::Sender<ReloadOutcome>);

/// What becomes of settings that are read anew, or why they are not used.
pub type ReloadOutcome = Result<Vec<Setting>, String>;

impl Reloads {
    /// Those of a node with a settings file, and where they arrive.
    pub fn channel() -> (Self, ReloadOrders) {
        let (orders, arrive) = mpsc::channel(WAITING);
        (Self(Some(orders)), ReloadOrders(arrive))
    }

    /// Has the settings read anew.
    pub async fn order(&self) -> Result<Vec<Setting>, Failure> {
        let Some(orders) = &self.0 else {
            let reason = "this node was started without a settings file, as `rdcq up` and `rdcq demo` do: there is nothing to read \
                          again; one that `rdcq node --config FILE` runs has one";
            return Err(Failure::new(ErrorCode::Unsupported, reason));
        };
        let (outcome, waits) = oneshot::channel();
        orders.try_send(ReloadOrder(outcome)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => busy("too many ask for the settings to be read again"),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })?;
        match tokio::time::timeout(PATIENCE, waits).await {
            Ok(Ok(outcome)) => outcome.map_err(|why| Failure::new(ErrorCode::BadRequest, why)),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(busy("the node is still starting; its settings are read when it has")),
        }
    }
}

fn busy(reason: &str) -> Failure {
    Failure { retry_after_ms: COME_AGAIN_MS, ..Failure::new(ErrorCode::Busy, reason) }
}

fn stopping() -> Failure {
    Failure::new(ErrorCode::ShuttingDown, "the node is going away; it reads its settings when it starts anew")
}

impl ReloadOrders {
    /// Waits for orders: all that are there, one at least. Never resolves when nobody can give any.
    pub async fn next(&mut self) -> Vec<ReloadOrder> {
        let mut orders = Vec::new();
        if self.0.recv_many(&mut orders, WAITING).await == 0 {
            std::future::pending::<()>().await;
        }
        orders
    }
}

impl ReloadOrder {
    /// Tells who waits.
    pub fn answer(self, outcome: ReloadOutcome) {
        // Who has gone away does not want to know.
        let _ = self.0.send(outcome);
    }
}

#[cfg(test)]
mod tests {
    use rdcq_wire::message::{Effect, Note};

    use super::*;

    fn outcome() -> ReloadOutcome {
        Ok(vec![Setting { effect: Effect::Changed, text: Note::from("a: 1 -> 2".to_owned()) }])
    }

    /// Gives this many orders at once, and waits until each has its place or none.
    async fn give(
        reloads: &Reloads,
        count: usize,
    ) -> Vec<tokio::task::JoinHandle<Result<Vec<Setting>, Failure>>> {
        let give = |_| {
            let reloads = reloads.clone();
            tokio::spawn(async move { reloads.order().await })
        };
        let given = (0..count).map(give).collect();
        tokio::task::yield_now().await;
        given
    }

    #[tokio::test(start_paused = true)]
    async fn all_that_wait_are_answered_by_one_reading_and_too_many_come_again() {
        let (reloads, mut orders) = Reloads::channel();
        let given = give(&reloads, WAITING + 3).await;
        let waiting = orders.next().await;
        assert_eq!(waiting.len(), WAITING);
        waiting.into_iter().for_each(|order| order.answer(outcome()));
        let mut refused = 0;
        for order in given {
            match order.await.unwrap() {
                Ok(settings) => assert_eq!(settings, outcome().unwrap()),
                Err(failure) => {
                    assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::Busy, COME_AGAIN_MS));
                    refused += 1;
                }
            }
        }
        assert_eq!(refused, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_a_node_that_does_not_answer_is_told_in_time() {
        assert_eq!(Reloads::default().order().await.unwrap_err().code, ErrorCode::Unsupported);
        let (reloads, mut orders) = Reloads::channel();
        assert_eq!(reloads.order().await.unwrap_err().code, ErrorCode::Busy);
        // The one who gave up is no trouble to the reader.
        orders.next().await.into_iter().for_each(|order| order.answer(outcome()));
        let waiting = give(&reloads, 1).await;
        drop(orders);
        for order in waiting {
            assert_eq!(order.await.unwrap().unwrap_err().code, ErrorCode::ShuttingDown);
        }
        assert_eq!(reloads.order().await.unwrap_err().code, ErrorCode::ShuttingDown);
    }

    #[tokio::test]
    async fn a_file_that_makes_no_sense_is_told_with_its_reason() {
        let (reloads, mut orders) = Reloads::channel();
        let given = give(&reloads, 1).await;
        orders.next().await.into_iter().for_each(|order| order.answer(Err("n.toml: line 3".to_owned())));
        for order in given {
            let failure = order.await.unwrap().unwrap_err();
            assert_eq!(
                (failure.code, failure.reason.to_string()),
                (ErrorCode::BadRequest, "n.toml: line 3".to_owned())
            );
        }
    }
}
