//! Taking turns: a variant and its baseline, as often as is wanted.

/// Who is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// What is measured.
    Variant,
    /// What it is measured beside.
    Baseline,
}

impl Turn {
    /// Both, in the order of this round. Whoever goes first finds other caches than whoever goes second, so the order
    /// changes with every round.
    pub(crate) const fn order(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) {
            [Self::Baseline, Self::Variant]
        } else {
            [Self::Variant, Self::Baseline]
        }
    }
}

/// Runs variant and baseline in turn, and returns what each of them took in each round.
pub(crate) async fn pairs<T>(
    runs: usize,
    mut once: impl AsyncFnMut(Turn) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<(T, T)>> {
    anyhow::ensure!(runs > 0, "--runs must be at least 1");
    let mut pairs = Vec::with_capacity(runs);
    for round in 0..runs {
        let order = Turn::order(round);
        let (first, second) = (once(order[0]).await?, once(order[1]).await?);
        pairs.push(if order[0] == Turn::Variant { (first, second) } else { (second, first) });
    }
    Ok(pairs)
}

/// The same figure of both sides of every pair.
pub(crate) fn figures<T>(pairs: &[(T, T)], figure: impl Fn(&T) -> f64) -> Vec<(f64, f64)> {
    pairs.iter().map(|(variant, baseline)| (figure(variant), figure(baseline))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_order_changes_with_every_round_and_each_result_stays_on_its_side() {
        let mut ran = Vec::new();
        let pairs = pairs(3, async |turn| {
            ran.push(turn);
            Ok(turn)
        });
        assert_eq!(pairs.await.unwrap(), [(Turn::Variant, Turn::Baseline); 3]);
        use Turn::{Baseline as B, Variant as A};
        assert_eq!(ran, [B, A, A, B, B, A]);
    }
}
