//! Text for people that no peer can make long or dangerous to show.

use std::fmt;

use serde::{Deserialize, Serialize};

/// At most `MAX` bytes of one line; what is longer is cut, control characters become spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Line<const MAX: usize>(String);

impl<const MAX: usize> Line<MAX> {
    /// Longest line, in bytes.
    pub const MAX_LEN: usize = MAX;
}

impl<const MAX: usize> From<String> for Line<MAX> {
    fn from(text: String) -> Self {
        let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        line.truncate(line.floor_char_boundary(Self::MAX_LEN));
        Self(line)
    }
}

impl<const MAX: usize> From<Line<MAX>> for String {
    fn from(line: Line<MAX>) -> Self {
        line.0
    }
}

impl<const MAX: usize> fmt::Display for Line<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = Line::<1024>::from("易".repeat(1000));
        assert_eq!(line.to_string(), "易".repeat(341));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(Line::<1024>::from("a\n\u{1b}[2Jb".to_owned()).to_string(), "a  [2Jb");
    }
}
