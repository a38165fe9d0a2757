//! Many small files at once, beside one that is as large as all of them.

use serde::Serialize;

use super::case::Case;
use super::meter::Folder;
use super::swarm::Swarm;
use crate::herd::Tracker;
use crate::report::{Rounded, print};

/// The smallest file.
const SMALLEST: f64 = 16.0 * 1024.0;
/// The largest by the smallest.
const SPREAD: f64 = 64.0;

#[derive(Serialize)]
struct Compared {
    test: &'static str,
    agents: u8,
    files: usize,
    bytes: u64,
    many_seconds: Rounded,
    one_seconds: Rounded,
    ratio: Rounded,
}

/// Pulls so many files through all agents at once, and then one.
pub(super) async fn run(
    mut case: Case,
    files: u32,
    folder: impl Fn() -> anyhow::Result<Folder>,
) -> anyhow::Result<()> {
    let sizes = sizes(files);
    case.bytes = sizes.iter().sum();
    let [many, one] = [&sizes[..], &[case.bytes]];
    let many = once(case, many, &format!("rdcq, {files} files"), &folder()?).await?;
    let one = once(case, one, "rdcq, one file", &folder()?).await?;
    print(&Compared {
        test: "fanout, many files",
        agents: case.agents,
        files: sizes.len(),
        bytes: case.bytes,
        many_seconds: Rounded(many),
        one_seconds: Rounded(one),
        ratio: Rounded(many / one),
    })
}

async fn once(case: Case, sizes: &[u64], system: &str, folder: &Folder) -> anyhow::Result<f64> {
    let mut swarm = Swarm::start_with(sizes, case, Tracker::Usual, folder)?;
    Ok(swarm.measure(system).await?.last())
}

/// As many small ones as large ones, by their logarithm.
fn sizes(files: u32) -> Vec<u64> {
    let size = |number| SMALLEST * SPREAD.powf((f64::from(number) + 0.5) / f64::from(files));
    (0..files).map(|number| size(number) as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_promise() {
        let sizes = sizes(500);
        assert_eq!(sizes.len(), 500);
        assert!(sizes.iter().all(|size| (16 << 10..=1 << 20).contains(size)), "{sizes:?}");
        assert!(sizes[250] < 140_000, "half of them are small: {}", sizes[250]);
    }
}
