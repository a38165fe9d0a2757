//! Files of a bench, and sizes as they are written on its command line.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use rand::{RngCore, SeedableRng, rngs::StdRng};
use rdcq_wire::Digest;

/// Makes a file of bytes that nothing can compress, the same for the same size.
pub(crate) fn make_file(path: &Path, size: u64) -> anyhow::Result<Digest> {
    let mut rng = StdRng::seed_from_u64(size);
    let mut file = fs::File::create(path)?;
    let mut hasher = rdcq_wire::Hasher::default();
    let mut block = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let len = usize::try_from(left)?.min(block.len());
        rng.fill_bytes(&mut block[..len]);
        hasher.update(&block[..len]);
        file.write_all(&block[..len])?;
        left -= len as u64;
    }
    Ok(hasher.finish())
}

/// Makes a file that only its owner may read, as keys must be.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}; use B, KiB, MiB or GiB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size; write for example 64MiB"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"))
}
