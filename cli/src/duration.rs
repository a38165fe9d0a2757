//! Durations on the command line: a whole number and a unit, as `500ms`, `30s` or `5m`; without a unit, seconds.

use std::time::Duration;

use rdcq_config::defaults::MAX_DURATION;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60 * 1000), ("h", 3600 * 1000), ("d", 24 * 3600 * 1000)];

pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    from_text(text).ok_or_else(|| {
        "write a whole number with ms, s, m, h or d, as `500ms` or `30s`, at most a year".to_owned()
    })
}

/// A time to wait for, which cannot be none at all.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("nothing can be done in no time; write how long to wait, as `30s`".to_owned()),
        patience => Ok(patience),
    }
}

fn from_text(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, length) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(length)?;
    Some(Duration::from_millis(millis)).filter(|duration| *duration <= MAX_DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit_and_seconds_need_none() {
        assert_eq!(parse("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn nobody_waits_for_no_time() {
        assert_eq!(patience("30"), Ok(Duration::from_secs(30)));
        for text in ["0", "0s", "0ms", "-1", "-1s"] {
            assert!(patience(text).is_err(), "{text:?} was taken for a time to wait");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "s", "1.5s", "-1s", "1 s", "5sec", "366d", "18446744073709551615d", "99999999999999999999"]
        {
            assert!(parse(text).is_err(), "{text:?} was taken for a duration");
        }
    }
}
