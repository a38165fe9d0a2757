//! The congestion controllers that can be chosen.

use std::fmt;
use std::str::FromStr;

/// Who decides how much is on the way to a peer. `netem-tests/README.md` says what each gave on which link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Congestion {
    /// Cubic to which a loss counts only if datagrams wait in the path, or more than one in 16 is lost.
    #[default]
    TolerantCubic,
    /// Takes a lost datagram for a full queue, and is back at its old window within seconds (RFC 9438).
    Cubic,
    /// Takes a lost datagram for a full queue, and grows by one datagram a round trip (RFC 9002).
    NewReno,
    /// Sends at the rate that arrives, whatever is lost.
    Bbr,
}

impl Congestion {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TolerantCubic, Self::Cubic, Self::NewReno, Self::Bbr];

    /// As settings write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TolerantCubic => "tolerant-cubic",
            Self::Cubic => "cubic",
            Self::NewReno => "new-reno",
            Self::Bbr => "bbr",
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|one| one.name() == text)
            .ok_or_else(|| UnknownCongestion { text: text.to_owned() })
    }
}

/// A text that is none of their names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a congestion controller; write \"tolerant-cubic\", \"cubic\", \"new-reno\" or \"bbr\""
)]
pub struct UnknownCongestion {
    text: String,
}
