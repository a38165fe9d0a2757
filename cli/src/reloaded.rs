//! What comes of settings that are read while a node runs.

use std::fmt;

use rdcq_config::{BandwidthConfig, Change, Config};
use rdcq_wire::message::{Effect, Note, Setting};
use serde::Serialize;

/// The one section whose settings change while a node runs.
const LIVE: &str = "bandwidth.";

/// What became of changed settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// What is different from now on.
    pub changed: Vec<String>,
    /// What will be when the node starts anew.
    pub restart: Vec<String>,
    /// Limits that were taken away and hold on: an edit that loses a section must not open the flood gates.
    pub kept: Vec<String>,
}

impl Reloaded {
    /// What becomes of `old` settings, and the settings that hold from then on.
    pub(crate) fn between(old: &Config, new: Config) -> (Config, Self) {
        let mut merged = new;
        let kept = keep_limits(old.bandwidth.as_ref(), &mut merged.bandwidth);
        let (changed, restart): (Vec<Change>, Vec<Change>) =
            old.changes(&merged).into_iter().partition(|change| change.key.starts_with(LIVE));
        let texts = |changes: Vec<Change>| changes.iter().map(Change::to_string).collect();
        (merged, Self { changed: texts(changed), restart: texts(restart), kept })
    }

    /// The same for the wire, what holds on first.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let with = |effect, texts: &[String]| -> Vec<_> {
            texts.iter().map(|text| Setting { effect, text: Note::from(text.clone()) }).collect()
        };
        let Self { changed, restart, kept } = self;
        [with(Effect::Kept, kept), with(Effect::Changed, changed), with(Effect::Restart, restart)].concat()
    }

    /// What a node told.
    pub(crate) fn of_settings(settings: &[Setting]) -> Self {
        let texts = |effect| {
            let of_effect = settings.iter().filter(|setting| setting.effect == effect);
            of_effect.map(|setting| setting.text.to_string()).collect()
        };
        Self { changed: texts(Effect::Changed), restart: texts(Effect::Restart), kept: texts(Effect::Kept) }
    }

    /// Adds what another answer of the same node tells besides.
    pub(crate) fn add(&mut self, other: &Self) {
        let lists = [
            (&mut self.changed, &other.changed),
            (&mut self.restart, &other.restart),
            (&mut self.kept, &other.kept),
        ];
        for (texts, more) in lists {
            let new: Vec<_> = more.iter().filter(|text| !texts.contains(text)).cloned().collect();
            texts.extend(new);
        }
    }

    /// Whether nothing was different.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A direction that is not limited any more has to say so.
fn keep_limits(old: Option<&BandwidthConfig>, new: &mut Option<BandwidthConfig>) -> Vec<String> {
    let Some(old) = old else { return Vec::new() };
    if new.is_none() && *old != BandwidthConfig::default() {
        *new = Some(old.clone());
        return vec!["bandwidth".to_owned()];
    }
    let mut kept = Vec::new();
    if let Some(new) = new {
        let directions =
            [("egress", &old.egress, &mut new.egress), ("ingress", &old.ingress, &mut new.ingress)];
        for (name, old, new) in directions {
            if new.is_none() && old.is_some() {
                new.clone_from(old);
                kept.push(format!("bandwidth.{name}"));
            }
        }
    }
    kept
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no setting is different");
        }
        let kept = self.kept.iter().map(|key| {
            format!("[{key}] was taken away and still holds; write limit = \"unlimited\" to end its limit")
        });
        let restart = self.restart.iter().map(|change| format!("{change} (when the node starts anew)"));
        let lines: Vec<_> = self.changed.iter().cloned().chain(restart).chain(kept).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = "[identity]\nca = 'a'\ncert = 'b'\nkey = 'c'\n";

    fn config(text: &str) -> Config {
        Config::parse(&format!("{IDENTITY}{text}"), "test").unwrap()
    }

    fn reload(old: &str, new: &str) -> (Config, Reloaded) {
        Reloaded::between(&config(old), config(new))
    }

    #[test]
    fn limits_change_at_once_and_all_else_with_the_next_start() {
        let old = "[bandwidth.egress]\nlimit = '1Gbit/s'\n[limits]\ndrain = '10s'\n";
        let new =
            "[bandwidth.egress]\nlimit = '2Gbit/s'\nclasses.urgent.weight = 9\n[limits]\ndrain = '20s'\n";
        let (merged, reloaded) = reload(old, new);
        assert_eq!(
            reloaded.changed,
            [
                "bandwidth.egress.classes.urgent.weight: not set -> 9",
                "bandwidth.egress.limit: \"1Gbit/s\" -> \"2Gbit/s\"",
            ]
        );
        assert_eq!(reloaded.restart, ["limits.drain: \"10s\" -> \"20s\""]);
        assert_eq!(merged, config(new));
        assert!(reload(new, new).1.is_empty());
    }

    #[test]
    fn what_travels_says_the_same_and_begins_with_what_holds_on() {
        let texts = |text: &str| vec![text.to_owned()];
        let reloaded = Reloaded { changed: texts("a"), restart: texts("b"), kept: texts("bandwidth") };
        let settings = reloaded.settings();
        let effects: Vec<_> = settings.iter().map(|setting| setting.effect).collect();
        assert_eq!(effects, [Effect::Kept, Effect::Changed, Effect::Restart]);
        assert_eq!(Reloaded::of_settings(&settings), reloaded);
    }

    #[test]
    fn limits_that_are_taken_away_hold_until_they_are_said_to_be_unlimited() {
        let limited = "[bandwidth.egress]\nlimit = '1Gbit/s'\n[bandwidth.ingress]\nlimit = '2Gbit/s'\n";
        let (merged, reloaded) = reload(limited, "");
        assert_eq!((merged, &*reloaded.kept), (config(limited), &["bandwidth".to_owned()][..]));
        assert!(reloaded.to_string().contains("[bandwidth] was taken away and still holds"));
        let (merged, reloaded) = reload(limited, "[bandwidth.ingress]\nlimit = 'unlimited'\n");
        assert_eq!(reloaded.kept, ["bandwidth.egress"]);
        assert_eq!(reloaded.changed, ["bandwidth.ingress.limit: \"2Gbit/s\" -> \"unlimited\""]);
        let bandwidth = merged.bandwidth.unwrap();
        assert_eq!(bandwidth.egress.unwrap().limit.to_string(), "1Gbit/s");
        assert_eq!(bandwidth.ingress.unwrap().limit.to_string(), "unlimited");
    }
}
