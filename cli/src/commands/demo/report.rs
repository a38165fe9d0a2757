//! What the demonstration showed.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::HumanBytes;
use rdcq_client::pull::Pulled;
use rdcq_wire::Record;
use serde::Serialize;

use crate::commands::inspect::Described;
use crate::commands::pull::BytesFrom;

#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    what: Described,
    push_ms: u64,
    pull_ms: u64,
    agents: Vec<AgentRow>,
    total: Total,
}

/// One agent's pull. Its bytes were compared with the source's, or there would be no row.
#[derive(Serialize)]
pub(super) struct AgentRow {
    agent: String,
    size: u64,
    ms: u64,
    bytes_per_second: u64,
    bytes_from: BytesFrom,
}

#[derive(Serialize)]
struct Total {
    verified_bytes: u64,
    from_origins: u64,
    from_agents: u64,
}

impl AgentRow {
    pub(super) fn new(agent: String, pulled: &Pulled, time: Duration) -> Self {
        let size = pulled.record.size;
        let bytes_per_second = rate(size, time);
        Self { agent, size, ms: millis(time), bytes_per_second, bytes_from: BytesFrom::of(pulled) }
    }
}

impl Report {
    pub(super) fn new(record: &Record, push: Duration, pull: Duration, agents: Vec<AgentRow>) -> Self {
        let total = Total {
            verified_bytes: agents.iter().map(|row| row.size).sum(),
            from_origins: agents.iter().map(|row| row.bytes_from.origins).sum(),
            from_agents: agents.iter().map(|row| row.bytes_from.agents).sum(),
        };
        Self { what: Described::of(record), push_ms: millis(push), pull_ms: millis(pull), agents, total }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tag     {}", self.what.tag)?;
        writeln!(f, "digest  {}", self.what.digest)?;
        writeln!(f, "size    {} ({} bytes)", HumanBytes(self.what.size), self.what.size)?;
        writeln!(f, "pushed in {}", seconds(self.push_ms))?;
        writeln!(f, "{}", self.table().trim_fmt())?;
        let Total { verified_bytes, from_origins, from_agents } = self.total;
        let sent = from_origins + from_agents;
        let share = if sent == 0 { 0.0 } else { 100.0 * from_agents as f64 / sent as f64 };
        write!(
            f,
            "{} agents in {}: {} delivered and verified byte for byte, {} from the origin, {} ({share:.0} %) from agents",
            self.agents.len(),
            seconds(self.pull_ms),
            HumanBytes(verified_bytes),
            HumanBytes(from_origins),
            HumanBytes(from_agents),
        )
    }
}

impl Report {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["agent", "size", "time", "rate", "from the origin", "from agents"]);
        for row in &self.agents {
            table.add_row([
                row.agent.clone(),
                HumanBytes(row.size).to_string(),
                seconds(row.ms),
                format!("{}/s", HumanBytes(row.bytes_per_second)),
                HumanBytes(row.bytes_from.origins).to_string(),
                HumanBytes(row.bytes_from.agents).to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// Bytes a second; what took no time counts as a microsecond.
fn rate(size: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(size) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_a_second_and_no_time_divides_by_zero() {
        assert_eq!(rate(1000, Duration::from_millis(500)), 2000);
        assert_eq!(rate(3, Duration::ZERO), 3_000_000);
        assert_eq!(rate(u64::MAX, Duration::ZERO), u64::MAX);
        assert_eq!(seconds(61_007), "61.007 s");
    }
}
