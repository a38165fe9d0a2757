//! As much of DER as it takes to read what webpki keeps to itself: key usages, times, who signed a list.
//!
//! Everything that is read here was first read by webpki, which is strict. This reader has to be safe, not complete: what
//! it does not understand is `None`.

use time::{Date, Month, PrimitiveDateTime, Time};

pub(crate) const BOOLEAN: u8 = 0x01;
pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The tag of an explicitly tagged field.
pub(crate) const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of an implicitly tagged field of a primitive type.
pub(crate) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// Largest number of bytes that a length is written in: four hold more than any file read here.
const MAX_LENGTH_BYTES: usize = 4;

/// What is left to read of a text in DER.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// One value with its tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) value: &'a [u8],
    /// Tag, length and value.
    pub(crate) whole: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The next value, whatever it is.
    pub(crate) fn element(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            short @ 0..=0x7f => (short, rest),
            long => {
                let count = long & 0x7f;
                if !(1..=MAX_LENGTH_BYTES).contains(&count) {
                    return None;
                }
                let (bytes, rest) = rest.split_at_checked(count)?;
                let length = bytes.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
                (usize::try_from(length).ok()?, rest)
            }
        };
        let (value, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag: *tag, value, whole })
    }

    /// The next value, if it is of this kind; nothing is read if it is not.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let element = ahead.element().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element.value)
    }

    /// The inside of the next value, which must be of this kind.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.optional(tag).map(Self)
    }

    /// A UTCTime or GeneralizedTime, in seconds since 1970.
    pub(crate) fn time(&mut self) -> Option<u64> {
        let element = self.element()?;
        let text = str::from_utf8(element.value).ok()?.strip_suffix('Z')?;
        let (year, rest) = match element.tag {
            // RFC 5280: of two digits, those from 50 on are of the last century.
            UTC_TIME => {
                let year = number(text.get(..2)?)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
            }
            GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
            _ => return None,
        };
        if rest.len() != 10 {
            return None;
        }
        let part = |at: usize| u8::try_from(number(rest.get(at..at + 2)?)?).ok();
        let date = Date::from_calendar_date(year, Month::try_from(part(0)?).ok()?, part(2)?).ok()?;
        let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
        u64::try_from(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()).ok()
    }
}

fn number(digits: &str) -> Option<i32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &str) -> Option<u64> {
        let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
        der.extend_from_slice(text.as_bytes());
        Reader::new(&der).time()
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "260921140640Z"), Some(1_789_999_600));
        assert_eq!(time(GENERALIZED_TIME, "20260921140640Z"), Some(1_789_999_600));
        assert_eq!(time(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for wrong in ["", "Z", "7001010000Z", "701301000000Z", "+01-01000000Z", "70010100000é"] {
            assert_eq!(time(UTC_TIME, wrong), None, "{wrong}");
        }
        assert_eq!(time(UTC_TIME, "500101000000Z"), None, "before 1970");
    }

    #[test]
    fn lengths_that_lie_are_no_values() {
        for der in
            [&[][..], &[4], &[4, 1], &[4, 0x80], &[4, 0x85, 0, 0, 0, 0, 0], &[4, 0x84, 255, 255, 255, 255]]
        {
            assert!(Reader::new(der).element().is_none(), "{der:?}");
        }
        let mut reader = Reader::new(&[4, 0x82, 0, 1, 7, 2, 1, 9]);
        let element = reader.element().unwrap();
        assert_eq!((element.tag, element.value, element.whole.len()), (OCTET_STRING, &[7][..], 5));
        assert_eq!(reader.optional(OID), None);
        assert_eq!(reader.optional(INTEGER), Some(&[9][..]));
        assert!(reader.element().is_none());
    }
}
