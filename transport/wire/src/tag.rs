//! Tags: how people name content, and the records that a name's history is made of.
//!
//! A tag is written `KEY:VERSION`. The key is opaque; by convention it is `srcHost-srcDir-fileName`, and the record
//! carries those three as fields. Only the version, after the last colon, is ever read out of the text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, NodeId};

/// Longest tag (key, colon and version), in bytes of UTF-8.
pub const MAX_TAG_BYTES: usize = 4096;

/// The part of a tag before its version: 1 to 3,967 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TagKey(String);

impl TagKey {
    /// Longest key: a tag's maximum less the colon and the longest version.
    pub const MAX_LEN: usize = MAX_TAG_BYTES - 1 - Version::MAX_LEN;

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The conventional key `srcHost-srcDir-fileName`.
    pub fn conventional(host: &str, directory: &str, file: &str) -> Result<Self, TagError> {
        Self::try_from(format!("{host}-{directory}-{file}"))
    }
}

impl TryFrom<String> for TagKey {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Err(TagError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(TagError::TooLong { bytes: text.len(), max: Self::MAX_LEN });
        }
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(TagError::Control(control));
        }
        Ok(Self(text))
    }
}

/// A version of a key: 1 to 128 of `A-Z a-z 0-9 . _ + -`, and not the word `latest`, which asks for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

impl Version {
    /// Longest version, in bytes.
    pub const MAX_LEN: usize = 128;
    /// What asks for the newest version and can itself name none.
    pub const LATEST: &str = "latest";

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version that a push without one gets: its sequence number.
    pub fn from_sequence(seq: u64) -> Self {
        Self(seq.to_string())
    }
}

impl TryFrom<String> for Version {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+' | b'-');
        let reserved = text == Self::LATEST;
        if text.is_empty() || text.len() > Self::MAX_LEN || reserved || !text.bytes().all(legal) {
            return Err(TagError::Version(text.chars().take(80).collect()));
        }
        Ok(Self(text))
    }
}

macro_rules! text_type {
    ($type:ty) => {
        text_type!($type, TagError);
    };
    ($type:ty, $error:ty) => {
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_from(text.to_owned())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(TagKey);
text_type!(Version);

/// What a person asks for: a key, and a version or the latest one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct TagQuery {
    /// The key.
    pub key: TagKey,
    /// The version, or `None` for the latest.
    pub version: Option<Version>,
}

impl FromStr for TagQuery {
    type Err = TagError;

    /// Reads `KEY`, `KEY:VERSION` or `KEY:latest`. A last colon with a slash after it belongs to the key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_TAG_BYTES {
            return Err(TagError::TooLong { bytes: text.len(), max: MAX_TAG_BYTES });
        }
        let (key, version) = match text.rsplit_once(':') {
            Some((_, after)) if after.contains('/') => (text, None),
            Some((key, Version::LATEST)) => (key, None),
            Some((key, version)) => (key, Some(version.parse()?)),
            None => (text, None),
        };
        Ok(Self { key: key.parse()?, version })
    }
}

impl fmt::Display for TagQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, self.version.as_ref().map_or(Version::LATEST, Version::as_str))
    }
}

/// A text that names no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// No key.
    #[error("a tag must not be empty; write KEY or KEY:VERSION")]
    Empty,
    /// Over the maximum.
    #[error("a tag of {bytes} bytes is too long; at most {max} are allowed")]
    TooLong {
        /// Bytes given.
        bytes: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A control character, which no terminal or log shows faithfully.
    #[error("a tag must not contain control characters; this one has {0:?}")]
    Control(char),
    /// What stands after the last colon is no version.
    #[error(
        "malformed version {0:?} after the tag's last colon; a version is 1 to 128 of `A-Z a-z 0-9 . _ + -`"
    )]
    Version(String),
}

/// A tag with the fields that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Name {
    /// The key; `host-directory-file` unless the pusher chose another.
    pub key: TagKey,
    /// The host that the content comes from.
    pub host: NodeId,
    /// The directory on that host; may be empty.
    pub directory: Field,
    /// The file's name in that directory.
    pub file: Field,
}

impl Name {
    /// The name that a push gives a file unless told otherwise.
    pub fn conventional(host: NodeId, directory: &str, file: &str) -> Result<Self, TagError> {
        Ok(Self {
            key: TagKey::conventional(host.as_str(), directory, file)?,
            host,
            directory: directory.parse()?,
            file: file.parse()?,
        })
    }
}

/// A directory or file name in a record: at most 4,096 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Field(String);

impl Field {
    /// Longest field, in bytes.
    pub const MAX_LEN: usize = MAX_TAG_BYTES;

    /// The field as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Field {
    type Error = TagError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > Self::MAX_LEN {
            return Err(TagError::TooLong { bytes: text.len(), max: Self::MAX_LEN });
        }
        match text.chars().find(|c| c.is_control()) {
            Some(control) => Err(TagError::Control(control)),
            None => Ok(Self(text)),
        }
    }
}

text_type!(Field);

/// What people say of a content: at most 1,024 bytes of UTF-8 without control characters; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Description(String);

impl Description {
    /// Longest description, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// The description as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Description {
    type Error = DescriptionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > Self::MAX_LEN {
            return Err(DescriptionError::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(control) => Err(DescriptionError::Control(control)),
            None => Ok(Self(text)),
        }
    }
}

/// A text that is no description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Over the maximum.
    #[error("a description of {0} bytes is too long; at most {max} are allowed", max = Description::MAX_LEN)]
    TooLong(usize),
    /// A control character, which no terminal or log shows faithfully.
    #[error("a description is one line without control characters; this one has {0:?}")]
    Control(char),
}

text_type!(Description, DescriptionError);

/// What a pushed file was beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Attributes {
    /// Who may do what with it: the nine permission bits of `st_mode`; others are not delivered.
    pub mode: u16,
    /// When it was written to, in nanoseconds since 1970-01-01 UTC by its host's clock.
    pub modified_unix_ns: i64,
    /// What its pusher says of it.
    pub description: Description,
}

impl Attributes {
    /// The bits of [`Self::mode`] that are delivered: no file comes to run as another user than who starts it.
    pub const PERMISSIONS: u16 = 0o777;
}

impl Default for Attributes {
    /// Those of a file of which nothing is known: readable by everybody, from 1970.
    fn default() -> Self {
        Self { mode: 0o644, modified_unix_ns: 0, description: Description::default() }
    }
}

/// One entry of a key's history. A record is written once; a removal is an entry of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Record {
    /// What is named.
    pub name: Name,
    /// The version that this entry is about.
    pub version: Version,
    /// The entry's place in the key's history, from 1; never reused.
    pub seq: u64,
    /// The content's digest.
    pub digest: Digest,
    /// SHA-256 of the canonical manifest.
    pub manifest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// The content's number of pieces.
    pub pieces: u32,
    /// Who wrote the entry.
    pub by: NodeId,
    /// When, in milliseconds since 1970-01-01 UTC by the build-index's clock.
    pub at_unix_ms: u64,
    /// The push that wrote it; a repeated commit of the same push finds its own record by it.
    pub push: u64,
    /// What was pushed, beside its bytes.
    pub attributes: Attributes,
    /// Whether the version stands.
    pub state: State,
}

impl Record {
    /// The full tag `KEY:VERSION`.
    pub fn tag(&self) -> String {
        format!("{}:{}", self.name.key, self.version)
    }
}

/// Whether a record's version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum State {
    /// The version stands.
    Live,
    /// The entry is a tombstone: the version was removed, and may be pushed again.
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_follows_the_last_colon() {
        let query: TagQuery = "10.1.2.3-/data/ref-secu.txt:2026-11-22".parse().unwrap();
        assert_eq!(query.key.as_str(), "10.1.2.3-/data/ref-secu.txt");
        assert_eq!(query.version.unwrap().as_str(), "2026-11-22");
    }

    #[test]
    fn latest_and_nothing_both_ask_for_the_latest() {
        for text in ["fe80::1-/data-a b 交易.txt", "fe80::1-/data-a b 交易.txt:latest"] {
            let query: TagQuery = text.parse().unwrap();
            assert_eq!((query.key.as_str(), query.version), ("fe80::1-/data-a b 交易.txt", None));
        }
    }

    #[test]
    fn malformed_tags_are_refused_with_a_reason() {
        let long = "k".repeat(MAX_TAG_BYTES + 1);
        for text in ["", ":", ":1", "a:", "a:b c", "a\n:1", "a:ver sion", "a\0", &long] {
            assert!(text.parse::<TagQuery>().is_err(), "{text:?} was taken for a tag");
        }
    }

    #[test]
    fn the_longest_key_with_the_longest_version_is_the_longest_tag() {
        let text = format!("{}:{}", "k".repeat(TagKey::MAX_LEN), "1".repeat(Version::MAX_LEN));
        assert_eq!(text.len(), MAX_TAG_BYTES);
        assert!(text.parse::<TagQuery>().is_ok());
    }
}
