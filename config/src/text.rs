//! Settings that are written as texts: whatever has a form to read and to show.
//!
//! Visitors, because the parser adds the line only to errors that arise within one.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    Text(PhantomData).deserialize(deserializer)
}

/// One that may be left out.
pub(crate) mod optional {
    use super::{Deserializer, FromStr, Serializer, fmt};

    pub(crate) fn serialize<T: fmt::Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        super::deserialize(deserializer).map(Some)
    }
}

/// A table of them, with names of a form of their own.
pub(crate) mod table {
    use std::collections::BTreeMap;

    use serde::de::MapAccess;
    use serde::ser::SerializeMap;

    use super::{Deserializer, Error, FromStr, PhantomData, Serializer, Text, Visitor, fmt};

    pub(crate) fn serialize<K, V, S>(table: &BTreeMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: fmt::Display,
        V: fmt::Display,
        S: Serializer,
    {
        let mut map = serializer.serialize_map(Some(table.len()))?;
        table
            .iter()
            .try_for_each(|(name, value)| map.serialize_entry(&name.to_string(), &value.to_string()))?;
        map.end()
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: FromStr<Err: fmt::Display> + Ord,
        V: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        deserializer.deserialize_map(Table(PhantomData))
    }

    struct Table<K, V>(PhantomData<(K, V)>);

    impl<'de, K, V> Visitor<'de> for Table<K, V>
    where
        K: FromStr<Err: fmt::Display> + Ord,
        V: FromStr<Err: fmt::Display>,
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table of names and texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut table = BTreeMap::new();
            while let Some(name) = entries.next_key::<String>()? {
                // Here rather than as the name is read: an error at a value has a line.
                let value = entries.next_value_seed(Text(PhantomData))?;
                table.insert(name.parse().map_err(A::Error::custom)?, value);
            }
            Ok(table)
        }
    }
}

/// Reads one text.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> DeserializeSeed<'de> for Text<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}
