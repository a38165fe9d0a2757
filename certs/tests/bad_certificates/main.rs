//! Every bad certificate, shown to a client and to a server in a QUIC handshake in memory: refused by both, each for a
//! reason of its own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cases;
mod lists;
mod renewals;
mod versions;
mod world;

use std::collections::BTreeMap;

use cases::CASES;
use world::{Shown, World, refusals};

/// Cases that are refused for one reason, and why they are: all others have one of their own.
const ALIKE: &[(&str, &[&str])] = &[
    (
        "names that are no URIs are not looked at",
        &["no names", "host name only", "any host", "common name only"],
    ),
    (
        "how many certificates there are too many does not matter",
        &["intermediate", "long chain", "chain in a circle"],
    ),
    (
        "without the intermediate, its name is that of a stranger",
        &["CA of another name", "intermediate left out"],
    ),
    ("who did not sign cannot be told from a signature", &["CA of the same name", "changed after signing"]),
    ("what is no DER is no certificate", &["empty certificate", "no DER"]),
];

/// Reasons without the numbers and names in them, which would make two out of one.
fn kind(reason: &str) -> String {
    let quoted = |(index, part): (usize, &str)| if index % 2 == 0 { part.to_owned() } else { "…".into() };
    let words: Vec<String> = reason.split('"').enumerate().map(quoted).collect();
    words.concat().chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[test]
fn every_bad_certificate_is_refused_in_both_directions_for_a_reason_of_its_own() {
    let mut by_kind: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in CASES {
        for reason in refusals((case.world)()) {
            if !reason.contains(case.reason) {
                wrong.push(format!("{}: {reason}", case.name));
            }
            let names = by_kind.entry(kind(&reason)).or_default();
            if !names.contains(&case.name) {
                names.push(case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "refused for other reasons: {wrong:#?}");
    let mut shared: Vec<_> = by_kind.into_values().filter(|names| names.len() > 1).collect();
    shared.sort();
    let mut alike: Vec<_> = ALIKE.iter().map(|(_, names)| names.to_vec()).collect();
    alike.sort();
    assert_eq!(shared, alike);
    assert!(CASES.len() >= 32, "{} cases", CASES.len());
}

#[test]
fn a_good_certificate_in_the_same_world_is_let_in() {
    // Without this, the refusals could all have one common, wrong cause.
    for world in [World::forged(|_| {}), World::fixture("good.pem"), World::listed()] {
        world.check_let_in();
    }
}

#[test]
fn the_certificates_are_judged_again_as_they_were_in_the_handshake() {
    let mut judged = 0;
    for case in CASES {
        let world = (case.world)();
        let Shown::Chain { certs, .. } = &world.shown else { continue };
        match world.judge.judge(certs) {
            Ok(_) => assert!(case.name.starts_with("key of"), "{}: a peer of it would stay", case.name),
            Err(refusal) => {
                let text = refusal.to_string();
                // What is too long for rustls itself is too long here, too.
                assert!(text.contains(case.reason) || case.name == "64 KiB", "{}: {text}", case.name);
                judged += 1;
            }
        }
    }
    assert!(judged > 25, "{judged}");
}

#[test]
fn no_byte_of_a_certificate_can_be_changed_or_left_out() {
    let world = World::forged(|_| {});
    let Shown::Chain { certs, .. } = &world.shown else { panic!("it shows a certificate") };
    world.judge.judge(certs).unwrap();
    for at in 0..certs[0].len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = certs[0].to_vec();
            changed[at] ^= change;
            assert!(world.judge.judge(&[changed.into()]).is_err(), "byte {at} with {change:#x} changed");
        }
        assert!(world.judge.judge(&[certs[0][..at].to_vec().into()]).is_err(), "{at} bytes");
    }
}
