//! The figures of a process as Prometheus reads them: text exposition format 0.0.4, base units.
//!
//! Labels are roles, planes, directions, reasons and nodes: each is bounded, and none is a tag or a digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Write};
use std::time::Duration;

use rdcq_transport::stats::{EndpointStats, Totals, peers};
use rdcq_transport::{BandwidthStats, Direction};
use rdcq_wire::message::{PeerTraffic, Plane, Traffic};
use rdcq_wire::{HerdId, NodeId, Role};

use crate::{Ends, Reading};

/// What the text is, for whoever fetches it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Most nodes that get lines of their own, those with the most bytes; the others are added up. A server of ten thousand
/// agents would otherwise make a hundred thousand time series.
pub const MAX_NODES: usize = 200;

/// Stands for all nodes beyond [`MAX_NODES`]. No node can be called so.
const OTHERS: &str = "(other)";

const PLANES: [Plane; 2] = [Plane::Control, Plane::Data];

/// What runs in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build<'a> {
    /// The version of rdcq.
    pub version: &'a str,
    /// The herd.
    pub herd: &'a HerdId,
}

/// The text of all metrics. Roles that stand several times among the readings are added up.
pub fn render(build: &Build<'_>, readings: &[Reading], bandwidth: &[(Direction, BandwidthStats)]) -> String {
    let roles = Measured::all_of(readings);
    let mut page = Page::default();
    let of_build = [("version", build.version), ("herd", build.herd.as_str())];
    page.family("rdcq_build_info", Type::Gauge, "What runs here; the value is always 1.");
    page.sample(&of_build, 1);
    page.family("rdcq_uptime_seconds", Type::Gauge, "How long the role has been serving.");
    for (role, measured) in &roles {
        page.sample(&[("role", role.name())], Seconds(measured.uptime));
    }
    page.ends(&roles);
    page.connections(&roles);
    for family in SUMS {
        page.family(family.name, family.kind, family.help);
        for (role, plane, totals) in sums(&roles) {
            page.sample(&[("role", role.name()), ("plane", plane.name())], (family.value)(totals));
        }
    }
    page.refusals(&roles);
    page.bandwidth(bandwidth);
    page.peers(&roles);
    page.text
}

/// A metric with one line for each of several things.
struct Family<T> {
    name: &'static str,
    kind: Type,
    help: &'static str,
    value: fn(&T) -> Value,
}

const SUMS: &[Family<Totals>] = &[
    counter("rdcq_handshakes_total", "Handshakes done, as server and as client.", |t| {
        Value::Number(t.handshakes)
    }),
    counter("rdcq_handshakes_failed_total", "Handshakes that failed, as server and as client.", |t| {
        Value::Number(t.handshakes_failed)
    }),
    counter("rdcq_sent_bytes_total", "UDP payload sent.", |t| Value::Number(t.bytes_sent)),
    counter("rdcq_received_bytes_total", "UDP payload received.", |t| Value::Number(t.bytes_received)),
    counter("rdcq_sent_link_bytes_total", "Bytes sent as interfaces count them, with all headers.", |t| {
        Value::Number(t.link_bytes_sent)
    }),
    counter(
        "rdcq_received_link_bytes_total",
        "Bytes received as interfaces count them, with all headers.",
        |t| Value::Number(t.link_bytes_received),
    ),
    counter("rdcq_sent_datagrams_total", "UDP datagrams sent.", |t| Value::Number(t.datagrams_sent)),
    counter("rdcq_sent_batches_total", "Batches in which datagrams were handed to the system.", |t| {
        Value::Number(t.batches_sent)
    }),
    gauge("rdcq_open_calls", "Requests under way on the connections that are open.", |t| {
        Value::Number(t.open.open_calls.into())
    }),
    gauge("rdcq_longest_rtt_seconds", "The longest round-trip time of the connections that are open.", |t| {
        rtt(&t.open)
    }),
    gauge("rdcq_congestion_window_bytes", "The congestion windows of the open connections, added up.", |t| {
        Value::Number(t.open.congestion_window)
    }),
    gauge("rdcq_smallest_datagram_bytes", "The smallest datagram size of the open connections.", |t| {
        Value::Number(t.open.datagram_size.into())
    }),
    gauge("rdcq_open_sent_packets", "QUIC packets sent on the connections that are open.", |t| {
        Value::Number(t.open.packets_sent)
    }),
    gauge("rdcq_open_lost_packets", "QUIC packets lost on the connections that are open.", |t| {
        Value::Number(t.open.packets_lost)
    }),
];

const PEERS: &[Family<Traffic>] = &[
    gauge("rdcq_peer_connections", "Open connections with the node.", |t| {
        Value::Number(t.connections.into())
    }),
    gauge("rdcq_peer_open_calls", "Requests under way on the open connections with the node.", |t| {
        Value::Number(t.open_calls.into())
    }),
    gauge("rdcq_peer_rtt_seconds", "The longest round-trip time of the open connections with the node.", rtt),
    gauge(
        "rdcq_peer_congestion_window_bytes",
        "The congestion windows of the open connections with the node, added up.",
        |t| Value::Number(t.congestion_window),
    ),
    gauge(
        "rdcq_peer_datagram_bytes",
        "The smallest datagram size of the open connections with the node.",
        |t| Value::Number(t.datagram_size.into()),
    ),
    gauge("rdcq_peer_sent_packets", "QUIC packets sent on the open connections with the node.", |t| {
        Value::Number(t.packets_sent)
    }),
    gauge("rdcq_peer_lost_packets", "QUIC packets lost on the open connections with the node.", |t| {
        Value::Number(t.packets_lost)
    }),
    gauge("rdcq_peer_sent_datagrams", "UDP datagrams sent on the open connections with the node.", |t| {
        Value::Number(t.datagrams_sent)
    }),
    gauge(
        "rdcq_peer_sent_batches",
        "Batches in which the datagrams to the node were handed to the system.",
        |t| Value::Number(t.batches_sent),
    ),
    gauge("rdcq_peer_sent_bytes", "UDP payload sent on the open connections with the node.", |t| {
        Value::Number(t.bytes_sent)
    }),
    gauge("rdcq_peer_received_bytes", "UDP payload received on the open connections with the node.", |t| {
        Value::Number(t.bytes_received)
    }),
];

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Family<T> {
    Family { name, kind: Type::Counter, help, value }
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Family<T> {
    Family { name, kind: Type::Gauge, help, value }
}

fn rtt(traffic: &Traffic) -> Value {
    Value::Time(Duration::from_micros(traffic.rtt_us))
}

/// What is measured of one role.
#[derive(Default)]
struct Measured<'a> {
    uptime: Duration,
    planes: [Totals; PLANES.len()],
    endpoints: Vec<&'a EndpointStats>,
    ends: Vec<&'a Ends>,
}

type Roles<'a> = BTreeMap<Role, Measured<'a>>;

impl<'a> Measured<'a> {
    fn all_of(readings: &'a [Reading]) -> Roles<'a> {
        let mut roles = Roles::new();
        for Reading { role, uptime, endpoints, ends } in readings {
            let measured = roles.entry(*role).or_default();
            measured.ends.extend(ends);
            measured.uptime = measured.uptime.max(*uptime);
            measured.endpoints.extend(endpoints.iter());
        }
        for measured in roles.values_mut() {
            measured.planes = PLANES.map(|plane| {
                let of_plane = |endpoint: &&&EndpointStats| Plane::from(endpoint.plane) == plane;
                Totals::of(measured.endpoints.iter().filter(of_plane).copied())
            });
        }
        roles
    }
}

fn sums<'a>(roles: &'a Roles<'_>) -> impl Iterator<Item = (Role, Plane, &'a Totals)> {
    roles.iter().flat_map(|(role, measured)| {
        PLANES.into_iter().zip(&measured.planes).map(|(plane, totals)| (*role, plane, totals))
    })
}

/// What is measured of one role's connections with one node on one plane.
type Peers<'a> = BTreeMap<(Role, Plane, &'a str), Traffic>;

/// Adds up what goes beyond the nodes that get lines of their own.
fn bounded<'a>(peers: &'a [(Role, PeerTraffic)]) -> Peers<'a> {
    let named = busiest(peers);
    let mut lines = Peers::new();
    for (role, peer) in peers {
        let node = if named.contains(&peer.node) { peer.node.as_str() } else { OTHERS };
        lines.entry((*role, peer.plane, node)).or_default().add(&peer.traffic);
    }
    lines
}

fn busiest(peers: &[(Role, PeerTraffic)]) -> BTreeSet<&NodeId> {
    let mut bytes: BTreeMap<&NodeId, u64> = BTreeMap::new();
    for (_, peer) in peers {
        let sum = bytes.entry(&peer.node).or_default();
        *sum = sum.saturating_add(peer.traffic.bytes());
    }
    let mut nodes: Vec<_> = bytes.into_iter().collect();
    nodes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    nodes.into_iter().take(MAX_NODES).map(|(node, _)| node).collect()
}

/// What a metric is to its reader.
#[derive(Debug, Clone, Copy)]
enum Type {
    Counter,
    Gauge,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

enum Value {
    Number(u64),
    Time(Duration),
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Time(time) => Seconds(*time).fmt(f),
        }
    }
}

struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

/// The text, and the metric whose lines are being written.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a metric.
    fn family(&mut self, name: &'static str, kind: Type, help: &str) {
        self.name = name;
        self.put(format_args!("# HELP {name} {}\n", Escaped { text: help, quotes: Quotes::Stay }));
        self.put(format_args!("# TYPE {name} {}\n", kind.name()));
    }

    /// One line of the metric.
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let name = self.name;
        self.put(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let lead = if index == 0 { '{' } else { ',' };
            self.put(format_args!("{lead}{label}=\"{}\"", Escaped { text, quotes: Quotes::Escaped }));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{end} {value}\n"));
    }

    fn ends(&mut self, roles: &Roles<'_>) {
        let name = "rdcq_certificate_end_timestamp_seconds";
        self.family(name, Type::Gauge, "When the node's certificate ends.");
        self.first_end(roles, |ends| Some(ends.certificate_unix_s));
        let name = "rdcq_revocation_list_end_timestamp_seconds";
        self.family(name, Type::Gauge, "When the first revocation list ends.");
        self.first_end(roles, |ends| ends.lists_unix_s);
    }

    fn first_end(&mut self, roles: &Roles<'_>, end: fn(&Ends) -> Option<u64>) {
        for (role, measured) in roles {
            if let Some(first) = measured.ends.iter().filter_map(|ends| end(ends)).min() {
                self.sample(&[("role", role.name())], first);
            }
        }
    }

    fn connections(&mut self, roles: &Roles<'_>) {
        self.family("rdcq_connections", Type::Gauge, "Connections that are open.");
        for (role, plane, totals) in sums(roles) {
            let accepted = totals.open.connections.saturating_sub(totals.dialled);
            for (direction, count) in [("accepted", accepted), ("dialled", totals.dialled)] {
                let labels = [("role", role.name()), ("plane", plane.name()), ("direction", direction)];
                self.sample(&labels, count);
            }
        }
    }

    fn refusals(&mut self, roles: &Roles<'_>) {
        self.family("rdcq_refused_total", Type::Counter, "Connections refused.");
        for (role, plane, totals) in sums(roles) {
            for (reason, count) in &totals.refused {
                let labels = [("role", role.name()), ("plane", plane.name()), ("reason", reason)];
                self.sample(&labels, count);
            }
        }
    }

    fn bandwidth(&mut self, bandwidth: &[(Direction, BandwidthStats)]) {
        let name = "rdcq_bandwidth_bytes_total";
        self.family(name, Type::Counter, "Bytes of pieces moved, with all headers while there is a limit.");
        for (direction, stats) in bandwidth {
            for (class, bytes) in stats.moved {
                self.sample(&[("direction", direction.name()), ("class", class.name())], bytes);
            }
        }
        let name = "rdcq_bandwidth_limit_bytes_per_second";
        self.family(name, Type::Gauge, "What the node may move; no line where it has no limit.");
        for (direction, stats) in bandwidth {
            if let Some(rate) = stats.limits.node.rate() {
                self.sample(&[("direction", direction.name())], rate.bytes_per_second());
            }
        }
        let name = "rdcq_bandwidth_waiting_streams";
        self.family(name, Type::Gauge, "Streams that wait for their turn.");
        for (direction, stats) in bandwidth {
            self.sample(&[("direction", direction.name())], stats.waiting);
        }
    }

    fn peers(&mut self, roles: &Roles<'_>) {
        let of_role = |(role, measured): (&Role, &Measured<'_>)| {
            let role = *role;
            peers(measured.endpoints.iter().copied()).into_iter().map(move |peer| (role, peer))
        };
        let all: Vec<_> = roles.iter().flat_map(of_role).collect();
        let lines = bounded(&all);
        for family in PEERS {
            self.family(family.name, family.kind, family.help);
            for ((role, plane, node), traffic) in &lines {
                let labels = [("role", role.name()), ("plane", plane.name()), ("node", node)];
                self.sample(&labels, (family.value)(traffic));
            }
        }
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a string does not fail");
    }
}

/// What becomes of quotation marks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Escaped,
    Stay,
}

/// A text that ends neither its line nor, as a label's value, its quotation marks.
struct Escaped<'a> {
    text: &'a str,
    quotes: Quotes,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '\n' => f.write_str("\\n"),
            '"' if self.quotes == Quotes::Escaped => f.write_str("\\\""),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
pub(crate) use tests::sample;

#[cfg(test)]
mod tests;
