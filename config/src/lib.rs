//! The settings file: typed sections, validation, shipped TOML.
//!
//! [`Config`] is the whole file. A section that is present is a role that runs; `[identity]`, `[herd]`, `[limits]`, `[transport]` and
//! `[bandwidth]` are for all of them. [`Config::parse`] finds what is not TOML or not a setting, and names the line;
//! [`Config::validate`] finds settings that do not make sense together, and says what to add. The files in `examples/`
//! show every key with its meaning.
//!
//! The crate turns text into types and back. Files are read and written by its callers.

mod address;
mod bandwidth;
mod change;
mod congestion;
mod duration;
mod error;
mod group;
mod sections;
mod text;
mod validate;
mod window;

use std::path::{Path, PathBuf};

use rdcq_wire::{Role, RoleSet};
use serde::{Deserialize, Serialize};

pub use bandwidth::{BandwidthConfig, ClassConfig, ClassesConfig, DirectionConfig, WindowConfig};
pub use change::Change;
pub use congestion::{Congestion, UnknownCongestion};
pub use error::{ConfigError, Invalid};
pub use group::{EmptyPattern, GroupConfig, TagPattern};
pub use sections::{
    AdminConfig, AgentConfig, BuildIndexConfig, ClientConfig, HerdAddresses, IdentityFiles, Limits,
    OriginConfig, ProxyConfig, TrackerConfig, Transport,
};
pub use window::{MinuteOfWeek, NoWindow, Window};

/// Every number and path that stands in for a setting that is left out.
pub mod defaults {
    pub use crate::duration::MAX_DURATION;
    pub use crate::sections::defaults::*;
}

/// The settings of a node, or of a host's command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the node keeps what it must not lose.
    #[serde(default = "defaults::data_dir")]
    pub data_dir: PathBuf,
    /// Who the node is.
    pub identity: IdentityFiles,
    /// Where the herd's servers are.
    #[serde(default)]
    pub herd: HerdAddresses,
    /// The front door for pushes, if it runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyConfig>,
    /// The owner of content, if it runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginConfig>,
    /// The map from tags to digests, if it runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_index: Option<BuildIndexConfig>,
    /// Who knows who has what, if it runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracker: Option<TrackerConfig>,
    /// The host's puller and server of pieces, if it runs here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentConfig>,
    /// What pushes and pulls from this host's command line need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientConfig>,
    /// The listener for people and scrapers, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminConfig>,
    /// How much the node takes on.
    #[serde(default)]
    pub limits: Limits,
    /// How connections are set up.
    #[serde(default)]
    pub transport: Transport,
    /// What the node may move, for whom, and when; no limits without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BandwidthConfig>,
}

impl Config {
    /// Reads settings. `origin` is the file's name, for messages.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::from_toml(&error, text, origin))
    }

    /// Makes relative paths relative to `base`, the folder of the file that they come from.
    #[must_use]
    pub fn resolve(mut self, base: &Path) -> Self {
        let identity = &mut self.identity;
        let paths = [&mut self.data_dir, &mut identity.ca, &mut identity.cert, &mut identity.key];
        for path in paths.into_iter().chain(&mut identity.crl) {
            *path = base.join(&*path);
        }
        self
    }

    /// The settings as the text of a file.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Unwritable(error.to_string()))
    }

    /// What these settings make of a node, for comparison with the roles in its certificate.
    pub fn roles(&self) -> RoleSet {
        let sections = [
            (self.proxy.is_some(), Role::Proxy),
            (self.origin.is_some(), Role::Origin),
            (self.build_index.is_some(), Role::BuildIndex),
            (self.tracker.is_some(), Role::Tracker),
            (self.agent.is_some(), Role::Agent),
            (self.client.is_some(), Role::Client),
        ];
        sections.into_iter().filter(|(present, _)| *present).map(|(_, role)| role).collect()
    }
}
