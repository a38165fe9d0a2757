use std::path::Path;

use rdcq_certs::{Authority, Issued, KeyKind, LIST_LIFETIME, PeerError, Revoked};
use rdcq_env::disk::write_durable;
use rdcq_env::{Mode, SimDisk};
use rdcq_wire::Identity;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::load_credentials;

const NODE: &str = "spiffe://herd/host-1/agent";
const PEER: &str = "spiffe://herd/host-2/agent";

/// A node's files on a simulated disk, and what follows them.
struct Node {
    env: Env,
    ca: Authority,
    live: LiveCredentials,
}

impl Node {
    async fn start() -> Self {
        let env = Env::simulated(1, SimDisk::new());
        let ca = authority();
        let own = issue(&ca, NODE);
        for (file, text) in [("ca", ca.cert_pem()), ("cert", &own.cert_pem), ("key", &own.key_pem)] {
            write(&env, file, text);
        }
        write(&env, "crl", &list(&ca, &[]));
        let (live, watch) = watch_credentials(&env, &files()).await.unwrap();
        env.spawn(watch.run());
        Self { env, ca, live }
    }

    fn write(&self, file: &str, text: &str) {
        write(&self.env, file, text);
    }

    /// Time for the files to be looked at once.
    async fn pass(&self) {
        tokio::time::sleep(LOOK + Duration::from_millis(10)).await;
    }

    fn judge(&self, peer: &Issued) -> Result<Identity, PeerError> {
        let cert = CertificateDer::from_pem_slice(peer.cert_pem.as_bytes()).unwrap();
        self.live.current().judge(&[cert])
    }
}

fn files() -> IdentityFiles {
    IdentityFiles { ca: "/ca".into(), cert: "/cert".into(), key: "/key".into(), crl: Some("/crl".into()) }
}

fn write(env: &Env, file: &str, text: &str) {
    write_durable(&**env.disk(), &Path::new("/").join(file), text.as_bytes(), Mode::Private).unwrap();
}

fn authority() -> Authority {
    Authority::generate("herd".parse().unwrap(), KeyKind::Ed25519, Env::SIMULATED_EPOCH_MS).unwrap()
}

fn issue(ca: &Authority, uri: &str) -> Issued {
    ca.issue(&Identity::from_spiffe(uri).unwrap(), Env::SIMULATED_EPOCH_MS).unwrap()
}

fn list(ca: &Authority, revoked: &[&Issued]) -> String {
    let revoked: Vec<_> = revoked
        .iter()
        .map(|issued| Revoked { serial: issued.serial.clone(), at_unix_s: Env::SIMULATED_EPOCH_MS / 1000 })
        .collect();
    ca.revocation_list(&revoked, LIST_LIFETIME, Env::SIMULATED_EPOCH_MS).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_revocation_is_in_force_within_two_seconds_of_the_change_of_its_file() {
    let node = Node::start().await;
    let peer = issue(&node.ca, PEER);
    let mut changes = node.live.subscribe();
    node.judge(&peer).unwrap();
    node.write("crl", &list(&node.ca, &[&peer]));
    tokio::time::timeout(Duration::from_secs(2), changes.changed()).await.unwrap().unwrap();
    assert!(matches!(node.judge(&peer), Err(PeerError::Revoked { .. })));
    let again = tokio::time::timeout(Duration::from_secs(10), changes.changed()).await;
    assert!(again.is_err(), "one change is in force twice");
}

#[tokio::test(start_paused = true)]
async fn certificate_and_key_that_are_replaced_one_after_the_other_take_effect_together() {
    let node = Node::start().await;
    let before = node.live.current();
    let new = issue(&node.ca, NODE);
    node.write("key", &new.key_pem);
    node.pass().await;
    assert!(Arc::ptr_eq(&node.live.current(), &before));
    assert!(node.live.refused().unwrap().contains("does not belong to the certificate"));
    node.write("cert", &new.cert_pem);
    node.pass().await;
    assert_ne!(node.live.current().secret("x"), before.secret("x"));
    assert_eq!(node.live.refused(), None);
}

#[tokio::test(start_paused = true)]
async fn a_ca_is_replaced_in_steps_of_which_each_is_in_force() {
    let node = Node::start().await;
    let (old, new) = (&node.ca, authority());
    let (old_peer, new_peer) = (issue(old, PEER), issue(&new, PEER));
    assert_eq!(node.judge(&new_peer), Err(PeerError::NotSigned));

    node.write("ca", &[old.cert_pem(), new.cert_pem()].concat());
    node.pass().await;
    assert_eq!(node.judge(&new_peer), Err(PeerError::ListMissing));
    node.write("crl", &[list(old, &[]), list(&new, &[])].concat());
    node.pass().await;
    node.judge(&old_peer).unwrap();
    node.judge(&new_peer).unwrap();

    let own = issue(&new, NODE);
    node.write("key", &own.key_pem);
    node.write("cert", &own.cert_pem);
    node.pass().await;
    node.write("crl", &list(&new, &[]));
    node.pass().await;
    node.write("ca", new.cert_pem());
    node.pass().await;
    assert_eq!(node.live.refused(), None);
    assert_eq!(node.judge(&old_peer), Err(PeerError::NotSigned));
    node.judge(&new_peer).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_changes_nothing_until_it_can() {
    let node = Node::start().await;
    let before = node.live.current();
    let stranger = authority();
    let other = issue(&node.ca, "spiffe://herd/host-1/agent/client");
    let good = [node.ca.cert_pem().to_owned(), list(&node.ca, &[])];
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let cases: [Case<'_>; 6] = [
        (&[("ca", stranger.cert_pem())], "/crl", "signed by no CA"),
        (&[("crl", "garbage")], "/crl", "no PEM revocation list"),
        (&[("crl", &list(&stranger, &[]))], "/crl", "signed by no CA"),
        (&[("ca", "")], "/ca", "no PEM certificate"),
        (&[("key", &other.key_pem)], "/key", "does not belong to the certificate"),
        (
            &[("cert", &other.cert_pem), ("key", &other.key_pem)],
            "/cert",
            "restart the node to change who it is",
        ),
    ];
    for (changes, file, why) in cases {
        for (file, text) in changes {
            node.write(file, text);
        }
        node.pass().await;
        assert!(Arc::ptr_eq(&node.live.current(), &before), "{changes:?} is in force");
        let refused = node.live.refused().unwrap();
        assert!(refused.starts_with(&format!("{file} cannot be used")) && refused.contains(why), "{refused}");
        node.write("ca", &good[0]);
        node.write("crl", &good[1]);
    }
    node.env.disk().remove_file(Path::new("/crl")).unwrap();
    node.pass().await;
    assert!(node.live.refused().unwrap().contains("cannot read /crl"));
    let own = issue(&node.ca, NODE);
    for (file, text) in [("cert", &own.cert_pem), ("key", &own.key_pem), ("crl", &good[1])] {
        node.write(file, text);
    }
    node.pass().await;
    assert!(!Arc::ptr_eq(&node.live.current(), &before));
    assert_eq!(node.live.refused(), None);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_of_the_node_s_own_does_not_keep_revoked_nodes_in_the_herd() {
    let other = issue(&authority(), NODE);
    for (file, text) in [("key", Some("garbage")), ("key", Some(&*other.key_pem)), ("cert", None)] {
        let node = Node::start().await;
        let (first, second) = (issue(&node.ca, PEER), issue(&node.ca, PEER));
        match text {
            Some(text) => node.write(file, text),
            None => node.env.disk().remove_file(&Path::new("/").join(file)).unwrap(),
        }
        node.write("crl", &list(&node.ca, &[&first]));
        node.pass().await;
        assert!(matches!(node.judge(&first), Err(PeerError::Revoked { .. })), "with a bad {file}");
        let refused = node.live.refused().unwrap();
        assert!(refused.contains(&format!("/{file}")), "{refused}");

        node.write("ca", "garbage");
        node.write("crl", &list(&node.ca, &[&first, &second]));
        node.pass().await;
        assert!(matches!(node.judge(&second), Err(PeerError::Revoked { .. })), "with a bad {file} and CA");
        assert!(node.live.refused().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_certificate_is_revoked_follows_the_lists() {
    let node = Node::start().await;
    let cert = node.env.disk().read(Path::new("/cert"), 1 << 20).unwrap();
    let cert = rdcq_certs::describe(str::from_utf8(&cert).unwrap()).unwrap();
    let own = Issued {
        serial: cert[0].serial.clone(),
        cert_pem: String::new(),
        key_pem: String::new(),
        not_after_unix_s: 0,
    };
    let peer = issue(&node.ca, PEER);
    node.write("crl", &list(&node.ca, &[&own, &peer]));
    node.pass().await;
    assert!(matches!(node.judge(&peer), Err(PeerError::Revoked { .. })));
    assert!(node.live.refused().unwrap().contains("is revoked"));
    // What is refused stays so while the files stay as they are.
    tokio::time::sleep(2 * JUDGE_AGAIN).await;
    assert!(node.live.refused().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_older_list_is_refused_and_nobody_is_believed_again() {
    let node = Node::start().await;
    let peer = issue(&node.ca, PEER);
    let revoked = [Revoked { serial: peer.serial.clone(), at_unix_s: Env::SIMULATED_EPOCH_MS / 1000 }];
    let newer = node.ca.revocation_list(&revoked, LIST_LIFETIME, Env::SIMULATED_EPOCH_MS + 1).unwrap();
    node.write("crl", &newer);
    node.pass().await;
    node.write("crl", &list(&node.ca, &[]));
    node.pass().await;
    assert!(matches!(node.judge(&peer), Err(PeerError::Revoked { .. })));
    let refused = node.live.refused().unwrap();
    assert!(refused.starts_with("/crl cannot be used") && refused.contains("older"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn files_that_stay_refused_are_judged_again_once_a_minute() {
    let node = Node::start().await;
    // From half a minute ahead: a clock that is behind.
    let later = Env::SIMULATED_EPOCH_MS + 3_600_000 + 30_000;
    let own = node.ca.issue(&Identity::from_spiffe(NODE).unwrap(), later).unwrap();
    let before = node.live.current();
    node.write("key", &own.key_pem);
    node.write("cert", &own.cert_pem);
    node.pass().await;
    assert!(node.live.refused().unwrap().contains("still to come"));
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(Arc::ptr_eq(&node.live.current(), &before), "judged more often than needed");
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(node.live.refused(), None);
    assert!(!Arc::ptr_eq(&node.live.current(), &before));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_look_does_not_wait_for_the_next() {
    let node = Node::start().await;
    node.pass().await;
    let peer = issue(&node.ca, PEER);
    node.write("crl", &list(&node.ca, &[&peer]));
    let asked = node.env.now();
    let mut changes = node.live.subscribe();
    node.live.reload();
    changes.changed().await.unwrap();
    assert!(node.env.now() < asked + LOOK / 2);
    assert!(node.judge(&peer).is_err());
}

#[tokio::test(start_paused = true)]
async fn each_state_of_the_files_is_complained_about_once_and_none_at_first() {
    let (mut complaint, start) = (Complaint::default(), Instant::now());
    let mut at = |ms: u64, seen: &str, look| {
        complaint.handle_refusal(Digest::of(seen.as_bytes()), look, start + Duration::from_millis(ms))
    };
    assert!(!at(0, "a", Look::Routine));
    assert!(!at(4_999, "b", Look::Routine));
    assert!(at(5_000, "b", Look::Routine));
    assert!(!at(6_000, "b", Look::Routine));
    assert!(at(7_000, "c", Look::Routine));
    assert!(at(7_001, "c", Look::Asked), "who asks is told");
    assert!(!at(8_000, "c", Look::Routine));
    assert!(Complaint::default().handle_refusal(Digest::of(b"a"), Look::Asked, start));
}

#[tokio::test(start_paused = true)]
async fn who_starts_while_files_are_replaced_waits_for_the_last_of_them() {
    let node = Node::start().await;
    let new = issue(&node.ca, NODE);
    node.write("key", &new.key_pem);
    let (env, began) = (node.env.clone(), node.env.now());
    let starting = tokio::spawn(async move { load_credentials(&env, &files()).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    node.write("cert", &new.cert_pem);
    starting.await.unwrap().unwrap();
    assert!(node.env.now() < began + Duration::from_secs(1));

    node.write("cert", "garbage");
    let began = node.env.now();
    load_credentials(&node.env, &files()).await.unwrap_err();
    assert!(node.env.now() < began + Duration::from_secs(1), "what does not change is waited for");
}
