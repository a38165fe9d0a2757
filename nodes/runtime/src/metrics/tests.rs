use std::sync::Arc;

use rdcq_transport::Plane as Shard;
use rdcq_transport::stats::ConnectionStats;
use rdcq_wire::{Class, Identity};

use super::*;

/// The text of [`sample`], written down once and read through.
const GOLDEN: &str = include_str!("golden.txt");

fn connection(peer: &str, sent: u64) -> ConnectionStats {
    ConnectionStats {
        peer: Identity::from_spiffe(&format!("spiffe://test/{peer}")).unwrap(),
        remote: "127.0.0.1:7405".parse().unwrap(),
        dialled: peer.starts_with("proxy"),
        age: Duration::from_secs(9),
        rtt: Duration::from_micros(sent / 1000),
        congestion_window: 14_520,
        lost_packets: 3,
        sent_packets: 1000,
        datagram_size: if sent > 500_000 { 6500 } else { 1452 },
        bytes_sent: sent,
        bytes_received: 10_000,
        link_bytes_sent: sent + 42 * 990,
        link_bytes_received: 10_000 + 42 * 20,
        datagrams_sent: 990,
        batches_sent: 99,
        open_calls: 1,
    }
}

/// A limit to others, and none from them.
fn bandwidth() -> Vec<(Direction, BandwidthStats)> {
    let limits =
        rdcq_bandwidth::Limits { node: "800Mbit/s".parse().unwrap(), ..rdcq_bandwidth::Limits::default() };
    let moved = Class::ALL.map(|class| (class, 1000 * (class as u64 + 1)));
    vec![
        (Direction::Egress, BandwidthStats { limits, moved, waiting: 7 }),
        (Direction::Ingress, BandwidthStats { limits: rdcq_bandwidth::Limits::default(), moved, waiting: 0 }),
    ]
}

/// Two endpoints with three connections to two nodes.
pub(crate) fn sample() -> Vec<EndpointStats> {
    let control = EndpointStats {
        plane: Shard::Control,
        listen: Some("127.0.0.1:7402".parse().unwrap()),
        connections: vec![connection("proxy-1/proxy", 300_000)],
        handshakes: 10,
        handshakes_failed: 2,
        refused: BTreeMap::from([("busy", 4), ("certificate", 2)]),
        datagrams_sent: 2000,
        batches_sent: 1000,
        bytes_sent: 1_000_000,
        bytes_received: 20_000,
        link_bytes_sent: 1_000_000 + 42 * 2000,
        link_bytes_received: 20_000 + 42 * 20,
    };
    let data = EndpointStats {
        plane: Shard::Data(1),
        listen: None,
        connections: vec![connection("agent-1/agent", 400_000), connection("agent-1/agent", 800_000)],
        handshakes: 2,
        refused: BTreeMap::from([("busy", 1)]),
        datagrams_sent: 8000,
        batches_sent: 400,
        bytes_sent: 4_000_000,
        bytes_received: 40_000,
        link_bytes_sent: 4_000_000 + 42 * 8000,
        link_bytes_received: 40_000 + 42 * 40,
        ..EndpointStats::default()
    };
    vec![control, data]
}

fn reading(role: Role, endpoints: Vec<EndpointStats>) -> Reading {
    let ends = Ends { certificate_unix_s: 1_800_000_000, lists_unix_s: Some(1_790_000_000) };
    Reading { role, uptime: Duration::from_millis(61_500), endpoints: Arc::new(endpoints), ends: Some(ends) }
}

fn text_of(readings: &[Reading]) -> String {
    render(&Build { version: "0.1.0", herd: &"test".parse().unwrap() }, readings, &bandwidth())
}

#[test]
fn the_text_of_fixed_figures_is_as_written() {
    let text = text_of(&[reading(Role::Origin, sample())]);
    for (number, (got, wanted)) in text.lines().zip(GOLDEN.lines()).enumerate() {
        assert_eq!(got, wanted, "line {}; the whole text:\n{text}", number + 1);
    }
    assert_eq!(text, GOLDEN);
}

#[test]
fn every_metric_has_its_help_and_type_once_before_its_lines_and_no_line_stands_twice() {
    let readings =
        [reading(Role::Origin, sample()), reading(Role::Agent, sample()), reading(Role::Agent, sample())];
    let text = text_of(&readings);
    let (mut families, mut lines, mut current) = (BTreeSet::new(), BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split_once(' ').unwrap().0;
            assert!(families.insert(current), "{current} begins twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), Some(current));
            assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            assert!(lines.insert(series), "{series} stands twice");
        }
    }
    assert!(text.ends_with('\n'));
}

#[test]
fn roles_that_run_several_times_in_one_process_are_added_up() {
    let text = text_of(&[reading(Role::Agent, sample()), reading(Role::Agent, sample())]);
    assert!(text.contains("\nrdcq_handshakes_total{role=\"agent\",plane=\"control\"} 20\n"), "{text}");
    assert!(
        text.contains("\nrdcq_peer_connections{role=\"agent\",plane=\"data\",node=\"agent-1\"} 4\n"),
        "{text}"
    );
}

#[test]
fn the_busiest_nodes_have_lines_of_their_own_and_the_rest_are_added_up() {
    let rest = 50;
    let count = MAX_NODES + rest;
    let bytes = |number: usize| 1000 * (number as u64 + 1);
    let connections =
        (0..count).map(|number| connection(&format!("a{number}/agent"), bytes(number))).collect();
    let text =
        text_of(&[reading(Role::Origin, vec![EndpointStats { connections, ..EndpointStats::default() }])]);
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("rdcq_peer_sent_bytes{")).collect();
    assert_eq!(lines.len(), MAX_NODES + 1);
    let others: u64 = (0..rest).map(bytes).sum();
    let line = format!("rdcq_peer_sent_bytes{{role=\"origin\",plane=\"control\",node=\"(other)\"}} {others}");
    assert!(lines.contains(&line.as_str()), "{text}");
    assert!(!text.contains(&format!("node=\"a{}\"", rest - 1)));
    assert!(text.contains(&format!("node=\"a{rest}\"")));
    assert!(text.contains("rdcq_peer_connections{role=\"origin\",plane=\"control\",node=\"(other)\"} 50\n"));
}

#[test]
fn no_node_can_be_called_as_the_rest_is() {
    assert!(OTHERS.parse::<NodeId>().is_err());
}

#[test]
fn labels_and_helps_end_neither_their_line_nor_their_quotation_marks() {
    let mut page = Page::default();
    page.family("x", Type::Gauge, "a \"b\" \\ c\nd");
    page.sample(&[("l", "a \"b\" \\ c\nd"), ("m", "交易")], 1);
    page.sample(&[], 0.5);
    let wanted =
        "# HELP x a \"b\" \\\\ c\\nd\n# TYPE x gauge\nx{l=\"a \\\"b\\\" \\\\ c\\nd\",m=\"交易\"} 1\nx 0.5\n";
    assert_eq!(page.text, wanted);
}
