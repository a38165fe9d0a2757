//! Figures as people read them.

/// Stands for what is not known.
pub(super) const NOTHING: &str = "-";

/// A time span in its two largest units.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// A rate in bits a second, with three digits.
pub(super) fn rate(bytes_per_second: u64) -> String {
    const UNITS: [&str; 5] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
    let mut value = bytes_per_second as f64 * 8.0;
    let mut unit = 0;
    // What rounds up to four digits is one of the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A rate that may not be known.
pub(super) fn rate_or_nothing(rate_if_known: Option<u64>) -> String {
    rate_if_known.map_or_else(|| NOTHING.to_owned(), rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_shown_in_their_two_largest_units() {
        let spans = [0, 59_999, 60_000, 3_599_000, 3_600_000, 90_061_000].map(span);
        assert_eq!(spans, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "1d 1h"]);
    }

    #[test]
    fn rates_are_shown_with_three_digits() {
        let rates = [0, 124, 125, 1_249, 124_999, 1_234_567, 12_345_678, 100_000_000, 625_000_000].map(rate);
        let wanted = [
            "0 bit/s",
            "992 bit/s",
            "1.00 kbit/s",
            "9.99 kbit/s",
            "1.00 Mbit/s",
            "9.88 Mbit/s",
            "98.8 Mbit/s",
            "800 Mbit/s",
            "5.00 Gbit/s",
        ];
        assert_eq!(rates, wanted);
        assert!(rate(u64::MAX).ends_with(" Tbit/s"));
        assert_eq!(rate_or_nothing(None), "-");
    }
}
