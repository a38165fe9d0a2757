//! How results are summed up and printed: one JSON object a line, or a table.

use std::num::NonZero;

use serde::Serialize;

/// What every line says about the machine, beside the number of its cores.
const NOTE: &str = "client and server share the cores";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One figure with its baseline: medians over the runs, and the range of the variant's.
///
/// `ratio` is the median over the runs of variant by baseline, each run's with its own; `low` and `high` are the 90 %
/// interval of that median by order statistics: the narrowest pair of ratios, equally far from both ends of the sorted
/// ones, between which a binomial of one half puts the true median with 90 % or more. With fewer than five runs no pair
/// does, and they are the least and the greatest. What has no baseline, or one of zero, is `null`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(crate) bench: &'static str,
    pub(crate) variant: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) baseline: f64,
    pub(crate) ratio: f64,
    pub(crate) runs: usize,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) cores: usize,
    pub(crate) note: &'static str,
}

impl Line {
    /// Sums up pairs of variant and baseline, one a run.
    pub(crate) fn of(
        bench: &'static str,
        variant: impl Into<String>,
        unit: &'static str,
        pairs: &[(f64, f64)],
    ) -> Self {
        let values: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
        let baselines: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.0 / pair.1).collect();
        let (low, high) = interval(&ratios);
        Self {
            bench,
            variant: variant.into(),
            value: median(&values),
            unit,
            baseline: median(&baselines),
            ratio: median(&ratios),
            runs: pairs.len(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            low,
            high,
            cores: cores(),
            note: NOTE,
        }
    }
}

/// How many cores this process may use; 0 if the system does not tell.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, NonZero::get)
}

#[expect(clippy::print_stdout, reason = "results are what this program prints")]
pub(crate) fn print(output: Output, lines: &[Line]) -> anyhow::Result<()> {
    if output == Output::Json {
        for line in lines {
            println!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    println!("{} cores; {NOTE}", cores());
    println!("{:<32}{:>10}{:>10}{:>8}  {:<14} {:<20} range", "", "rdcq", "baseline", "ratio", "90 %", "unit");
    for Line { variant, value, baseline, ratio, unit, min, max, low, high, .. } in lines {
        let within = format!("{low:.2}-{high:.2}");
        println!(
            "{variant:<32}{value:>10.2}{baseline:>10.2}{ratio:>8.2}  {within:<14} {unit:<20} {min:.2} to {max:.2}"
        );
    }
    Ok(())
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// The 90 % interval of the median, by order statistics.
fn interval(values: &[f64]) -> (f64, f64) {
    let sorted = sorted(values);
    let Some(last) = sorted.len().checked_sub(1) else { return (f64::NAN, f64::NAN) };
    let skipped = skipped(sorted.len());
    (sorted[skipped], sorted[last - skipped])
}

/// How many of `runs` sorted values may be left out at either end, so that the median stays outside of what is left in
/// one case of ten at most: it lies below the k-th value if fewer than k of all are below it.
fn skipped(runs: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(runs).unwrap_or(i32::MAX));
    let (mut below, mut skipped) = (probability, 0);
    while below <= 0.05 && 2 * (skipped + 1) < runs {
        probability *= (runs - skipped) as f64 / (skipped + 1) as f64;
        below += probability;
        if below <= 0.05 {
            skipped += 1;
        }
    }
    skipped
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_interval_takes_the_ranks_of_the_tables() {
        // Ranks of the 90 % interval of a median, from 1: Conover, Practical Nonparametric Statistics.
        for (runs, low, high) in [(5, 1, 5), (7, 1, 7), (8, 2, 7), (10, 2, 9), (15, 4, 12), (20, 6, 15)] {
            let values: Vec<f64> = (1..=runs).rev().map(f64::from).collect();
            assert_eq!(interval(&values), (f64::from(low), f64::from(high)), "of {runs} runs");
        }
    }

    #[test]
    fn too_few_runs_give_the_whole_range() {
        assert_eq!(interval(&[2.0]), (2.0, 2.0));
        assert_eq!(interval(&[3.0, 1.0, 2.0, 4.0]), (1.0, 4.0));
        assert!(interval(&[]).0.is_nan());
    }

    #[test]
    fn each_run_is_divided_by_its_own_baseline() {
        let line = Line::of("bench", "variant", "s", &[(1.0, 2.0), (30.0, 20.0), (2.0, 2.0)]);
        assert_eq!((line.ratio, line.low, line.high), (1.0, 0.5, 1.5));
        assert_eq!((line.value, line.baseline, line.min, line.max), (2.0, 2.0, 1.0, 30.0));
    }

    #[test]
    fn a_line_without_a_baseline_has_no_ratio() {
        let json = serde_json::to_value(Line::of("bench", "variant", "s", &[(1.0, 0.0)])).unwrap();
        assert!(json["ratio"].is_null() && json["value"] == 1.0 && json["note"] == NOTE);
    }
}
