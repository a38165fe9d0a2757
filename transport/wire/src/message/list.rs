//! Records of tags, a page at a time.

use serde::{Deserialize, Serialize};

use super::MAX_LISTING_BYTES;
use crate::tag::Field;
use crate::{Kind, Message, NodeId, Record, Request, TagKey};

/// Asks for a page of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct List {
    /// Which records, in which order.
    pub what: Selection,
    /// Where the last page ended.
    pub after: Option<Cursor>,
    /// At most this many records.
    pub limit: u32,
}

impl Message for List {
    const KIND: Kind = Kind::List;
}

impl Request for List {
    type Reply = Listing;
}

/// Which records are listed, and in which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub enum Selection {
    /// The live records of the keys that begin with this, in the order of key and sequence.
    Prefix(Field),
    /// Of each key whose latest live record is of a file with this name, and of this host if one is given: that record; in the
    /// order of keys.
    File(Field, Option<NodeId>),
    /// All records of this key, removals too, the newest first.
    History(TagKey),
}

/// A place in the order of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Cursor {
    /// The key.
    pub key: TagKey,
    /// The sequence number within the key's history.
    pub seq: u64,
}

/// A page; the body is its records, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct Listing {
    /// How many records the body holds.
    pub records: u32,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl Message for Listing {
    const KIND: Kind = Kind::Listing;
}

impl Listing {
    /// Appends a record to a page's body, unless the page would grow too long.
    pub fn push(body: &mut Vec<u8>, record: &Record) -> bool {
        let bytes = postcard::to_allocvec(record).expect("a record always encodes");
        let fits = body.len() + bytes.len() <= MAX_LISTING_BYTES as usize;
        if fits {
            body.extend(bytes);
        }
        fits
    }

    /// Reads a page's body, which must hold exactly the announced records.
    pub fn read(&self, mut body: &[u8]) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        for _ in 0..self.records {
            let (record, rest) = postcard::take_from_bytes(body).ok()?;
            records.push(record);
            body = rest;
        }
        body.is_empty().then_some(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    mod list {
        use super::*;

        message_tests!(
            List,
            List { what: Selection::Prefix("k".parse().unwrap()), after: None, limit: 10 },
            "2200000b00000000000102b8170100016b000a"
        );
    }

    mod listing {
        use super::*;

        message_tests!(
            Listing,
            Listing { records: 1, next: Some(Cursor { key: "k".parse().unwrap(), seq: 2 }) },
            "2300000b00000000000102b817010101016b02"
        );
    }
}
