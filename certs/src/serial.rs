//! Serial numbers.

use std::fmt;
use std::str::FromStr;

/// Longest serial number of any certificate, in bytes, by RFC 5280.
const MAX_LEN: usize = 20;

/// A certificate's serial number, which tells it from all others of its CA. Written in hex.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Reads a number as DER holds it: zeros before it say nothing.
    pub(crate) fn from_der(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Serial {
    type Err = ParseSerialError;

    /// Reads hex digits, as this type and openssl write them.
    fn from_str(text: &str) -> Result<Self, ParseSerialError> {
        let refused = || ParseSerialError(text.chars().take(2 * MAX_LEN + 2).collect());
        let digits = text.as_bytes();
        if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 2 * (MAX_LEN + 1) {
            return Err(refused());
        }
        let byte = |pair: &[u8]| {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        };
        let bytes: Option<Vec<u8>> = digits.chunks_exact(2).map(byte).collect();
        let serial = Self::from_der(&bytes.ok_or_else(refused)?);
        if serial.0.is_empty() || serial.0.len() > MAX_LEN { Err(refused()) } else { Ok(serial) }
    }
}

/// A text that is no serial number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a serial number: up to 40 hex digits, two a byte, as `rdcq certs show` writes them")]
pub struct ParseSerialError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_as_it_is_written() {
        for (text, written) in [("01", "01"), ("7fAB", "7fab"), ("008f", "8f")] {
            assert_eq!(text.parse::<Serial>().unwrap().to_string(), written);
        }
        assert_eq!(Serial::from_der(&[0, 0x8f]), "8f".parse().unwrap());
        for wrong in ["", "0", "00", "xy", "+1", &"11".repeat(21), "host-1", "é"] {
            assert!(wrong.parse::<Serial>().is_err(), "{wrong}");
        }
    }
}
