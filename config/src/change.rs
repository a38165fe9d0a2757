//! What differs between two settings files.

use std::collections::BTreeMap;
use std::fmt;

use crate::Config;

/// A setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its key, with the sections that it is in.
    pub key: String,
    /// What it was, if it was there.
    pub old: Option<String>,
    /// What it is now, if it is there.
    pub new: Option<String>,
}

impl Config {
    /// What is different in `new`, ordered by key.
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let (old, new) = (self.settings(), new.settings());
        let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        let changes = keys.into_iter().map(|key| {
            let (old, new) = (old.get(key).cloned(), new.get(key).cloned());
            Change { key: key.clone(), old, new }
        });
        changes.filter(|change| change.old != change.new).collect()
    }

    /// Every setting as a text, under its whole key.
    fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        // A path that has no text form is a setting that cannot have come from a file.
        if let Ok(table) = toml::Table::try_from(self) {
            flatten("", toml::Value::Table(table), &mut settings);
        }
        settings
    }
}

fn flatten(key: &str, value: toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(&key, value, into);
            }
        }
        value => drop(into.insert(key.to_owned(), value.to_string())),
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, old, new } = self;
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{key}: {} -> {}", shown(old), shown(new))
    }
}
