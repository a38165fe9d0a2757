//! Durations as settings write them: a whole number and a unit, as `500ms`, `30s` or `5m`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// The longest duration that a setting may have, a year: added to a point in time it never overflows.
pub const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Each unit with its length in milliseconds, the longest first. `ms` comes before `m` and `s`, or they would be taken
/// for its parts.
const UNITS: [(&str, u64); 5] =
    [("d", 24 * 3600 * 1000), ("h", 3600 * 1000), ("ms", 1), ("m", 60 * 1000), ("s", 1000)];

/// Writes a duration in the longest unit that it is a whole number of. Less than a millisecond is dropped.
pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&to_text(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

/// A visitor, because the parser adds the line only to errors that arise within one.
struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration as \"30s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        from_text(text).ok_or_else(|| {
            E::custom(format_args!(
                "{text:?} is not a duration; write a whole number with ms, s, m, h or d, as \"500ms\" or \"5m\", at \
                 most a year"
            ))
        })
    }
}

fn to_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let whole = UNITS.into_iter().filter(|(_, length)| millis.is_multiple_of(u128::from(*length)));
    let (unit, length) =
        whole.max_by_key(|(_, length)| *length).expect("every duration here is a whole number of ms");
    format!("{}{unit}", millis / u128::from(length))
}

fn from_text(text: &str) -> Option<Duration> {
    let (number, length) =
        UNITS.into_iter().find_map(|(unit, length)| Some((text.strip_suffix(unit)?, length)))?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis = number.parse::<u64>().ok()?.checked_mul(length)?;
    Some(Duration::from_millis(millis)).filter(|duration| *duration <= MAX_DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_in_their_longest_unit() {
        for text in ["0s", "1ms", "500ms", "1500ms", "30s", "90s", "5m", "36h", "365d"] {
            let duration = from_text(text).unwrap();
            assert_eq!(to_text(duration), text);
        }
        assert_eq!(to_text(Duration::from_secs(60)), "1m");
        assert_eq!(from_text("2m"), Some(Duration::from_secs(120)));
    }

    #[test]
    fn what_is_not_a_whole_number_and_a_unit_is_no_duration() {
        let texts = [
            "",
            "5",
            "s",
            "ms",
            "5 s",
            " 5s",
            "5S",
            "1.5s",
            "-1s",
            "+1s",
            "1m30s",
            "5sec",
            "366d",
            "99999999999999999999s",
            "18446744073709551615d",
            "٣s",
        ];
        for text in texts {
            assert_eq!(from_text(text), None, "{text:?} was taken for a duration");
        }
    }
}
