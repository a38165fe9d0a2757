//! When to tell others what has come.

use std::time::Duration;

/// What telling may cost, as a part of what comes.
const COST_PART: f64 = 1.0 / 64.0;
/// What a message costs on a link, with the headers below it.
const MESSAGE_BYTES: f64 = 90.0;
/// What is not known of is of no use, however slow the link.
const LONGEST: Duration = Duration::from_millis(100);

/// For how long to gather pieces that one message to each of so many listeners tells of, where so many bytes come in a second: a
/// message for every piece costs a slow link more than the piece. What has come from an origin is told at once: as
/// good as nobody else has it.
pub fn gathering(listeners: usize, bytes_per_second: f64) -> Duration {
    let bytes = listeners as f64 * MESSAGE_BYTES / COST_PART;
    if bytes_per_second < 1.0 {
        LONGEST
    } else {
        Duration::from_secs_f64(bytes / bytes_per_second).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_costs_a_small_part_and_never_takes_long() {
        let ms = |listeners, mbit: f64| gathering(listeners, mbit * 125_000.0).as_millis();
        assert_eq!(
            [ms(20, 1000.0), ms(20, 100.0), ms(10, 6.25), ms(20, 6.25), ms(20, 0.0)],
            [0, 9, 73, 100, 100]
        );
    }
}
