//! `sim invariants`: many small swarms, and a ledger of which held.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use rdcq_netem_tests::sim::check;

#[derive(Args)]
pub(super) struct Invariants {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The commit that is checked, for the ledger.
    #[arg(long, default_value = "unnamed")]
    commit: String,
    /// Where to add a line about what came of it.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

impl Invariants {
    pub(super) fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        let end = self.seed + self.seeds;
        let failed: Vec<u64> =
            (self.seed..end).filter(|seed| std::panic::catch_unwind(|| check(*seed)).is_err()).collect();
        let entry = format!(
            "\n[[run]]\nfirst_seed = {}\nseeds = {}\ncommit = {:?}\nfailed = {failed:?}\n",
            self.seed, self.seeds, self.commit
        );
        write!(std::io::stdout(), "{entry}")?;
        if let Some(ledger) = &self.ledger {
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(ledger)?
                .write_all(entry.as_bytes())?;
        }
        if failed.is_empty() { Ok(()) } else { Err(format!("{} seeds failed", failed.len()).into()) }
    }
}
