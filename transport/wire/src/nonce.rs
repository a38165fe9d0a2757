//! Random bytes that nobody can guess.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 bits drawn at random: a name that nobody else has, or a secret. Its bytes are kept out of logs.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce([u8; Self::LEN]);

impl Nonce {
    /// Bytes in a nonce.
    pub const LEN: usize = 16;

    /// Takes bytes that were drawn at random.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The raw 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_does_not_show_its_bytes() {
        assert_eq!(format!("{:?}", Nonce::from_bytes([7; Nonce::LEN])), "Nonce(..)");
    }
}
