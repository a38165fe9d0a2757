//! `[bandwidth.groups]`: which class the tags of a group are of.

use std::fmt;
use std::str::FromStr;

use rdcq_wire::{Class, TagKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text;

/// `[bandwidth.groups.NAME]`: tags that matter as much as one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// The keys of its tags.
    pub tags: Vec<TagPattern>,
    /// What pushes and pulls of them are, unless the command says otherwise.
    #[serde(with = "text")]
    pub class: Class,
}

impl GroupConfig {
    /// Whether a tag of this key is in the group.
    pub fn contains(&self, key: &TagKey) -> bool {
        self.tags.iter().any(|pattern| pattern.matches(key))
    }
}

/// Keys of tags: a key in which each `*` stands for any characters, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPattern(String);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pattern of tags must not be empty; write a key, with * for any characters, or just * for all")]
pub struct EmptyPattern;

impl TagPattern {
    fn matches(&self, key: &TagKey) -> bool {
        let mut rest = key.as_str();
        let Some((first, others)) = self.0.split_once('*') else { return rest == self.0 };
        let Some(tail) = rest.strip_prefix(first) else { return false };
        rest = tail;
        let (middle, last) = others.rsplit_once('*').unwrap_or(("", others));
        // The leftmost place for each part leaves the most for what comes after it.
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            match rest.split_once(part) {
                Some((_, tail)) => rest = tail,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl FromStr for TagPattern {
    type Err = EmptyPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Err(EmptyPattern) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TagPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for TagPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_or_none() {
        let keys = ["a", "ab", "aba", "b-a", "abab"];
        let matching = |pattern: &str| {
            let pattern: TagPattern = pattern.parse().unwrap();
            let matches = |key: &&str| pattern.matches(&TagKey::try_from((*key).to_owned()).unwrap());
            keys.into_iter().filter(matches).collect::<Vec<_>>()
        };
        assert_eq!(matching("ab"), ["ab"]);
        assert_eq!(matching("*"), keys);
        assert_eq!(matching("ab*"), ["ab", "aba", "abab"]);
        assert_eq!(matching("*ab"), ["ab", "abab"]);
        assert_eq!(matching("a*a"), ["aba"], "one character is not both ends");
        assert_eq!(matching("*b*a*"), ["aba", "b-a", "abab"]);
        assert_eq!(matching("a**b"), ["ab", "abab"]);
        assert_eq!(matching("*ba*ba"), [""; 0], "nor the middle and the end");
        assert!("".parse::<TagPattern>().is_err());
    }
}
