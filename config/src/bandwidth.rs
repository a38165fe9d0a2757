//! `[bandwidth]`: what the node may move, for whom, and when.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use rdcq_wire::{ByteRate, Class, NodeId, RateLimit, TagKey};
use serde::{Deserialize, Serialize};

use crate::{GroupConfig, Invalid, Window, text};

/// `[bandwidth]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandwidthConfig {
    /// What may go to others. Left out, there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<DirectionConfig>,
    /// What may come from others. Left out, there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<DirectionConfig>,
    /// The IANA name of the time zone of the windows; left out, it is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Other limits at times.
    #[serde(default, rename = "window", skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowConfig>,
    /// Which class the tags of a group are of. Commands go by it; the class of what a node moves is that of the command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupConfig>,
}

/// `[bandwidth.egress]` and `[bandwidth.ingress]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectionConfig {
    /// All that the node may move in this direction, as links count it: with all headers.
    #[serde(with = "text")]
    pub limit: RateLimit,
    /// What each class may have of it.
    #[serde(default, skip_serializing_if = "ClassesConfig::is_default")]
    pub classes: ClassesConfig,
    /// What may be moved with single nodes.
    #[serde(default, with = "text::table", skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<NodeId, RateLimit>,
}

/// Something for each class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassesConfig {
    /// What somebody waits for.
    pub urgent: ClassConfig,
    /// What has to be there in time.
    pub normal: ClassConfig,
    /// What can wait.
    pub background: ClassConfig,
}

impl ClassesConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a class may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassConfig {
    /// Its part beside the others that want something; left out, 8, 4 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<NonZeroU32>,
    /// What it has before the others share the rest.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub minimum: Option<ByteRate>,
    /// What it never has more of.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<RateLimit>,
}

/// `[[bandwidth.window]]`: limits of the node in place of the usual ones, at times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// When.
    #[serde(with = "text")]
    pub when: Window,
    /// In place of `egress.limit`.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub egress: Option<RateLimit>,
    /// In place of `ingress.limit`.
    #[serde(default, with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub ingress: Option<RateLimit>,
}

impl BandwidthConfig {
    /// The class of a group's tag: the most urgent, should several groups have it.
    pub fn class_of(&self, key: &TagKey) -> Option<Class> {
        self.groups.values().filter(|group| group.contains(key)).map(|group| group.class).min()
    }

    /// Whether windows are for something, and for one thing at a time, and groups have tags. Sums and zones are for who keeps
    /// the limits.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if let Some((name, _)) = self.groups.iter().find(|(_, group)| group.tags.is_empty()) {
            return Err(Invalid::EmptyGroup(name.clone()));
        }
        for (at, window) in self.windows.iter().enumerate() {
            if window.egress.is_none() && window.ingress.is_none() {
                return Err(Invalid::IdleWindow(window.when));
            }
            let clashes = |other: &&WindowConfig| {
                let both = |of: fn(&WindowConfig) -> bool| of(window) && of(other);
                (both(|one| one.egress.is_some()) || both(|one| one.ingress.is_some()))
                    && window.when.overlaps(&other.when)
            };
            if let Some(other) = self.windows[..at].iter().find(clashes) {
                return Err(Invalid::Windows { first: other.when, second: window.when });
            }
        }
        Ok(())
    }
}
