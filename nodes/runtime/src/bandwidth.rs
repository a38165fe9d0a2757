//! What a node may move, as its settings say, at every moment.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rdcq_bandwidth::{ClassLimits, Classes, Limits, LimitsError};
use rdcq_config::{BandwidthConfig, ClassConfig, DirectionConfig, MinuteOfWeek, Window, WindowConfig};
use rdcq_env::Env;
use rdcq_transport::{Bandwidth, Direction};
use rdcq_wire::{Class, RateLimit};

/// What a node may move at any time.
#[derive(Debug, Clone)]
pub struct BandwidthPlan {
    usual: NodeLimits,
    zone: TimeZone,
    windows: Vec<WindowConfig>,
}

/// What a node may move in both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// To others.
    pub egress: Limits,
    /// From others.
    pub ingress: Limits,
}

/// Why what the settings say of bandwidth cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BandwidthError {
    /// Limits contradict one another.
    #[error("[bandwidth.{direction}]{when}: {source}", when = in_window(window.as_ref()))]
    Limits {
        /// In which direction.
        direction: Direction,
        /// In which window; none if always.
        window: Option<Window>,
        /// How.
        source: LimitsError,
    },
    /// No such time zone.
    #[error(
        "bandwidth.time_zone: {0:?} is no time zone; write its IANA name, as \"Europe/Zurich\" or \"UTC\""
    )]
    TimeZone(String),
}

fn in_window(window: Option<&Window>) -> String {
    window.map_or_else(String::new, |window| format!(" in the window {window}"))
}

impl BandwidthPlan {
    /// What the settings say. All that may ever hold is checked now.
    pub fn of(config: Option<&BandwidthConfig>) -> Result<Self, BandwidthError> {
        let Some(config) = config else { return Ok(Self::default()) };
        let usual = NodeLimits {
            egress: config.egress.as_ref().map(limits).unwrap_or_default(),
            ingress: config.ingress.as_ref().map(limits).unwrap_or_default(),
        };
        let zone = config.time_zone.as_deref().map_or(Ok(TimeZone::UTC), |name| {
            TimeZone::get(name).map_err(|_| BandwidthError::TimeZone(name.to_owned()))
        })?;
        usual.check(None)?;
        for window in &config.windows {
            usual.within(window).check(Some(window.when))?;
        }
        Ok(Self { usual, zone, windows: config.windows.clone() })
    }

    /// What holds at a time, in milliseconds since 1970.
    pub fn at(&self, unix_ms: u64) -> NodeLimits {
        if self.windows.is_empty() {
            return self.usual.clone();
        }
        let minute = self.minute(unix_ms);
        let open = self.windows.iter().filter(|window| window.when.contains(minute));
        open.fold(self.usual.clone(), |limits, window| limits.within(window))
    }

    fn minute(&self, unix_ms: u64) -> MinuteOfWeek {
        let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let local = self.zone.to_datetime(at.unwrap_or(Timestamp::MAX));
        let number = |part: i8| part.unsigned_abs().into();
        let day = local.date().weekday().to_monday_zero_offset();
        MinuteOfWeek::new(number(day), number(local.hour()), number(local.minute()))
    }
}

/// A node's bandwidth, which follows a plan as time goes by. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct LiveBandwidth(Arc<Live>);

struct Live {
    env: Env,
    bandwidth: Bandwidth,
    state: Mutex<(BandwidthPlan, NodeLimits)>,
}

/// How often the clock is looked at: a window opens and closes within a second of its time.
const LOOK: Duration = Duration::from_millis(500);

impl LiveBandwidth {
    /// Keeps what the plan says of now.
    pub fn new(env: &Env, bandwidth: Bandwidth, plan: BandwidthPlan) -> Self {
        let limits = plan.at(env.unix_ms());
        bandwidth.set_limits(limits.egress.clone(), limits.ingress.clone());
        Self(Arc::new(Live { env: env.clone(), bandwidth, state: Mutex::new((plan, limits)) }))
    }

    /// Keeps another plan from now on.
    pub fn set_plan(&self, plan: BandwidthPlan) {
        self.state().0 = plan;
        self.look();
    }

    /// Opens and closes windows until dropped.
    pub async fn follow(self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    fn look(&self) {
        let mut state = self.state();
        let limits = state.0.at(self.0.env.unix_ms());
        if limits != state.1 {
            tracing::info!(egress = %limits.egress.node, ingress = %limits.ingress.node, "other limits hold");
            // Under the lock: of two changes the later one stays.
            self.0.bandwidth.set_limits(limits.egress.clone(), limits.ingress.clone());
            state.1 = limits;
        }
    }

    fn state(&self) -> MutexGuard<'_, (BandwidthPlan, NodeLimits)> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LiveBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveBandwidth").field(&self.state().1).finish()
    }
}

impl Default for BandwidthPlan {
    /// No limits.
    fn default() -> Self {
        Self { usual: NodeLimits::default(), zone: TimeZone::UTC, windows: Vec::new() }
    }
}

impl NodeLimits {
    fn check(&self, window: Option<Window>) -> Result<(), BandwidthError> {
        for (direction, limits) in [(Direction::Egress, &self.egress), (Direction::Ingress, &self.ingress)] {
            limits.check().map_err(|source| BandwidthError::Limits { direction, window, source })?;
        }
        Ok(())
    }

    /// These, with what is different in a window.
    fn within(&self, window: &WindowConfig) -> Self {
        let limits = |usual: &Limits, other: Option<RateLimit>| Limits {
            node: other.unwrap_or(usual.node),
            ..usual.clone()
        };
        Self { egress: limits(&self.egress, window.egress), ingress: limits(&self.ingress, window.ingress) }
    }
}

fn limits(config: &DirectionConfig) -> Limits {
    let usual = Classes::default();
    let class = |class, ClassConfig { weight, minimum, ceiling }: &ClassConfig| ClassLimits {
        weight: weight.unwrap_or(usual.of(class).weight),
        minimum: *minimum,
        ceiling: ceiling.unwrap_or_default(),
    };
    let classes = Classes {
        urgent: class(Class::Urgent, &config.classes.urgent),
        normal: class(Class::Normal, &config.classes.normal),
        background: class(Class::Background, &config.classes.background),
    };
    Limits { node: config.limit, classes, peers: config.peers.clone() }
}

#[cfg(test)]
mod tests {
    use rdcq_config::Config;

    use super::*;

    fn plan(bandwidth: &str) -> Result<BandwidthPlan, BandwidthError> {
        let text = format!("[identity]\nca = 'a'\ncert = 'b'\nkey = 'c'\n{bandwidth}");
        let config = Config::parse(&text, "test").unwrap();
        BandwidthPlan::of(config.bandwidth.as_ref())
    }

    fn node_at(plan: &BandwidthPlan, time: &str) -> [String; 2] {
        let unix_ms = time.parse::<Timestamp>().unwrap().as_millisecond();
        let limits = plan.at(unix_ms.try_into().unwrap());
        [limits.egress.node.to_string(), limits.ingress.node.to_string()]
    }

    #[test]
    fn without_settings_nothing_is_limited() {
        let limits = BandwidthPlan::of(None).unwrap().at(0);
        assert!(limits.egress.is_unlimited() && limits.ingress.is_unlimited());
        assert_eq!(limits, plan("[bandwidth]\n").unwrap().at(0));
    }

    #[test]
    fn windows_change_what_they_name_at_local_time() {
        let plan = plan(
            "[bandwidth]\ntime_zone = 'Europe/Zurich'\n\
             egress.limit = '100Mbit/s'\ningress.limit = '200Mbit/s'\n\
             [[bandwidth.window]]\nwhen = '22:00-06:00 Mon-Fri'\negress = 'unlimited'\n\
             [[bandwidth.window]]\nwhen = '00:00-24:00 Sun'\ningress = '1Gbit/s'\n",
        )
        .unwrap();
        // Zurich is two hours ahead of UTC in summer, one in winter.
        assert_eq!(node_at(&plan, "2026-07-01T19:59:00Z"), ["100Mbit/s", "200Mbit/s"]);
        assert_eq!(node_at(&plan, "2026-07-01T20:00:00Z"), ["unlimited", "200Mbit/s"]);
        assert_eq!(node_at(&plan, "2026-12-02T20:59:00Z"), ["100Mbit/s", "200Mbit/s"]);
        assert_eq!(node_at(&plan, "2026-12-02T21:00:00Z"), ["unlimited", "200Mbit/s"]);
        assert_eq!(node_at(&plan, "2026-12-06T12:00:00Z"), ["100Mbit/s", "1Gbit/s"]);
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_its_place() {
        let refusal = |bandwidth: &str| plan(bandwidth).unwrap_err().to_string();
        let minimums = "[bandwidth.ingress]\nlimit = '100Mbit/s'\nclasses.urgent.minimum = '60Mbit/s'\n";
        assert_eq!(plan(minimums).unwrap().at(0).ingress.node.to_string(), "100Mbit/s");
        let both = format!("{minimums}classes.normal.minimum = '50Mbit/s'\n");
        assert!(refusal(&both).starts_with("[bandwidth.ingress]: the minimums of the classes are 110Mbit/s"));
        let window = format!("{minimums}[[bandwidth.window]]\nwhen = '08:00-09:00'\ningress = '50Mbit/s'\n");
        assert!(refusal(&window).starts_with("[bandwidth.ingress] in the window 08:00-09:00: the minimums"));
        assert!(refusal("[bandwidth]\ntime_zone = 'Mars/Base'\n").contains("\"Mars/Base\" is no time zone"));
    }

    #[test]
    fn each_setting_of_a_direction_is_kept() {
        let plan = plan(
            "[bandwidth.egress]\nlimit = '1Gbit/s'\n\
             classes.urgent = { weight = 9, minimum = '100Mbit/s' }\nclasses.background.ceiling = '10MB/s'\n\
             peers = { agent-7 = '50Mbit/s' }\n",
        );
        let egress = plan.unwrap().at(0).egress;
        let Classes { urgent, normal, background } = egress.classes;
        assert_eq!([urgent, normal, background].map(|class| class.weight.get()), [9, 4, 1]);
        assert_eq!(urgent.minimum.unwrap().to_string(), "100Mbit/s");
        assert_eq!(background.ceiling.to_string(), "80Mbit/s");
        assert_eq!(egress.peers[&"agent-7".parse().unwrap()].to_string(), "50Mbit/s");
    }
}
