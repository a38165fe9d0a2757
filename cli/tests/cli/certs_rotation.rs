//! `rdcq certs rotate`, `rotate-ca`, `revoke` and `show`: what they write is what nodes take.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use rdcq_certs::{CredentialFiles, Credentials, PeerError, describe, describe_lists, system_time};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use crate::user::{User, mode};

impl User {
    /// A CA in `certs`, and a folder of its own for each of two nodes.
    fn with_nodes() -> Self {
        let user = Self::new();
        user.run(&["certs", "init", "--herd", "h"]).succeeded();
        for node in ["n1", "n2"] {
            user.run(&["certs", "issue", "--node", node, "--role", "agent", "--out", node]).succeeded();
        }
        user
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Copies a file of the CA's folder to a node's, as an operator does.
    fn distribute(&self, file: &str) {
        for node in ["n1", "n2"] {
            std::fs::copy(self.path(&format!("certs/{file}")), self.path(&format!("{node}/{file}"))).unwrap();
        }
    }

    /// What a node takes from its folder.
    fn credentials(&self, node: &str) -> Result<Credentials, String> {
        let (ca, cert, key) = (
            self.text(&format!("{node}/ca.pem")),
            self.text(&format!("{node}/{node}.pem")),
            self.text(&format!("{node}/{node}.key")),
        );
        let crl = format!("{node}/crl.pem");
        let crl = self.path(&crl).exists().then(|| self.text(&crl));
        let files = CredentialFiles { ca_pem: &ca, cert_pem: &cert, key_pem: &key, crl_pem: crl.as_deref() };
        Credentials::load(files, system_time()).map_err(|error| error.to_string())
    }

    /// Whether the one node believes the other.
    fn judge(&self, node: &str, other: &str) -> Result<(), PeerError> {
        let shown = CertificateDer::from_pem_slice(self.text(&format!("{other}/{other}.pem")).as_bytes());
        self.credentials(node).unwrap().judge(&[shown.unwrap()]).map(drop)
    }

    fn serial(&self, file: &str) -> String {
        describe(&self.text(file)).unwrap()[0].serial.to_string()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let line = [arguments, &["--output", "json"]].concat();
        serde_json::from_str(&self.run(&line).succeeded().stdout).unwrap()
    }
}

#[test]
fn a_certificate_is_taken_back_by_node_by_file_and_by_number() {
    for by in 0..3 {
        let user = User::with_nodes();
        let what = [String::from("n2"), String::from("n2/n2.pem"), user.serial("n2/n2.pem")];
        let said = user.json(&["certs", "revoke", &what[by]]);
        assert_eq!(said["added"][0], user.serial("n2/n2.pem"), "{}", what[by]);
        user.judge("n1", "n2").unwrap();
        user.distribute("crl.pem");
        user.credentials("n2").unwrap_err();
        let refused = user.credentials("n1").unwrap();
        let shown = CertificateDer::from_pem_slice(user.text("n2/n2.pem").as_bytes()).unwrap();
        assert!(matches!(refused.judge(&[shown]), Err(PeerError::Revoked { .. })));
    }
}

#[test]
fn all_certificates_of_a_node_are_taken_back_and_none_twice() {
    let user = User::with_nodes();
    let old = user.serial("n2/n2.pem");
    user.run(&["certs", "rotate", "n2/n2.pem"]).succeeded();
    let said = user.json(&["certs", "revoke", "n2", "n2/n2.pem"]);
    assert_eq!(said["added"].as_array().unwrap().len(), 2, "{said}");
    assert!(said["added"].to_string().contains(&old));
    let again = user.json(&["certs", "revoke", "n2"]);
    assert_eq!((again["added"].as_array().unwrap().len(), &again["revoked"]), (0, &Value::from(2)));
}

#[test]
fn lists_are_renewed_with_nothing_to_take_back() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke", "n2"]).succeeded();
    let before = describe_lists(&user.text("certs/crl.pem")).unwrap();
    user.run(&["certs", "revoke", "--lasting", "90d"]).succeeded();
    let after = describe_lists(&user.text("certs/crl.pem")).unwrap();
    assert_eq!(before[0].revoked, after[0].revoked);
    assert!(after[0].number > before[0].number);
    assert!(after[0].next_update_unix_s >= before[0].next_update_unix_s + 60 * 24 * 3600);
    for command in ["revoke", "rotate-ca"] {
        user.run(&["certs", command, "--lasting", "0"]).failed(2, &["lasts for no time"]);
    }
}

#[test]
fn what_is_not_there_is_not_taken_back() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke", "n2", "n3"]).failed(3, &["\"n3\"", "issued.tsv"]);
    assert!(!user.path("certs/crl.pem").exists(), "the first of two was taken back");
    // Names of hex digits are no numbers.
    user.run(&["certs", "revoke", "db02"]).failed(3, &["\"db02\"", "n1, n2"]);
    user.run(&["certs", "revoke", &"ab".repeat(15)]).failed(3, &["no serial number that was issued"]);
    user.run(&["certs", "revoke", "certs/ca.pem"]).failed(1, &["a CA's certificate", "rotate-ca"]);
    user.run(&["certs", "init", "--herd", "other", "--out", "other"]).succeeded();
    user.run(&["certs", "revoke", "--ca", "other", "n1/n1.pem"])
        .failed(1, &["not a certificate of this CA's herd"]);
    user.run(&["certs", "revoke", "n1/n1.key"]).failed(1, &["no certificate in it"]);
    user.run(&["certs", "revoke", "--ca", "nowhere", "n1"]).failed(3, &["ca.pem"]);
}

#[test]
fn a_rotated_certificate_is_the_same_node_s_with_another_key() {
    let user = User::with_nodes();
    let (cert, key) = (user.text("n1/n1.pem"), user.text("n1/n1.key"));
    let said = user.json(&["certs", "rotate", "n1/n1.pem"]);
    assert_eq!(said["identity"], "spiffe://h/n1/agent");
    assert_eq!(said["serial"], user.serial("n1/n1.pem"));
    assert_ne!(said["serial"], said["replaces"]);
    assert_ne!(user.text("n1/n1.pem"), cert);
    assert_ne!(user.text("n1/n1.key"), key);
    assert_eq!(mode(&user.path("n1/n1.key")), 0o600);
    user.credentials("n1").unwrap();
    user.judge("n2", "n1").unwrap();
    let shown = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    user.credentials("n2").unwrap().judge(&[shown]).unwrap();
}

#[test]
fn only_certificates_of_nodes_that_are_in_force_are_rotated() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke", "n2"]).succeeded();
    let before = user.text("n2/n2.pem");
    user.run(&["certs", "rotate", "n2/n2.pem"]).failed(1, &["was revoked", "certs issue --force"]);
    assert_eq!(user.text("n2/n2.pem"), before);
    user.run(&["certs", "rotate", "n1/ca.pem"]).failed(1, &["a CA's certificate", "rotate-ca"]);
    user.run(&["certs", "rotate", "n1/n1.key"]).failed(1, &["0 certificates, wanted one"]);
    std::fs::copy(user.path("n1/n1.pem"), user.path("n1/n1.crt")).unwrap();
    user.run(&["certs", "rotate", "n1/n1.crt"]).failed(2, &["not called NAME.pem"]);
    user.run(&["certs", "init", "--herd", "other", "--out", "other"]).succeeded();
    user.run(&["certs", "rotate", "--ca", "other", "n1/n1.pem"])
        .failed(1, &["this CA is that of herd other"]);
}

#[test]
fn a_ca_is_replaced_without_a_moment_in_which_two_nodes_do_not_believe_each_other() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke"]).succeeded();
    user.distribute("crl.pem");
    let old_ca = user.serial("certs/ca.pem");
    let believe = || {
        user.judge("n1", "n2").unwrap();
        user.judge("n2", "n1").unwrap();
    };
    user.run(&["certs", "rotate-ca", "--finish"]).failed(1, &["not being replaced"]);
    believe();

    user.run(&["certs", "rotate-ca"]).succeeded();
    assert_eq!(describe(&user.text("certs/ca.pem")).unwrap().len(), 2);
    assert_eq!((mode(&user.path("certs/ca.key")), mode(&user.path("certs/old-ca.key"))), (0o600, 0o600));
    user.run(&["certs", "rotate-ca"]).failed(1, &["being replaced already", "--finish"]);
    believe();
    user.distribute("ca.pem");
    believe();
    user.distribute("crl.pem");
    believe();

    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    believe();
    user.run(&["certs", "rotate-ca", "--finish"]).failed(1, &["1 nodes", "n2", "--force"]);
    user.run(&["certs", "rotate", "n2/n2.pem"]).succeeded();
    believe();

    user.run(&["certs", "rotate-ca", "--finish"]).succeeded();
    assert!(!user.path("certs/old-ca.key").exists());
    user.distribute("crl.pem");
    believe();
    user.distribute("ca.pem");
    believe();
    let trusted = describe(&user.text("n1/ca.pem")).unwrap();
    assert_eq!(trusted.len(), 1);
    assert_ne!(trusted[0].serial.to_string(), old_ca, "the old CA is trusted");
    user.run(&["certs", "issue", "--node", "n3", "--role", "agent", "--out", "n3"]).succeeded();
    user.judge("n1", "n3").unwrap();
    user.run(&["certs", "revoke", "n3"]).succeeded();
}

#[test]
fn what_the_old_ca_issued_can_be_taken_back_while_it_is_replaced() {
    let user = User::with_nodes();
    user.run(&["certs", "rotate-ca"]).succeeded();
    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    user.run(&["certs", "revoke", "n2"]).succeeded();
    user.distribute("ca.pem");
    user.distribute("crl.pem");
    assert!(matches!(user.judge("n1", "n2"), Err(PeerError::Revoked { .. })));
    // Who is revoked is not waited for.
    user.run(&["certs", "rotate-ca", "--finish"]).succeeded();
}

#[test]
fn a_replacement_that_was_cut_off_is_begun_anew() {
    let user = User::with_nodes();
    // The old key is kept and ca.pem names a CA whose key was never written.
    std::fs::copy(user.path("certs/ca.key"), user.path("certs/old-ca.key")).unwrap();
    user.run(&["certs", "init", "--herd", "h", "--out", "lost"]).succeeded();
    let both = [user.text("lost/ca.pem"), user.text("certs/ca.pem")].concat();
    user.write("certs/ca.pem", &both);
    user.run(&["certs", "issue", "--node", "n3", "--role", "agent", "--out", "n3"]).succeeded();
    user.run(&["certs", "rotate-ca"]).succeeded();
    user.distribute("ca.pem");
    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    user.judge("n1", "n2").unwrap();
    user.judge("n2", "n1").unwrap();
}

#[test]
fn certificates_and_lists_are_shown_with_who_is_on_them() {
    let user = User::with_nodes();
    let shown = user.json(&["certs", "show", "n1"]);
    assert_eq!(shown["certificates"].as_array().unwrap().len(), 2);
    let node = &shown["certificates"][1];
    assert_eq!((&node["identity"], &node["kind"]), (&"spiffe://h/n1/agent".into(), &"node".into()));
    assert_eq!(node["serial"], user.serial("n1/n1.pem"));
    assert!((364..=365).contains(&node["days_left"].as_u64().unwrap()), "{node}");
    assert_eq!((&node["revoked"], &node["issuer"]), (&Value::Null, &"h".into()));
    assert_eq!(node["issuer_key"], shown["certificates"][0]["issuer_key"]);

    user.run(&["certs", "revoke", "n2"]).succeeded();
    user.distribute("crl.pem");
    assert_eq!(user.json(&["certs", "show", "n1/n1.pem"])["certificates"][0]["revoked"], false);
    assert_eq!(user.json(&["certs", "show", "n2/n2.pem"])["certificates"][0]["revoked"], true);
    let lists = user.json(&["certs", "show", "n2"])["lists"].clone();
    assert_eq!(lists[0]["revoked"][0], user.serial("n2/n2.pem"));
    assert!((29..=30).contains(&lists[0]["days_left"].as_u64().unwrap()), "{lists}");

    let text = user.run(&["certs", "show", "n2"]).succeeded().stdout;
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("\tspiffe://h/n2/agent\t") && text.contains("\trevoked\n"), "{text}");
    user.run(&["certs", "show", "nowhere"]).failed(3, &["nowhere"]);
    user.run(&["certs", "show", "n1/n1.key"]).failed(3, &["holds no certificate"]);
    user.write("n1/bad.pem", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    user.run(&["certs", "show", "n1/bad.pem"]).failed(1, &["bad.pem"]);
}

#[test]
fn a_node_of_a_herd_with_lists_is_given_them_with_its_certificate() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke", "n2"]).succeeded();
    user.run(&["certs", "issue", "--node", "n3", "--role", "agent", "--out", "n3"]).succeeded();
    assert_eq!(user.text("n3/crl.pem"), user.text("certs/crl.pem"));
    assert!(matches!(user.judge("n3", "n2"), Err(PeerError::Revoked { .. })));
}

#[test]
fn a_certificate_that_issued_tsv_does_not_name_is_taken_back_by_its_whole_number() {
    let user = User::with_nodes();
    let said = user.json(&["certs", "revoke", &"ab".repeat(16)]);
    assert_eq!(said["added"][0], "ab".repeat(16));
}

#[test]
fn a_rotated_key_belongs_to_whom_the_one_before_belonged_to() {
    let user = User::with_nodes();
    // Whoever runs the tests may be allowed to give files away.
    let given = rustix::process::geteuid().is_root();
    let files = ["n1/n1.key", "n1/n1.pem", "n1/ca.pem", "n1/crl.pem"].map(|file| user.path(file));
    user.run(&["certs", "revoke"]).succeeded();
    user.distribute("crl.pem");
    for (file, mode) in files.iter().zip([0o400, 0o640, 0o444, 0o664]) {
        if given {
            chown(file, Some(4321), Some(1234)).unwrap();
        }
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let of = || {
        files.each_ref().map(|file| {
            let metadata = file.metadata().unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        })
    };
    let (before, key) = (of(), user.text("n1/n1.key"));
    user.run(&["certs", "rotate-ca"]).succeeded();
    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    assert_ne!(user.text("n1/n1.key"), key);
    assert_eq!(of(), before);
    user.credentials("n1").unwrap();

    std::fs::set_permissions(&files[0], std::fs::Permissions::from_mode(0o644)).unwrap();
    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    assert_eq!(mode(&files[0]), 0o600, "a key stays exposed");
}

#[test]
fn a_rotation_that_cannot_be_done_as_a_whole_replaces_nothing() {
    let user = User::with_nodes();
    let before = user.text("n1/n1.key");
    // In the way of what becomes the certificate, which comes last.
    std::fs::create_dir(user.path("n1/n1.pem.tmp")).unwrap();
    user.run(&["certs", "rotate", "n1/n1.pem"]).failed(1, &["cannot write", "n1.pem"]);
    assert_eq!(user.text("n1/n1.key"), before);
    assert!(!user.path("n1/n1.key.tmp").exists(), "a key is left lying about");
    std::fs::remove_dir(user.path("n1/n1.pem.tmp")).unwrap();

    // One that was cut short between its two files is mended by another.
    user.run(&["certs", "issue", "--node", "x", "--role", "agent", "--out", "x"]).succeeded();
    std::fs::copy(user.path("x/x.key"), user.path("n1/n1.key")).unwrap();
    assert!(user.credentials("n1").unwrap_err().contains("`rdcq certs rotate` again"));
    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    user.credentials("n1").unwrap();
}

#[test]
fn the_lists_in_the_ca_s_own_folder_are_written_by_who_signs_them_alone() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke", "n2"]).succeeded();
    let written = || user.path("certs/crl.pem").metadata().unwrap().ino();
    let before = written();
    user.run(&["certs", "issue", "--node", "n3", "--role", "agent"]).succeeded();
    user.run(&["certs", "rotate", "certs/n3.pem"]).succeeded();
    assert_eq!(written(), before);
}

#[test]
fn a_ca_of_which_nothing_is_written_down_is_dropped_only_by_force() {
    let user = User::with_nodes();
    std::fs::remove_file(user.path("certs/issued.tsv")).unwrap();
    user.run(&["certs", "rotate-ca"]).succeeded();
    user.run(&["certs", "rotate", "n1/n1.pem"]).succeeded();
    user.run(&["certs", "rotate-ca", "--finish"])
        .failed(1, &["names no certificate of the old CA", "--force"]);
    user.run(&["certs", "rotate-ca", "--finish", "--force"]).succeeded();
}

#[test]
fn a_replacement_that_was_cut_off_at_its_end_is_ended_by_another_try() {
    let user = User::with_nodes();
    user.run(&["certs", "rotate-ca"]).succeeded();
    ["n1/n1.pem", "n2/n2.pem"].iter().for_each(|file| drop(user.run(&["certs", "rotate", file]).succeeded()));
    let old_key = user.text("certs/old-ca.key");
    user.run(&["certs", "rotate-ca", "--finish"]).succeeded();
    // As if the last step were still to come.
    user.write("certs/old-ca.key", &old_key);
    user.run(&["certs", "issue", "--node", "n3", "--role", "agent", "--out", "n3"]).succeeded();
    user.run(&["certs", "rotate-ca", "--finish"]).succeeded();
    assert!(!user.path("certs/old-ca.key").exists());
    user.write("certs/old-ca.key", &old_key);
    user.run(&["certs", "rotate-ca"]).succeeded();
    assert_eq!(describe(&user.text("certs/ca.pem")).unwrap().len(), 2);
}

#[test]
fn a_replacement_that_was_cut_off_before_its_lists_is_begun_once_more() {
    let user = User::with_nodes();
    user.run(&["certs", "revoke"]).succeeded();
    let before = user.text("certs/crl.pem");
    user.run(&["certs", "rotate-ca"]).succeeded();
    let cas = user.text("certs/ca.pem");
    user.write("certs/crl.pem", &before);
    user.run(&["certs", "rotate-ca"]).succeeded();
    assert_eq!(user.text("certs/ca.pem"), cas, "a third CA was made");
    assert_eq!(describe_lists(&user.text("certs/crl.pem")).unwrap().len(), 2);
    user.run(&["certs", "rotate-ca"]).failed(1, &["being replaced already"]);
}

#[test]
fn certificates_are_replaced_all_or_none_and_by_their_own_ca_alone() {
    let user = User::with_nodes();
    user.run(&["certs", "init", "--herd", "h", "--out", "other"]).succeeded();
    let before = ["n1/n1.pem", "n1/n1.key", "n1/ca.pem", "n2/n2.pem"].map(|file| user.text(file));
    user.run(&["certs", "rotate", "--ca", "other", "n1/n1.pem"]).failed(
        1,
        &["n1/ca.pem is of another CA than other", "nothing was replaced", "--ca names the folder"],
    );
    user.run(&["certs", "rotate", "n1/n1.pem", "n1/ca.pem", "n2/n2.pem"])
        .failed(1, &["a CA's certificate", "nothing was replaced"]);
    user.run(&["certs", "revoke", "n2"]).succeeded();
    user.run(&["certs", "rotate", "n1/n1.pem", "n2/n2.pem"]).failed(1, &["revoked", "nothing was replaced"]);
    assert_eq!(["n1/n1.pem", "n1/n1.key", "n1/ca.pem", "n2/n2.pem"].map(|file| user.text(file)), before);
}

#[test]
fn an_operator_of_another_herd_is_not_taken_for_this_one_s() {
    let user = User::new();
    for (ca, caller, role) in [("one", "client", "client"), ("two", "operator", "operator")] {
        user.run(&["certs", "init", "--herd", "h", "--out", ca]).succeeded();
        let issue = ["certs", "issue", "--node", caller, "--role", role, "--ca", ca, "--out", ca];
        user.run(&issue).succeeded();
        let settings = format!(
            "data_dir = \"data\"\n[identity]\nca = \"{ca}/ca.pem\"\ncert = \"{ca}/{caller}.pem\"\n\
             key = \"{ca}/{caller}.key\"\n[herd]\nbuild_indexes = [\"127.0.0.1:9\"]\n[client]\n"
        );
        user.write(&format!("{caller}.toml"), &settings);
    }
    user.run(&["remove", "x:1", "--yes", "--herd", "client.toml"]).failed(
        5,
        &["client.toml is no operator's", "operator.toml beside it is of another herd", "--herd names"],
    );
}
