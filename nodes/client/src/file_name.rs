//! Names of files in a folder.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The name of a file in a folder, which leads nowhere else: no `/` in it, and neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(String);

impl FileName {
    /// Longest name that Linux's file systems take, in bytes.
    const MAX_LEN: usize = 255;
}

impl AsRef<Path> for FileName {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::MAX_LEN {
            return Err(FileNameError::TooLong(text.len()));
        }
        if text.is_empty() || text == "." || text == ".." || text.contains(['/', '\0']) {
            return Err(FileNameError::NoName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a file in a folder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// Over the maximum.
    #[error("a file's name of {0} bytes is too long; at most {max} are allowed", max = FileName::MAX_LEN)]
    TooLong(usize),
    /// A path, or nothing.
    #[error("{0:?} is not the name of a file in a folder; write it without a `/`")]
    NoName(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_of_its_folder_is_no_name() {
        for text in ["", ".", "..", "a/b", "/a", "a/", "../a", "a\0b"] {
            assert_eq!(text.parse::<FileName>(), Err(FileNameError::NoName(text.to_owned())));
        }
        assert_eq!("a".repeat(256).parse::<FileName>(), Err(FileNameError::TooLong(256)));
        for text in ["a b.txt", "...", ".flag", "交易.flag"] {
            assert_eq!(text.parse::<FileName>().unwrap().to_string(), text);
        }
    }
}
