//! How results are printed: one JSON object a line, or a table.

use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// One figure with its baseline: medians over the runs, and the range of the variant's.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) bench: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) baseline: f64,
    /// Median over the runs of variant by baseline, each run's with its own.
    pub(crate) ratio: f64,
    pub(crate) runs: usize,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Line {
    /// Sums up pairs of variant and baseline, one a run.
    pub(crate) fn of(
        bench: &'static str,
        variant: &'static str,
        unit: &'static str,
        pairs: &[(f64, f64)],
    ) -> Self {
        let values: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
        let baselines: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.0 / pair.1).collect();
        Self {
            bench,
            variant,
            value: median(&values),
            unit,
            baseline: median(&baselines),
            ratio: median(&ratios),
            runs: pairs.len(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

#[expect(clippy::print_stdout, reason = "results are what this program prints")]
pub(crate) fn print(output: Output, lines: &[Line]) -> anyhow::Result<()> {
    if output == Output::Json {
        for line in lines {
            println!("{}", serde_json::to_string(line)?);
        }
        return Ok(());
    }
    println!("{:<28}{:>10}{:>10}{:>8}  {:<18} range", "", "rdcq", "bare", "ratio", "unit");
    for Line { variant, value, baseline, ratio, unit, min, max, .. } in lines {
        println!("{variant:<28}{value:>10.2}{baseline:>10.2}{ratio:>8.2}  {unit:<18} {min:.2} to {max:.2}");
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}
