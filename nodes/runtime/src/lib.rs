//! From configuration to a running node.
//!
//! A role's `App` is bound ([`Bound`]: its address is taken, nothing runs), then spawned ([`Running`]: the only handle
//! needed to stop it). It stands on a [`Host`] — clock, disk, network, catalogues — which a simulation replaces as a
//! whole. Around the apps, this crate holds what more than one role needs: serving content out of a store
//! ([`content`], by an origin to agents [`Seed`]), keeping content that is in use and dropping what has no name any more ([`Leases`], [`Collector`]),
//! the driver that joins the pure swarm to the network ([`Download`]; [`swarm_log`] tells what it did), and what a role tells
//! of itself ([`Insight`], [`metrics`]); [`Reloads`] brings an operator's wish to the task that reads the settings.

mod bandwidth;
mod collector;
mod common;
pub mod content;
mod credentials;
mod download;
mod host;
mod leases;
mod meter;
pub mod metrics;
mod refuse;
mod reload;
mod running;
mod seed;
mod spreads;
mod status;
pub mod swarm_log;
mod uploads;

pub use bandwidth::{BandwidthError, BandwidthPlan, LiveBandwidth, NodeLimits};
pub use collector::Collector;
pub use credentials::{
    CredentialsError, CredentialsWatch, LiveCredentials, load_credentials, security, watch_credentials,
};
pub use download::{Arrival, Download, DownloadError, Fetched};
pub use host::{Catalogues, Host};
pub use leases::{Claim, Leases};
pub use refuse::{failure_of_call, failure_of_store};
pub use reload::{ReloadOrder, ReloadOrders, ReloadOutcome, Reloads};
pub use running::{Bound, Member, Running, StartError, data_ports, repeat};
pub use seed::Seed;
pub use status::{Ends, Insight, InsightSource, Reading, TransferSource};
pub use uploads::Uploads;
