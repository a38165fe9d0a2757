//! What a settings file may say, and what is said about one that is wrong.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rdcq_config::{
    AdminConfig, AgentConfig, BandwidthConfig, BuildIndexConfig, ClassConfig, ClassesConfig, ClientConfig,
    Config, ConfigError, Congestion, DirectionConfig, GroupConfig, HerdAddresses, IdentityFiles, Invalid,
    Limits, OriginConfig, ProxyConfig, TrackerConfig, Transport, WindowConfig, defaults,
};
use rdcq_wire::{Class, RateLimit, Role};

const IDENTITY: &str = "[identity]\nca = 'ca.pem'\ncert = 'node.pem'\nkey = 'node.key'\n";

fn parse(sections: &str) -> Result<Config, ConfigError> {
    Config::parse(&format!("{IDENTITY}{sections}"), "rdcq.toml")
}

/// The message for a file that begins with [`IDENTITY`], which takes the first four lines.
fn refusal(sections: &str) -> String {
    parse(sections).unwrap_err().to_string()
}

/// What validation says of a file that is well formed.
fn invalid(sections: &str) -> Invalid {
    match parse(sections).unwrap().validate() {
        Err(ConfigError::Invalid(invalid)) => invalid,
        other => panic!("{sections}: {other:?}"),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Limits with every key in them.
fn bandwidth() -> BandwidthConfig {
    let limit = |text: &str| text.parse::<RateLimit>().unwrap();
    let normal = ClassConfig {
        weight: NonZeroU32::new(7),
        minimum: Some("1MB/s".parse().unwrap()),
        ceiling: Some(limit("2Gbit/s")),
    };
    let classes = ClassesConfig { normal, ..ClassesConfig::default() };
    let peers = [("agent-1".parse().unwrap(), limit("5MiB/s"))].into();
    let window = |when: &str, egress, ingress| WindowConfig { when: when.parse().unwrap(), egress, ingress };
    BandwidthConfig {
        egress: Some(DirectionConfig { limit: limit("3Gbit/s"), classes, peers }),
        ingress: Some(DirectionConfig {
            limit: RateLimit::Unlimited,
            classes: ClassesConfig::default(),
            peers: BTreeMap::new(),
        }),
        time_zone: Some("Europe/Zurich".to_owned()),
        windows: vec![
            window("22:00-06:00 Mon-Fri", Some(RateLimit::Unlimited), None),
            window("22:00-06:00 Mon-Fri", None, Some(limit("1Gbit/s"))),
        ],
        groups: [("closing".to_owned(), group(&["*-closing.csv", "eod"], Class::Urgent))].into(),
    }
}

fn group(tags: &[&str], class: Class) -> GroupConfig {
    GroupConfig { tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(), class }
}

/// Settings with every key in them.
fn full() -> Config {
    Config {
        data_dir: "/data".into(),
        identity: IdentityFiles {
            ca: "ca.pem".into(),
            cert: "node.pem".into(),
            key: "/keys/node.key".into(),
            crl: Some("crl.pem".into()),
        },
        herd: HerdAddresses {
            proxies: vec![local(1)],
            origins: vec![local(2), "[::1]:2".parse().unwrap()],
            build_indexes: vec![local(3)],
            trackers: vec![local(4)],
        },
        proxy: Some(ProxyConfig { listen: local(1), data_ports: vec![7] }),
        origin: Some(OriginConfig {
            listen: local(2),
            data_ports: vec![6],
            push_lease: Duration::from_millis(1500),
            sweep: Duration::from_secs(7200),
        }),
        build_index: Some(BuildIndexConfig { listen: local(3) }),
        tracker: Some(TrackerConfig { listen: local(4), peer_ttl: Duration::from_secs(90) }),
        agent: Some(AgentConfig { listen: local(5), data_ports: vec![8, 9], sweep: Duration::from_secs(1) }),
        client: Some(ClientConfig { agent: local(5) }),
        admin: Some(AdminConfig { listen: local(6) }),
        limits: Limits { max_connections: 7, max_connections_per_node: 3, drain: Duration::ZERO },
        transport: Transport { max_datagram: 1452, congestion: Congestion::Bbr },
        bandwidth: Some(bandwidth()),
    }
}

#[test]
fn settings_written_read_back_the_same() {
    let text = full().to_toml().unwrap();
    assert_eq!(Config::parse(&text, "up.toml").unwrap(), full(), "{text}");
    full().validate().unwrap();
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_text_is_not_written() {
    use std::os::unix::ffi::OsStringExt;
    let data_dir = std::ffi::OsString::from_vec(vec![b'/', 0xff]).into();
    let error = Config { data_dir, ..full() }.to_toml().unwrap_err();
    assert!(matches!(error, ConfigError::Unwritable(_)), "{error}");
}

#[test]
fn what_is_left_out_takes_its_default() {
    let config = parse(
        "[origin]\nlisten = '0.0.0.0:7402'\n[tracker]\nlisten = '[::]:7404'\n[agent]\nlisten = '0.0.0.0:0'\n[client]\n",
    );
    let config = config.unwrap();
    assert_eq!(config.data_dir, Path::new(defaults::DATA_DIR));
    assert_eq!(config.herd, HerdAddresses::default());
    let origin = config.origin.unwrap();
    assert_eq!((origin.push_lease, origin.sweep), (defaults::PUSH_LEASE, defaults::SWEEP));
    assert_eq!(config.tracker.unwrap().peer_ttl, defaults::PEER_TTL);
    assert_eq!(config.agent.unwrap().sweep, defaults::SWEEP);
    assert_eq!(config.client.unwrap().agent, defaults::AGENT);
    assert_eq!((config.limits, config.transport), (Limits::default(), Transport::default()));
    assert!(config.proxy.is_none() && config.build_index.is_none());
}

#[test]
fn there_is_no_admin_listener_unless_the_settings_name_one_and_it_is_out_of_reach_unless_they_say_otherwise()
{
    let listen = |text: &str| parse(text).unwrap().admin.map(|admin| admin.listen);
    assert_eq!(listen("[client]\n"), None);
    assert_eq!(listen("[client]\n[admin]\n"), Some(defaults::ADMIN));
    assert!(defaults::ADMIN.ip().is_loopback());
    assert_eq!(listen("[admin]\nlisten = '0.0.0.0:7400'\n"), Some("0.0.0.0:7400".parse().unwrap()));
}

#[test]
fn an_admin_listener_is_no_role_and_its_port_is_not_one_of_theirs() {
    assert_eq!(invalid("[admin]\n"), Invalid::NoRole);
    let mut config = full();
    config.admin = Some(AdminConfig { listen: config.origin.as_ref().unwrap().listen });
    config.validate().unwrap();
}

#[test]
fn a_section_that_is_present_is_a_role() {
    let roles = parse("[build_index]\nlisten = '127.0.0.1:1'\n[client]\n").unwrap().roles();
    assert_eq!(roles, [Role::BuildIndex, Role::Client].into_iter().collect());
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let mut config = full();
    config.data_dir = "data/agent".into();
    let config = config.resolve(Path::new("/etc/rdcq"));
    assert_eq!(config.data_dir, PathBuf::from("/etc/rdcq/data/agent"));
    assert_eq!(config.identity.ca, PathBuf::from("/etc/rdcq/ca.pem"));
    assert_eq!(config.identity.key, PathBuf::from("/keys/node.key"));
    assert_eq!(config.identity.crl, Some(PathBuf::from("/etc/rdcq/crl.pem")));
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_its_section() {
    assert_eq!(
        refusal("[agent]\nlisten = '127.0.0.1:7405'\n\nfrobnicate = 1\n"),
        "rdcq.toml:8: unknown key `frobnicate` in [agent]; known keys are `listen`, `data_ports`, `sweep`"
    );
    assert_eq!(
        refusal("[proxy]\nlisten = '127.0.0.1:7401'\nsweep = '1s'\n"),
        "rdcq.toml:7: unknown key `sweep` in [proxy]; known keys are `listen`, `data_ports`"
    );
    assert_eq!(
        refusal("[herd]\ntracker = []\n"),
        "rdcq.toml:6: unknown key `tracker` in [herd]; known keys are `proxies`, `origins`, `build_indexes`, `trackers`"
    );
    let outside = refusal("[build-index]\nlisten = '127.0.0.1:7403'\n");
    assert!(
        outside.starts_with("rdcq.toml:5: unknown key `build-index` outside of any section; known"),
        "{outside}"
    );
    assert!(outside.contains("`build_index`"), "{outside}");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_line_and_its_key() {
    assert_eq!(
        refusal("[limits]\nmax_connections = 'many'\n"),
        "rdcq.toml:6: limits.max_connections: invalid type: string \"many\", expected u32"
    );
    assert_eq!(
        refusal("[agent]\nlisten = 7405\n"),
        "rdcq.toml:6: agent.listen: invalid type: integer `7405`, expected an address as \"10.0.0.1:7401\""
    );
    let negative = refusal("[limits]\nmax_connections = -1\n");
    assert!(negative.starts_with("rdcq.toml:6: limits.max_connections: invalid value"), "{negative}");
    let list = refusal("[herd]\norigins = '127.0.0.1:1'\n");
    assert!(list.starts_with("rdcq.toml:6: herd.origins: invalid type"), "{list}");
}

#[test]
fn a_missing_section_or_key_is_named() {
    let error = Config::parse("data_dir = 'data'\n", "rdcq.toml").unwrap_err().to_string();
    assert!(error.starts_with("rdcq.toml:1: missing section [identity]; add it"), "{error}");
    assert_eq!(
        refusal("[tracker]\npeer_ttl = '1s'\n"),
        "rdcq.toml:5: missing key `listen` in [tracker]; add it"
    );
    let error = Config::parse("[identity]\nca = 'a'\ncert = 'b'\n", "rdcq.toml").unwrap_err().to_string();
    assert_eq!(error, "rdcq.toml:1: missing key `key` in [identity]; add it");
}

#[test]
fn an_address_that_is_not_ip_and_port_is_refused() {
    for address in ["localhost:7401", "127.0.0.1", "127.0.0.1:", ":7401", "::1:7401", "127.0.0.1:70000", ""] {
        let error = refusal(&format!("[proxy]\nlisten = '{address}'\n"));
        let want = format!("rdcq.toml:6: proxy.listen: {address:?} is not an address; write IP:port");
        assert!(error.starts_with(&want), "{error}");
    }
    let error = refusal("[herd]\norigins = [\n  '127.0.0.1:1',\n  'origin-2:1',\n]\n");
    assert!(error.starts_with("rdcq.toml:8: herd.origins: \"origin-2:1\" is not an address"), "{error}");
}

#[test]
fn a_bad_duration_is_refused_with_the_form_of_a_good_one() {
    let error = refusal("[tracker]\nlisten = '127.0.0.1:1'\npeer_ttl = '15 seconds'\n");
    assert!(
        error.starts_with("rdcq.toml:7: tracker.peer_ttl: \"15 seconds\" is not a duration; write"),
        "{error}"
    );
    let error = refusal("[limits]\ndrain = 10\n");
    assert!(error.starts_with("rdcq.toml:6: limits.drain: invalid type: integer `10`"), "{error}");
}

#[test]
fn a_congestion_controller_is_one_of_those_that_there_are() {
    for one in Congestion::ALL {
        let config = parse(&format!("[client]\n[transport]\ncongestion = '{one}'\n")).unwrap();
        assert_eq!(config.transport.congestion, one);
    }
    for unknown in ["vegas", "BBR", ""] {
        assert_eq!(
            refusal(&format!("[transport]\ncongestion = '{unknown}'\n")),
            format!(
                "rdcq.toml:6: transport.congestion: {unknown:?} is not a congestion controller; write \"tolerant-cubic\", \"cubic\", \"new-reno\" or \"bbr\""
            )
        );
    }
}

#[test]
fn a_text_that_is_not_toml_is_refused_with_its_line() {
    for (line, text) in [(6, "[agent]\nlisten = \n"), (5, "[agent\n"), (7, "[client]\n[limits]\nx y\n")] {
        let error = refusal(text);
        assert!(error.starts_with(&format!("rdcq.toml:{line}: ")), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error:?}");
    }
    let twice = refusal("[client]\n[client]\n");
    assert!(twice.starts_with("rdcq.toml:6: ") && twice.contains("duplicate"), "{twice}");
}

#[test]
fn no_text_makes_the_parser_panic() {
    let text = full().to_toml().unwrap();
    for end in 0..text.len() {
        drop(Config::parse(&text[..end], "cut.toml"));
        drop(Config::parse(&format!("{}\"é\n{}", &text[..end], &text[end..]), "torn.toml"));
    }
}

#[test]
fn settings_under_which_nothing_runs_are_invalid() {
    assert_eq!(invalid(""), Invalid::NoRole);
    parse("[client]\n").unwrap().validate().unwrap();
}

#[test]
fn every_role_says_which_servers_it_needs() {
    let needs = [
        ("proxy", vec!["origins", "build_indexes"]),
        ("origin", vec!["build_indexes"]),
        ("build_index", vec!["origins", "trackers"]),
        ("tracker", vec!["origins"]),
        ("agent", vec!["build_indexes", "trackers"]),
    ];
    for (role, lists) in needs {
        let mut text = format!("[{role}]\nlisten = '0.0.0.0:1'\n[herd]\n");
        for list in lists {
            match invalid(&text) {
                Invalid::Needs { section, needed, .. } => assert_eq!((section, needed), (role, list)),
                other => panic!("{role}: {other}"),
            }
            text += &format!("{list} = ['127.0.0.1:9']\n");
        }
        parse(&text).unwrap().validate().unwrap();
    }
    assert_eq!(
        invalid("[tracker]\nlisten = '0.0.0.0:7404'\n").to_string(),
        "[tracker] needs origins: add their addresses to [herd], as origins = [\"10.0.0.1:7402\"]"
    );
}

#[test]
fn addresses_that_nobody_can_connect_to_are_invalid() {
    for (address, key) in [("0.0.0.0:7402", "herd.origins"), ("127.0.0.1:0", "herd.origins")] {
        let found = invalid(&format!("[client]\n[herd]\norigins = ['{address}']\n"));
        assert_eq!(found, Invalid::Unreachable { key, address: address.parse().unwrap() });
    }
    let found = invalid("[client]\nagent = '[::]:1'\n");
    assert_eq!(found, Invalid::Unreachable { key: "client.agent", address: "[::]:1".parse().unwrap() });
}

#[test]
fn an_address_listed_twice_is_invalid() {
    let found = invalid("[client]\n[herd]\ntrackers = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:1']\n");
    assert_eq!(found, Invalid::Twice { key: "herd.trackers", address: local(1) });
}

#[test]
fn two_roles_on_one_port_are_invalid() {
    let listening = |origin: &str, tracker: &str| {
        let mut config = full();
        config.origin.as_mut().unwrap().listen = origin.parse().unwrap();
        config.tracker.as_mut().unwrap().listen = tracker.parse().unwrap();
        config.validate()
    };
    for (origin, tracker) in [("127.0.0.1:9", "127.0.0.1:9"), ("0.0.0.0:9", "127.0.0.1:9")] {
        let address = tracker.parse().unwrap();
        let clash = Invalid::SamePort { first: "origin", second: "tracker", address };
        assert_eq!(listening(origin, tracker), Err(clash.into()));
    }
    for (origin, tracker) in
        [("127.0.0.1:8", "127.0.0.1:9"), ("10.0.0.1:9", "10.0.0.2:9"), ("0.0.0.0:0", "0.0.0.0:0")]
    {
        assert_eq!(listening(origin, tracker), Ok(()));
    }
}

#[test]
fn zeros_that_would_stop_or_spin_a_node_are_invalid() {
    type Set = fn(&mut Config);
    let zeros: [(&str, Set); 5] = [
        ("origin.push_lease", |config| config.origin.as_mut().unwrap().push_lease = Duration::ZERO),
        ("origin.sweep", |config| config.origin.as_mut().unwrap().sweep = Duration::ZERO),
        ("tracker.peer_ttl", |config| config.tracker.as_mut().unwrap().peer_ttl = Duration::ZERO),
        ("agent.sweep", |config| config.agent.as_mut().unwrap().sweep = Duration::ZERO),
        ("limits.max_connections", |config| config.limits.max_connections = 0),
    ];
    for (name, set) in zeros {
        let mut config = full();
        set(&mut config);
        match config.validate() {
            Err(ConfigError::Invalid(Invalid::Zero { key, .. })) => assert_eq!(key, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

mod examples {
    use std::collections::BTreeSet;

    use super::*;

    const SHIPPED: [(&str, &str, Role); 6] = [
        ("proxy.toml", include_str!("../examples/proxy.toml"), Role::Proxy),
        ("origin.toml", include_str!("../examples/origin.toml"), Role::Origin),
        ("build-index.toml", include_str!("../examples/build-index.toml"), Role::BuildIndex),
        ("tracker.toml", include_str!("../examples/tracker.toml"), Role::Tracker),
        ("agent.toml", include_str!("../examples/agent.toml"), Role::Agent),
        ("client.toml", include_str!("../examples/client.toml"), Role::Client),
    ];

    /// The dotted paths of all keys that have a value.
    fn keys(text: &str) -> BTreeSet<String> {
        fn collect(table: &toml::Table, path: &str, keys: &mut BTreeSet<String>) {
            for (key, value) in table {
                match value {
                    toml::Value::Table(inner) => collect(inner, &format!("{path}{key}."), keys),
                    _ => _ = keys.insert(format!("{path}{key}")),
                }
            }
        }
        let mut found = BTreeSet::new();
        collect(&text.parse().unwrap(), "", &mut found);
        found
    }

    #[test]
    fn every_shipped_file_is_valid_and_runs_its_role() {
        for (name, text, role) in SHIPPED {
            let config = Config::parse(text, name).unwrap_or_else(|error| panic!("{error}"));
            config.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(config.roles(), role.into(), "{name}");
            assert_eq!(config.data_dir, Path::new("data").join(role.name()), "{name}");
            assert_eq!(config.identity.cert, Path::new("certs").join(format!("{role}.pem")), "{name}");
        }
    }

    /// With what the files show switched off: revocation lists have to be renewed, and what limits fit nobody knows.
    fn on(text: &str) -> String {
        let text = text.replace("# crl = ", "crl = ");
        let (before, limits) = text.split_once("# [bandwidth]").unwrap_or((&text, ""));
        let limits: Vec<_> = limits.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
        if limits.is_empty() {
            before.to_owned()
        } else {
            format!("{before}[bandwidth]{}", limits.join("\n"))
        }
    }

    #[test]
    fn what_is_shown_switched_off_can_be_switched_on() {
        for (name, text, _) in SHIPPED {
            let config = Config::parse(&on(text), name).unwrap_or_else(|error| panic!("{error}"));
            config.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn every_key_is_shown_in_a_shipped_file() {
        let shown: BTreeSet<_> = SHIPPED.iter().flat_map(|(_, text, _)| keys(&on(text))).collect();
        assert_eq!(shown, keys(&full().to_toml().unwrap()));
    }

    #[test]
    fn what_shipped_files_give_for_defaults_are_the_defaults() {
        for (name, text, _) in SHIPPED {
            let config = Config::parse(text, name).unwrap();
            assert_eq!(config.limits, Limits::default(), "{name}");
            if let Some(origin) = config.origin {
                assert_eq!((origin.push_lease, origin.sweep), (defaults::PUSH_LEASE, defaults::SWEEP));
            }
            if let Some(tracker) = config.tracker {
                assert_eq!(tracker.peer_ttl, defaults::PEER_TTL);
            }
            if let Some(agent) = config.agent {
                assert_eq!(agent.sweep, defaults::SWEEP);
            }
            if let Some(admin) = config.admin {
                assert_eq!(admin.listen, defaults::ADMIN);
            }
            if let Some(client) = config.client {
                assert_eq!(client.agent, defaults::AGENT);
            }
        }
    }

    #[test]
    fn the_shipped_files_make_one_herd() {
        let all = SHIPPED.map(|(name, text, _)| Config::parse(text, name).unwrap());
        let [proxy, origin, build_index, tracker, agent, client] = &all;
        for herd in all.iter().map(|config| &config.herd) {
            assert!(herd.proxies.iter().all(|at| *at == proxy.proxy.as_ref().unwrap().listen));
            assert!(herd.origins.iter().all(|at| *at == origin.origin.as_ref().unwrap().listen));
            assert!(
                herd.build_indexes.iter().all(|at| *at == build_index.build_index.as_ref().unwrap().listen)
            );
            assert!(herd.trackers.iter().all(|at| *at == tracker.tracker.as_ref().unwrap().listen));
        }
        assert_eq!(client.client.as_ref().unwrap().agent, agent.agent.as_ref().unwrap().listen);
    }
}

/// Each is refused at its line, with what to write instead.
#[test]
fn rates_windows_and_classes_that_make_no_sense_are_refused_where_they_stand() {
    for (bandwidth, line, why) in [
        ("[bandwidth.egress]\nlimit = '0Mbit/s'\n", 6, "lets next to nothing pass"),
        ("[bandwidth.egress]\nlimit = '-1Mbit/s'\n", 6, "write a number and a unit"),
        ("[bandwidth.egress]\nlimit = '800'\n", 6, "800Mbit/s"),
        ("[bandwidth.egress]\nlimit = 800\n", 6, "a text in quotes"),
        ("[bandwidth.egress]\nlimit = '9999Tbit/s'\n", 6, "no unit of a rate"),
        ("[bandwidth.egress]\nlimit = '9999Gbit/s'\n", 6, "more than any link carries"),
        ("[bandwidth.ingress]\nlimit = '1Gbit/s'\npeers = { 'no name' = '1Gbit/s' }\n", 7, "no name"),
        ("[bandwidth.ingress]\nlimit = '1Gbit/s'\n[bandwidth.ingress.peers]\na = 'fast'\n", 8, "not a rate"),
        (
            "[bandwidth.egress]\nlimit = '1Gbit/s'\nclasses.fast.weight = 3\n",
            7,
            "known keys are `urgent`, `normal`, `background`",
        ),
        ("[bandwidth.egress]\nlimit = '1Gbit/s'\nclasses.urgent.weight = 0\n", 7, "nonzero"),
        ("[bandwidth.egress]\nlimit = '1Gbit/s'\nclasses.urgent.minimum = 'unlimited'\n", 7, "not a rate"),
        ("[bandwidth.egress]\nclasses.urgent.weight = 1\n", 5, "missing key `limit`"),
        ("[bandwidth]\ntotal = '1Gbit/s'\n", 6, "unknown key `total`"),
        ("[[bandwidth.window]]\nwhen = '22:00-06:00 Mo-Fr'\negress = '1Gbit/s'\n", 6, "no time window"),
        ("[bandwidth.groups.eod]\ntags = ['a', '']\nclass = 'urgent'\n", 6, "must not be empty"),
        ("[bandwidth.groups.eod]\ntags = ['a']\nclass = 'hurried'\n", 7, "no class; write urgent"),
        ("[bandwidth.groups.eod]\ntags = ['a']\n", 5, "missing key `class`"),
    ] {
        let refused = refusal(bandwidth);
        assert!(
            refused.starts_with(&format!("rdcq.toml:{line}: ")) && refused.contains(why),
            "{bandwidth}{refused}"
        );
    }
}

#[test]
fn a_tag_is_of_the_most_urgent_class_of_its_groups() {
    let text = "[client]\n[bandwidth.groups.all]\ntags = ['*']\nclass = 'background'\n\
                [bandwidth.groups.closing]\ntags = ['*-closing-*', 'eod']\nclass = 'urgent'\n";
    let config = parse(text).unwrap();
    config.validate().unwrap();
    let bandwidth = config.bandwidth.unwrap();
    let class = |key: &str| bandwidth.class_of(&key.to_owned().try_into().unwrap());
    assert_eq!(class("nyse-closing-prices.csv"), Some(Class::Urgent));
    assert_eq!((class("eod"), class("eod-2")), (Some(Class::Urgent), Some(Class::Background)));
    assert_eq!(BandwidthConfig::default().class_of(&"eod".to_owned().try_into().unwrap()), None);
    let refused = invalid("[client]\n[bandwidth.groups.none]\ntags = []\nclass = 'urgent'\n");
    assert!(refused.to_string().contains("bandwidth.groups.none has no tags"), "{refused}");
}

#[test]
fn windows_that_overlap_or_change_nothing_are_refused() {
    let window = |when: &str, what: &str| format!("[[bandwidth.window]]\nwhen = '{when}'\n{what}");
    let night = window("22:00-06:00 Mon-Fri", "egress = '1Gbit/s'\n");
    let early = window("05:00-07:00 Sat", "egress = '2Gbit/s'\n");
    let refused = invalid(&format!(
        "[agent]\nlisten = '127.0.0.1:1'\n[herd]\nbuild_indexes = ['127.0.0.1:2']\ntrackers = ['127.0.0.1:3']\n{night}{early}"
    ));
    assert!(
        matches!(refused, Invalid::Windows { .. })
            && refused.to_string().contains("05:00-07:00 Sat overlaps")
    );
    let idle = window("05:00-07:00", "");
    assert!(matches!(invalid(&format!("[client]\n{idle}")), Invalid::IdleWindow(_)));
    let other = window("05:00-07:00 Sat", "ingress = '2Gbit/s'\n");
    parse(&format!("[client]\n{night}{other}")).unwrap().validate().unwrap();
}
