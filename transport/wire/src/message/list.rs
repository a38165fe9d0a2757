//! Which tags stand.

use serde::{Deserialize, Serialize};

use super::MAX_LISTING_BYTES;
use crate::tag::Field;
use crate::{Kind, Message, Record, Request, TagKey};

/// Asks for a page of live records in the order of key and sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(proptest_derive::Arbitrary))]
pub struct List {
    /// What the keys begin with.
    pub prefix: Field,
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
            List { prefix: "k".parse().unwrap(), after: None, limit: 10 },
            "2200000a00000000000102b81701016b000a"
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
