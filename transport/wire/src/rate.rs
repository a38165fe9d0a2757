//! Rates as people write them: `800Mbit/s`, `100MiB/s`, `unlimited`.

use std::fmt;
use std::str::FromStr;

/// How many bytes may pass in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRate(u64);

/// A [`ByteRate`], or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RateLimit {
    /// Whatever the machine carries.
    #[default]
    Unlimited,
    /// At most this.
    At(ByteRate),
}

/// Why a text is no rate. Each says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It does not begin with a number, or with one that nobody would write.
    #[error("{0:?} is not a rate; write a number and a unit, as \"800Mbit/s\" or \"100MiB/s\"")]
    NoNumber(String),
    /// It is a number alone. Bits and bytes are too easily confused to guess.
    #[error("{0:?} has no unit; write \"{0}Mbit/s\" or \"{0}MB/s\", whichever is meant")]
    NoUnit(String),
    /// Its unit is none of a rate's.
    #[error("{unit:?} in {text:?} is no unit of a rate; write {UNIT_NAMES}")]
    Unit {
        /// What was written.
        text: String,
        /// What stands where a unit should.
        unit: String,
    },
    /// It would stop what it limits.
    #[error("{0:?} lets next to nothing pass; the least is {least}, and without a limit it is \"unlimited\"", least = ByteRate::MIN)]
    TooLow(String),
    /// No link is as fast.
    #[error("{0:?} is more than any link carries; the most is {most}, and without a limit it is \"unlimited\"", most = ByteRate::MAX)]
    TooHigh(String),
}

/// Bits in each unit. A unit comes before those that it ends with.
const UNITS: [(&str, u64); 14] = [
    ("kbit/s", 1000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("kbps", 1000),
    ("Mbps", 1_000_000),
    ("Gbps", 1_000_000_000),
    ("bit/s", 1),
    ("KiB/s", 8 << 10),
    ("MiB/s", 8 << 20),
    ("GiB/s", 8 << 30),
    ("kB/s", 8000),
    ("MB/s", 8_000_000),
    ("GB/s", 8_000_000_000),
    ("B/s", 8),
];

const UNIT_NAMES: &str = "kbit/s, Mbit/s or Gbit/s, or kB/s, MB/s, GB/s, KiB/s, MiB/s or GiB/s";

/// Bytes in the units that rates are shown in, the first that makes a whole number.
const SHOWN: [(&str, u64); 7] = [
    ("Gbit/s", 125_000_000),
    ("GiB/s", 1 << 30),
    ("Mbit/s", 125_000),
    ("MiB/s", 1 << 20),
    ("kbit/s", 125),
    ("KiB/s", 1 << 10),
    ("B/s", 1),
];

/// Most digits on either side of the point.
const MAX_DIGITS: usize = 15;

impl ByteRate {
    /// The lowest: a datagram takes a second and a half.
    pub const MIN: Self = Self(1000);
    /// The highest: a terabit a second.
    pub const MAX: Self = Self(125_000_000_000);

    /// As a plain number.
    pub const fn bytes_per_second(self) -> u64 {
        self.0
    }

    /// Both together, for comparing; it may be more than [`Self::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl RateLimit {
    /// The rate, if there is one.
    pub const fn rate(self) -> Option<ByteRate> {
        match self {
            Self::Unlimited => None,
            Self::At(rate) => Some(rate),
        }
    }
}

impl FromStr for ByteRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = (&trimmed[..end], trimmed[end..].trim_start());
        let (whole, fraction) = decimal(number).ok_or_else(|| RateError::NoNumber(text.to_owned()))?;
        if unit.is_empty() {
            return Err(RateError::NoUnit(number.to_owned()));
        }
        let Some((_, bits)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(RateError::Unit { text: text.to_owned(), unit: unit.to_owned() });
        };
        let (fraction, parts) = fraction;
        let bits = u128::from(bits);
        let bytes = (u128::from(whole) * bits + u128::from(fraction) * bits / u128::from(parts)) / 8;
        match u64::try_from(bytes) {
            Ok(bytes) if bytes < Self::MIN.0 => Err(RateError::TooLow(text.to_owned())),
            Ok(bytes) if bytes <= Self::MAX.0 => Ok(Self(bytes)),
            _ => Err(RateError::TooHigh(text.to_owned())),
        }
    }
}

/// A decimal number as its whole part, and its fraction over a power of ten.
fn decimal(number: &str) -> Option<(u64, (u64, u64))> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| (1..=MAX_DIGITS).contains(&part.len()).then(|| part.parse().ok())?;
    let parts = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some((digits(whole)?, (digits(fraction)?, parts)))
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SHOWN.into_iter().find(|(_, bytes)| self.0.is_multiple_of(*bytes));
        let (unit, bytes) = whole.expect("the last is a byte a second");
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl FromStr for RateLimit {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "unlimited" { Ok(Self::Unlimited) } else { text.parse().map(Self::At) }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::At(rate) => rate.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(text: &str) -> u64 {
        text.parse::<ByteRate>().unwrap().bytes_per_second()
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(bytes("800Mbit/s"), 100_000_000);
        assert_eq!(bytes("800 Mbps"), 100_000_000);
        assert_eq!(bytes(" 100MiB/s "), 104_857_600);
        assert_eq!(bytes("1.5Gbit/s"), 187_500_000);
        assert_eq!(bytes("0.5MB/s"), 500_000);
        assert_eq!(bytes("8000bit/s"), 1000);
        assert_eq!(bytes("1000Gbit/s"), ByteRate::MAX.bytes_per_second());
        assert_eq!("unlimited".parse(), Ok(RateLimit::Unlimited));
        assert_eq!("1GiB/s".parse::<RateLimit>().unwrap().rate().unwrap().bytes_per_second(), 1 << 30);
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        for text in
            ["800Mbit/s", "100MiB/s", "5Gbit/s", "1GiB/s", "8kbit/s", "1500kbit/s", "1001B/s", "unlimited"]
        {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_what_to_write_instead() {
        let refused = [
            ("", "a number and a unit"),
            ("fast", "a number and a unit"),
            ("-5Mbit/s", "a number and a unit"),
            ("+5Mbit/s", "a number and a unit"),
            (".5Mbit/s", "a number and a unit"),
            ("5.Mbit/s", "a number and a unit"),
            ("1.2.3Mbit/s", "a number and a unit"),
            ("1e9bit/s", "no unit of a rate"),
            ("0x10MB/s", "no unit of a rate"),
            ("1,5Mbit/s", "no unit of a rate"),
            ("800", "write \"800Mbit/s\" or \"800MB/s\""),
            ("800M", "no unit of a rate"),
            ("800mbit/s", "no unit of a rate"),
            ("800MB", "no unit of a rate"),
            ("800Mbit/s/s", "no unit of a rate"),
            ("0Mbit/s", "lets next to nothing pass"),
            ("0.0001Mbit/s", "lets next to nothing pass"),
            ("999B/s", "lets next to nothing pass"),
            ("2000Gbit/s", "more than any link carries"),
            ("999999999999999GB/s", "more than any link carries"),
            ("9999999999999999GB/s", "a number and a unit"),
        ];
        for (text, why) in refused {
            let error = text.parse::<RateLimit>().unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_rate_reads_back_as_it_is_shown(bytes in 1000..=125_000_000_000_u64) {
            let rate = ByteRate(bytes);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC*", number in "[0-9.]{0,40}", unit in "[a-zA-Z/ ]{0,8}") {
            let _ = text.parse::<RateLimit>();
            let _ = format!("{number}{unit}").parse::<RateLimit>();
        }
    }
}
