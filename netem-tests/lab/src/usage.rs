//! Processor time: of processes, and of the whole machine.

use std::fs;

use anyhow::Context as _;

/// Ticks of a second in `/proc`, which Linux shows as 100 on every machine.
const TICKS: f64 = 100.0;

/// Time of all cores so far, in ticks.
pub(crate) struct Cpu {
    idle: u64,
    all: u64,
}

impl Cpu {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        let ticks = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.filter_map(|ticks| ticks.parse().ok()).collect();
        // The fourth is idle, the fifth waits for disks.
        Ok(Self { idle: ticks.iter().skip(3).take(2).sum(), all: ticks.iter().sum() })
    }

    /// How much of the machine was in use, from 0 to 1.
    pub(crate) fn busy_since(&self) -> anyhow::Result<f64> {
        let now = Self::now()?;
        Ok(1.0 - (now.idle - self.idle) as f64 / (now.all - self.all).max(1) as f64)
    }
}

/// Seconds of processor time that a process has used, with its threads and the processes that it has waited for.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<f64> {
    Ok(seconds(pid, 11)? + seconds(pid, 13)?)
}

/// Seconds that the processes used which this one has started and waited for.
pub(crate) fn of_ended_children() -> anyhow::Result<f64> {
    seconds(std::process::id(), 13)
}

/// The sum of user and system time of `/proc/PID/stat`, of which the first is this many fields after the name.
fn seconds(pid: u32, field: usize) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    sum(&text, field).with_context(|| format!("no times in {text:?}"))
}

fn sum(text: &str, field: usize) -> Option<f64> {
    // A name may have spaces and parentheses of its own.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(field).map(str::parse::<u64>);
    Some((fields.next()?.ok()? + fields.next()?.ok()?) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let text = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 30 20 20 0 1\n";
        assert_eq!(sum(text, 11), Some(2.0));
        assert_eq!(sum(text, 13), Some(0.5));
        assert_eq!(sum("7 (a) S 1", 11), None);
    }
}
