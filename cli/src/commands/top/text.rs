//! One reading as people read it.

use std::fmt;

use indicatif::HumanBytes;

use super::super::shown::{NOTHING, rate, rate_or_nothing, span};
use super::rates::{Class, Direction, Moving, Page, Pages, Peer, Rates};

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for page in &self.nodes {
            lines.push(title(page));
            match page {
                Page::Silent { error, .. } => lines.push(format!("  {error}")),
                Page::Told(rates) => lines.extend(of_node(rates).into_iter().map(|line| format!("  {line}"))),
            }
        }
        f.write_str(&lines.join("\n"))
    }
}

/// Which node it is, as what it serves and where.
pub(super) fn title(page: &Page) -> String {
    let Page::Told(rates) = page else { return page.name() };
    let serving: Vec<_> = rates.serving.iter().map(|at| format!("{} {}", at.role, at.addr)).collect();
    let up = span(rates.uptime_ms);
    format!("{} ({}), up {up}, {} connections", rates.node, serving.join(", "), rates.connections)
}

fn of_node(rates: &Rates) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, direction) in [("egress", &rates.egress), ("ingress", &rates.ingress)] {
        lines.push(format!("{name}  {}", of_direction(direction)));
        if direction.limit_bytes_per_second.is_some() {
            lines.extend(direction.classes.iter().map(|class| {
                let moves = rate_or_nothing(class.bytes_per_second);
                format!("  {}  {moves}, {}", class.class, terms(class))
            }));
        }
    }
    lines.extend(rates.transfers.iter().map(|moving| format!("gets {}", of_transfer(moving).join("  "))));
    lines.extend(rates.peers.iter().map(|peer| format!("peer {}", of_peer(peer).join("  ").trim_end())));
    lines
}

/// What a direction moves, and may.
pub(super) fn of_direction(direction: &Direction) -> String {
    let moves = rate_or_nothing(direction.bytes_per_second);
    let Some(limit) = direction.limit_bytes_per_second else { return format!("{moves}, no limit") };
    let share = share(direction).map_or_else(String::new, |share| format!(", {:.0} %", 100.0 * share));
    let waiting = match direction.waiting {
        0 => String::new(),
        waiting => format!(", {waiting} waiting"),
    };
    format!("{moves} of {}{share}{waiting}", rate(limit))
}

/// How much of its limit a direction has, from 0 to 1 and more.
pub(super) fn share(direction: &Direction) -> Option<f64> {
    let (moves, limit) = (direction.bytes_per_second?, direction.limit_bytes_per_second?);
    Some(moves as f64 / limit.max(1) as f64)
}

/// What a class may have.
pub(super) fn terms(class: &Class) -> String {
    let least = class.minimum_bytes_per_second.map(|least| format!(", at least {}", rate(least)));
    let most = class.ceiling_bytes_per_second.map(|most| format!(", at most {}", rate(most)));
    format!("weight {}{}{}", class.weight, least.unwrap_or_default(), most.unwrap_or_default())
}

pub(super) const PEER: [&str; 5] = ["peer", "connections", "egress", "ingress", "its limits"];

pub(super) fn of_peer(peer: &Peer) -> [String; 5] {
    let limits =
        [("egress", peer.egress_limit_bytes_per_second), ("ingress", peer.ingress_limit_bytes_per_second)];
    let limits = limits.into_iter().filter_map(|(name, limit)| Some(format!("{name} {}", rate(limit?))));
    [
        peer.node.clone(),
        peer.connections.to_string(),
        rate_or_nothing(peer.egress_bytes_per_second),
        rate_or_nothing(peer.ingress_bytes_per_second),
        limits.collect::<Vec<_>>().join(", "),
    ]
}

pub(super) const TRANSFER: [&str; 6] = ["getting", "class", "done", "of", "rate", "left"];

pub(super) fn of_transfer(moving: &Moving) -> [String; 6] {
    let done = match moving.size_bytes {
        0 => NOTHING.to_owned(),
        size => format!("{:.0} %", 100.0 * moving.done_bytes as f64 / size as f64),
    };
    [
        moving.tag.clone(),
        moving.class.to_owned(),
        done,
        HumanBytes(moving.size_bytes).to_string(),
        rate_or_nothing(moving.bytes_per_second),
        moving.left_ms.map_or_else(|| NOTHING.to_owned(), span),
    ]
}

#[cfg(test)]
mod tests {
    use rdcq_client::OperationError;
    use rdcq_wire::{ErrorCode, Role};

    use super::super::rates::tests::{reading, server};
    use super::*;

    #[test]
    fn a_reading_is_a_few_lines_a_node() {
        let servers = [server(Role::Agent, 1), server(Role::Tracker, 2)];
        let outcomes = |seconds| {
            let gone = OperationError::new(ErrorCode::Unavailable, "nobody is there");
            [Ok(reading("n1", Role::Agent, seconds)), Err(gone)]
        };
        let text = Pages::of(&servers, &outcomes(2), &outcomes(4)).to_string();
        let wanted = "n1 (agent 127.0.0.1:1), up 4s, 4 connections
  egress  40.0 Mbit/s of 100 Mbit/s, 40 %, 3 waiting
    urgent  8.00 kbit/s, weight 4, at least 8.00 Mbit/s
    normal  16.0 kbit/s, weight 4
    background  24.0 kbit/s, weight 4, at most 16.0 Mbit/s
  ingress  8.00 Mbit/s, no limit
  gets k:7  urgent  40 %  9.54 MiB  8.00 Mbit/s  6s
  peer a2  2  32.0 Mbit/s  8.00 kbit/s  egress 50.0 Mbit/s
  peer a1  2  8.00 Mbit/s  0 bit/s
tracker 127.0.0.1:2
  nobody is there";
        assert_eq!(text, wanted);
    }
}
