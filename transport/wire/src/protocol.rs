//! Holds PROTOCOL.md to the code: whoever implements the wire from the page must get our bytes.

use std::fmt::{Debug, Display};

use crate::manifest::PieceSizes;
use crate::message::{
    Announce, ClassFlow, Collect, Commit, Committed, Complete, Cursor, Decline, Drain, Effect, Failure, Flow,
    Found, Fresh, GetManifest, GetPieces, Goal, Have, Lend, Live, MAX_LISTING_BYTES, MAX_SPAN_BYTES,
    MAX_STATUS_BYTES, Meter, Metered, Neighbour, Neighbours, Note, Offer, Pull, Pulled, PutPieces, PutTag,
    Reason, Refused, Release, Reload, Reloaded, RemoveTag, Resolve, Resolved, Seal, Seek, Selection, Setting,
    Sources, Status, StatusReport, Traffic, Verified, Wanted, Watch, Word,
};
use crate::tag::{Field, MAX_TAG_BYTES};
use crate::testing::CONTEXT;
use crate::{
    Attributes, Class, CloseCode, Context, Description, Digest, ErrorCode, HerdId, Kind, List, Manifest,
    Message, Name, NodeId, PieceTable, Record, Request, ResetCode, Role, Span, State, TagKey, TagQuery,
    Version, access, frame, message,
};

const PAGE: &str = include_str!("../../PROTOCOL.md");

/// Every file that defines something with a section of its own or a line among the variants.
const SOURCES: &[&str] = &[
    include_str!("identity.rs"),
    include_str!("manifest.rs"),
    include_str!("piece.rs"),
    include_str!("tag.rs"),
    include_str!("message/announce.rs"),
    include_str!("message/collect.rs"),
    include_str!("message/commit.rs"),
    include_str!("message/decline.rs"),
    include_str!("message/drain.rs"),
    include_str!("message/failure.rs"),
    include_str!("message/get_manifest.rs"),
    include_str!("message/get_pieces.rs"),
    include_str!("message/hello.rs"),
    include_str!("message/lend.rs"),
    include_str!("message/list.rs"),
    include_str!("message/live.rs"),
    include_str!("message/meter.rs"),
    include_str!("message/offer.rs"),
    include_str!("message/ping.rs"),
    include_str!("message/pull.rs"),
    include_str!("message/put_pieces.rs"),
    include_str!("message/put_tag.rs"),
    include_str!("message/release.rs"),
    include_str!("message/reload.rs"),
    include_str!("message/remove_tag.rs"),
    include_str!("message/resolve.rs"),
    include_str!("message/seal.rs"),
    include_str!("message/status.rs"),
    include_str!("message/watch.rs"),
];

#[test]
fn every_code_is_listed_with_its_number_and_text() {
    fn check<C: Debug + Display>(codes: &[C], number: impl Fn(&C) -> u64, heading: &str) {
        let section = section(heading);
        for code in codes {
            let line = format!("\n| {code:?} | {} | {code} |", number(code));
            assert!(section.contains(&line), "PROTOCOL.md has no line that begins `{}`", line.trim());
        }
        let rows = section.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(rows, codes.len() + 1, "PROTOCOL.md lists other {heading}s than the code has");
    }
    check(ErrorCode::ALL, |code| code.number().into(), "ErrorCode");
    check(CloseCode::ALL, |code| code.number().into(), "CloseCode");
    check(ResetCode::ALL, |code| code.number().into(), "ResetCode");
}

#[test]
fn every_kind_is_listed_with_its_longest_body() {
    for kind in Kind::ALL {
        let line = format!("\n| {} | {kind} | {} |", kind.number(), grouped(kind.max_body().into()));
        assert!(PAGE.contains(&line), "PROTOCOL.md has no line that begins `{}`", line.trim());
    }
}

#[test]
fn every_kind_has_a_section_with_its_fields_in_their_order() {
    let structs: Vec<_> = SOURCES.iter().flat_map(|source| blocks(source, "pub struct ")).collect();
    for kind in Kind::ALL {
        assert!(structs.iter().any(|(name, _)| *name == kind.name()), "no struct {kind} was found");
    }
    let inner = [
        "Span",
        "Piece",
        "Name",
        "Record",
        "Attributes",
        "TagQuery",
        "Cursor",
        "Neighbour",
        "Sources",
        "Manifest",
        "Refused",
        "PeerTraffic",
        "Traffic",
        "Setting",
        "Flow",
        "ClassFlow",
        "PeerFlow",
        "Transfer",
    ];
    for (name, body) in structs {
        if !inner.contains(&name) && !Kind::ALL.iter().any(|kind| kind.name() == name) {
            continue;
        }
        let fields: Vec<_> =
            body.iter().filter_map(|line| line.strip_prefix("    pub ")?.split(':').next()).collect();
        let rows = section(name).lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        assert_eq!(rows.collect::<Vec<_>>(), fields, "the fields of {name}");
    }
}

#[test]
fn every_enum_is_listed_with_its_variants_in_their_order() {
    for name in [
        "Complete",
        "Effect",
        "Encoding",
        "Fresh",
        "Goal",
        "Plane",
        "ResourceKind",
        "Role",
        "Selection",
        "State",
    ] {
        let mut enums = SOURCES.iter().flat_map(|source| blocks(source, "pub enum "));
        let (_, body) = enums.find(|(found, _)| *found == name).unwrap();
        let variants =
            body.iter().map(|line| line.trim()).filter(|line| line.starts_with(char::is_uppercase));
        let listed: Vec<_> =
            variants.enumerate().map(|(n, line)| format!("{n} `{}`", line.trim_end_matches(','))).collect();
        let line = format!("\n- `{name}`: {}\n", listed.join(", "));
        assert!(PAGE.contains(&line), "PROTOCOL.md has no line `{}`", line.trim());
    }
}

#[test]
fn every_request_names_its_reply() {
    fn check<R: Request>() -> Kind {
        let line = format!("Answered by `{}`.", R::Reply::KIND);
        assert!(section(R::KIND.name()).contains(&line), "the section {} has no `{line}`", R::KIND);
        R::KIND
    }
    let requests = [
        check::<Offer>(),
        check::<PutPieces>(),
        check::<Commit>(),
        check::<Seal>(),
        check::<PutTag>(),
        check::<Release>(),
        check::<Resolve>(),
        check::<message::List>(),
        check::<RemoveTag>(),
        check::<Live>(),
        check::<Pull>(),
        check::<GetManifest>(),
        check::<GetPieces>(),
        check::<Watch>(),
        check::<Decline>(),
        check::<Lend>(),
        check::<Seek>(),
        check::<Announce>(),
        check::<Collect>(),
        check::<Status>(),
        check::<Reload>(),
        check::<Meter>(),
    ];
    assert_eq!(PAGE.matches("Answered by `").count(), requests.len(), "PROTOCOL.md has other requests");
    let unruled = requests.into_iter().find(|kind| !access::RULES.iter().any(|rule| rule.request == *kind));
    assert_eq!(unruled, None, "a request that nobody may ask");
}

#[test]
fn every_limit_is_listed_with_its_value() {
    macro_rules! check {
        ($($($part:ident)::+ = $text:literal;)+) => {
            let limits = [$((stringify!($($part)::+).replace(' ', ""), u64::try_from($($part)::+).unwrap(), $text)),+];
            for (constant, value, text) in &limits {
                let row = format!("| {} | `{constant}` |", grouped(*value));
                assert!(section("Limits").contains(&row), "PROTOCOL.md has no row that ends `{row}`");
                assert!(text.is_empty() || PAGE.contains(&text.replace('#', &grouped(*value))), "{constant}: {text}");
            }
            let rows = section("Limits").lines().filter(|line| line.starts_with("| ")).count();
            assert_eq!(rows, limits.len() + 1, "PROTOCOL.md lists other limits than this test");
        };
    }
    check! {
        frame::PREFIX_LEN = "a prefix of # bytes";
        frame::MAX_HEADER = "header length | at most # |";
        frame::MAX_BODY = "for an unknown kind at most # |";
        Manifest::MAX_BYTES = "";
        MAX_SPAN_BYTES = "";
        MAX_LISTING_BYTES = "";
        MAX_STATUS_BYTES = "";
        PieceTable::MAX_PIECE_BYTES = "";
        PieceTable::MAX_PIECES = "";
        Wanted::MAX_SPANS = "";
        Have::MAX_SPANS = "";
        Verified::MAX_SPANS = "";
        Live::MAX = "`List<Digest, #>`";
        Announce::MAX = "";
        Neighbours::MAX = "`List<Neighbour, #>`";
        Reloaded::MAX_SETTINGS = "`List<Setting, #>`";
        StatusReport::MAX_REFUSED = "`List<Refused, #>`";
        StatusReport::MAX_PEERS = "";
        Metered::MAX_PEERS = "at most # `PeerFlow`";
        Metered::MAX_TRANSFERS = "at most # `Transfer`";
        Word::MAX_LEN = "`Word`: 1 to # of";
        Reason::MAX_LEN = "`Reason`: at most # bytes of one line";
        Note::MAX_LEN = "`Note`: at most # bytes of one line";
        HerdId::MAX_LEN = "`HerdId`: 1 to # of";
        NodeId::MAX_LEN = "`NodeId`: 1 to # of";
        MAX_TAG_BYTES = "";
        TagKey::MAX_LEN = "`TagKey`: 1 to # bytes";
        Version::MAX_LEN = "`Version`: 1 to # of";
        Field::MAX_LEN = "`Field`: 0 to # bytes";
        Description::MAX_LEN = "`Description`: 0 to # bytes";
        PieceSizes::MIN_MEAN = "held between # and";
        PieceSizes::MAX_MEAN = "and # bytes, then rounded up to a power of two";
    }
}

#[test]
fn the_worked_example_is_what_the_code_sends() {
    let bytes = frame::encode(CONTEXT, &Drain { grace_ms: 300 }, 0).unwrap();
    let sent: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let example = PAGE.split("### A worked example").nth(1).unwrap().split("```").nth(1).unwrap();
    let shown: String = example.strip_prefix("text").unwrap().split_whitespace().collect();
    assert_eq!(shown, sent);
}

#[test]
fn the_longest_value_of_every_field_fits_a_header() {
    let node: NodeId = "n".repeat(NodeId::MAX_LEN).parse().unwrap();
    let field: Field = "f".repeat(Field::MAX_LEN).parse().unwrap();
    let key: TagKey = "k".repeat(TagKey::MAX_LEN).parse().unwrap();
    let version: Version = "v".repeat(Version::MAX_LEN).parse().unwrap();
    let digest = Digest::from_bytes([0xff; Digest::LEN]);
    let name = Name { key: key.clone(), host: node.clone(), directory: field.clone(), file: field.clone() };
    let description = "d".repeat(Description::MAX_LEN).parse().unwrap();
    let attributes = Attributes { mode: u16::MAX, modified_unix_ns: i64::MIN, description };
    let (push, size, pieces) = (u64::MAX, u64::MAX, u32::MAX);
    let record = Record {
        name: name.clone(),
        version: version.clone(),
        seq: u64::MAX,
        digest,
        manifest: digest,
        size,
        pieces,
        by: node.clone(),
        at_unix_ms: u64::MAX,
        push,
        attributes: attributes.clone(),
        state: State::Removed,
    };
    let (by, reporter, settled) = (node.clone(), node.clone(), node.clone());
    let cursor = Cursor { key: key.clone(), seq: u64::MAX };
    let neighbour =
        Neighbour { node: Some(node), role: Role::Operator, addr: "[ffff::ffff]:65535".parse().unwrap() };
    let neighbours = List::first_of(std::iter::repeat_n(neighbour, Neighbours::MAX));
    let digests = List::first_of([digest; Live::MAX]);
    let worst = Span::new(u32::MAX, u32::MAX);
    let query = TagQuery { key, version: Some(version.clone()) };

    check_fits(&Resolve { query });
    check_fits(&Resolved { record: record.clone() });
    check_fits(&Found { record: record.clone() });
    check_fits(&Committed { record: record.clone(), fresh: Fresh::Standing });
    check_fits(&Pulled { record, sources: Sources::default(), elapsed_ms: u64::MAX });
    check_fits(&Commit {
        push,
        name: name.clone(),
        version: Some(version.clone()),
        digest,
        attributes: attributes.clone(),
    });
    check_fits(&PutTag {
        push,
        name,
        version: Some(version),
        digest,
        manifest: digest,
        size,
        pieces,
        by,
        attributes,
    });
    check_fits(&message::List {
        what: Selection::File(field, Some(settled.clone())),
        after: Some(cursor),
        limit: u32::MAX,
    });
    check_fits(&Live { digests: digests.clone() });
    check_fits(&Collect { digests });
    check_fits(&Announce {
        digests: List::first_of(std::iter::repeat_n(Digest::from_bytes([0; 32]), Announce::MAX)),
        goal: Goal::Seed,
        port: u16::MAX,
    });
    check_fits(&Neighbours { neighbours, again_ms: u32::MAX });
    check_fits(&Wanted { lease_ms: u32::MAX, missing: List::first_of([worst; Wanted::MAX_SPANS]) });
    check_fits(&Have { spans: List::first_of([worst; Have::MAX_SPANS]), complete: Complete::Partial });
    let declined = List::first_of([worst; Have::MAX_SPANS]);
    check_fits(&Decline { digest, spans: declined });
    check_fits(&Verified { spans: List::first_of([worst; Verified::MAX_SPANS]) });
    let why: Word = "w".repeat(Word::MAX_LEN).parse().unwrap();
    let refused =
        List::first_of(std::iter::repeat_n(Refused { why, count: u64::MAX }, StatusReport::MAX_REFUSED));
    check_fits(&StatusReport {
        node: reporter,
        roles: Role::Operator.into(),
        serving: Role::Operator,
        uptime_ms: u64::MAX,
        handshakes: u64::MAX,
        handshakes_failed: u64::MAX,
        refused,
        datagrams_sent: u64::MAX,
        batches_sent: u64::MAX,
        bytes_sent: u64::MAX,
        bytes_received: u64::MAX,
        open: Traffic { bytes_sent: u64::MAX, ..Traffic::default() },
        peers_open: u32::MAX,
        peers: u32::MAX,
    });
    let class = |class| ClassFlow {
        class,
        moved: u64::MAX,
        weight: u32::MAX,
        minimum: Some(u64::MAX),
        ceiling: Some(u64::MAX),
    };
    let flow =
        Flow { limit: Some(u64::MAX), waiting: u32::MAX, classes: List::first_of(Class::ALL.map(class)) };
    check_fits(&Metered {
        node: settled.clone(),
        serving: Role::Operator,
        at_ms: u64::MAX,
        sent: u64::MAX,
        received: u64::MAX,
        connections: u32::MAX,
        egress: flow.clone(),
        ingress: flow,
        peers_open: u32::MAX,
        peers: u32::MAX,
        transfers_open: u32::MAX,
        transfers: u32::MAX,
    });
    let setting = Setting { effect: Effect::Restart, text: Note::from("t".repeat(Note::MAX_LEN)) };
    check_fits(&Reloaded::new(settled, vec![setting; Reloaded::MAX_SETTINGS + 1]));
    check_fits(&Failure::new(ErrorCode::Internal, "r".repeat(Reason::MAX_LEN)));
}

#[track_caller]
fn check_fits<M: Message>(message: &M) {
    let context =
        Context { request: u64::MAX, trace: u64::MAX, time_left_ms: u32::MAX, class: Class::Background };
    frame::encode(context, message, 0).unwrap();
}

/// What stands between the heading `### NAME` and the next heading.
#[track_caller]
fn section(name: &str) -> &'static str {
    let heading = format!("\n### {name}\n");
    let start = PAGE.find(&heading).unwrap_or_else(|| panic!("PROTOCOL.md has no section {name}"));
    let rest = &PAGE[start + heading.len()..];
    rest.split("\n#").next().unwrap()
}

/// The blocks of a source that begin with `keyword`: their names, and their lines.
fn blocks(source: &'static str, keyword: &'static str) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let Some((name, open)) = line.strip_prefix(keyword).and_then(|rest| rest.split_once(" {")) else {
            continue;
        };
        let body =
            if open.is_empty() { lines.by_ref().take_while(|line| *line != "}").collect() } else { vec![] };
        found.push((name, body));
    }
    found
}

/// A number as the page writes it: 16,384.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
