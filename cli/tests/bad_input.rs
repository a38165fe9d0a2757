//! Bad input, and what it gets: the exit code, the reason, and nothing half done.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/herd.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod herd;
#[path = "support/machine.rs"]
mod machine;
#[path = "support/nobody.rs"]
mod nobody;
#[path = "support/noise.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod noise;
#[path = "support/service.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod service;
#[path = "support/shown.rs"]
mod shown;
#[path = "support/stranger.rs"]
mod stranger;
#[path = "cli/user.rs"]
#[allow(dead_code, reason = "each file of tests uses a part of it")]
mod user;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rdcq_transport::ConnectError;
use rdcq_wire::ErrorCode;
use rustls::client::ResolvesClientCert;

use crate::agent::Agent;
use crate::herd::{Herd, digest_of, names};
use crate::machine::{Tmpfs, skip};
use crate::nobody::Nobody;
use crate::noise::{noise, write_large};
use crate::shown::{NoCertificate, credentials};
use crate::stranger::call_every_role;
use crate::user::User;

const MIB: u64 = 1024 * 1024;
/// Bytes that a store writes down for each piece of content: its hash, its length, whether it is there.
const LISTED_PIECE: u64 = 36;

/// Nobody can use the herd's tags for anything that was refused.
#[track_caller]
fn nothing_was_pushed(herd: &Herd) {
    assert_eq!(herd.run(&["ls"]).succeeded().stdout, "");
    assert_eq!(herd.origin_blobs(), Vec::<String>::new());
}

#[test]
fn a_missing_file_exits_3() {
    let herd = Herd::with_agents(1);
    herd.run(&["push", "none.txt"]).failed(3, &["none.txt"]);
    nothing_was_pushed(&herd);
}

#[test]
fn a_directory_where_a_file_is_expected_exits_1() {
    let herd = Herd::with_agents(1);
    std::fs::create_dir(herd.path("folder")).unwrap();
    herd.run(&["push", "folder"]).failed(1, &["folder is a directory"]);
    nothing_was_pushed(&herd);
}

#[test]
fn an_unreadable_file_exits_1() {
    let herd = Herd::with_agents(1);
    let nobody = match Nobody::new(&herd) {
        Ok(nobody) => nobody,
        Err(why) => return skip(&why),
    };
    herd.write("secret", b"content");
    std::fs::set_permissions(herd.path("secret"), Permissions::from_mode(0o000)).unwrap();
    nobody.run(&["push", "secret"]).failed(1, &["cannot read secret", "Permission denied"]);
    nothing_was_pushed(&herd);
}

#[test]
fn an_unknown_tag_exits_3() {
    let herd = Herd::with_agents(1);
    herd.write("file", b"content");
    let pushed = herd.push("file");
    for tag in ["nothing", "nothing:1", &format!("{}:2", pushed.key()), &format!("{}x", pushed.key())] {
        herd.run(&["pull", tag, "--dst-path", "back"]).failed(3, &[tag]);
        herd.run(&["inspect", tag]).failed(3, &[tag]);
        herd.run(&["remove", tag, "--yes"]).failed(3, &[tag]);
    }
    assert!(!herd.path("back").exists());
    assert_eq!(herd.inspect(pushed.key()).version, "1");
}

#[test]
fn a_malformed_tag_exits_2() {
    let herd = Herd::with_agents(1);
    herd.write("file", b"content");
    let too_long = "x".repeat(4097);
    for tag in ["", "key:", "key:a version", "a\nb", &too_long] {
        for line in [&["pull", tag][..], &["inspect", tag], &["remove", tag, "--yes"]] {
            assert_eq!(herd.run(line).code, Some(2), "{line:?}");
        }
        assert_eq!(herd.run(&["push", "file", "--tag", tag]).code, Some(2), "{tag:?}");
    }
    nothing_was_pushed(&herd);
}

#[test]
fn without_a_herd_commands_exit_6() {
    let user = User::new();
    user.write("file", "content");
    let lines =
        [&["push", "file"][..], &["pull", "k"], &["inspect", "k"], &["remove", "k", "--yes"], &["ls"]];
    for line in lines {
        user.run(line).failed(6, &["no herd is running", "rdcq up"]);
    }
}

#[test]
fn after_a_herd_was_killed_commands_exit_6() {
    let mut herd = Herd::with_agents(1);
    herd.write("file", b"content");
    let tag = herd.push("file").tag;
    let certs = herd.folder().join("certs");
    let elsewhere = herd.settings_of("elsewhere.toml", &certs.join("ca.pem"), &certs.join("client"));
    let elsewhere = elsewhere.to_str().unwrap().to_owned();
    herd.kill();
    herd.run(&["push", "file"]).failed(6, &["no herd is running", "killed"]);
    herd.run(&["pull", &tag, "--dst-path", "back"]).failed(6, &["no herd is running", "killed"]);
    // Settings that tell nothing of a herd that is gone: nobody answers.
    let line = ["pull", &tag, "--dst-path", "back", "--timeout", "1s", "--herd", &elsewhere];
    herd.run(&line).failed(6, &["the agent did not answer"]);
    assert!(!herd.path("back").exists());
}

#[test]
fn the_same_tag_with_other_content_exits_4_and_the_old_content_stays() {
    let herd = Herd::with_agents(1);
    herd.write("file", b"old content");
    let old = herd.push("file");
    herd.write("file", b"other content");
    herd.run(&["push", "file", "--tag", &old.tag]).failed(4, &[&old.digest, "untouched"]);
    assert_eq!(
        (herd.inspect(&old.tag).digest, old.digest),
        (digest_of(b"old content"), digest_of(b"old content"))
    );
    assert_eq!(herd.inspect(old.tag.rsplit_once(':').unwrap().0).version, "1");
    herd.pull(&old.tag, "back");
    assert_eq!(herd.read("back"), b"old content");
    // The same content again is no conflict.
    herd.write("file", b"old content");
    assert!(!herd.push_as("file", &old.tag).new);
}

/// A herd with a file in it, and the tag.
fn with_a_file() -> (Herd, String) {
    let herd = Herd::with_agents(1);
    herd.write("file", b"content");
    let tag = herd.push("file").tag;
    (herd, tag)
}

/// Every command with these settings is refused.
#[track_caller]
fn refused_everything(herd: &Herd, settings: &std::path::Path, tag: &str, why: &[&str]) {
    let settings = settings.to_str().unwrap();
    let lines =
        [&["push", "file"][..], &["pull", tag, "--dst-path", "back"], &["remove", tag, "--yes"], &["ls"]];
    for line in lines {
        herd.run(&[line, &["--herd", settings]].concat()).failed(5, why);
    }
    assert!(!herd.path("back").exists());
    assert_eq!(herd.inspect(tag).size, 7);
}

#[test]
fn a_client_without_a_certificate_exits_5() {
    let (herd, tag) = with_a_file();
    let ca = herd.folder().join("certs/ca.pem");
    let none = herd.settings_of("none.toml", &ca, &herd.path("no-such"));
    refused_everything(&herd, &none, &tag, &["no-such.pem", "rdcq certs issue"]);
    herd.write("empty.pem", b"");
    herd.user.write("empty.key", "");
    std::fs::set_permissions(herd.path("empty.key"), Permissions::from_mode(0o600)).unwrap();
    let empty = herd.settings_of("empty.toml", &ca, &herd.path("empty"));
    refused_everything(&herd, &empty, &tag, &["empty.pem cannot be used"]);
}

#[test]
fn every_role_refuses_a_client_that_shows_no_certificate() {
    let herd = Herd::with_agents(1);
    every_role_refuses(&herd, Arc::new(NoCertificate));
}

#[track_caller]
fn every_role_refuses(herd: &Herd, shown: Arc<dyn ResolvesClientCert>) {
    for (role, answer) in call_every_role(herd, shown) {
        let error = answer.expect_err(role.name());
        assert!(matches!(error, ConnectError::Untrusted { .. }), "{role}: {error}");
        assert_eq!(error.code(), ErrorCode::Denied, "{role}");
    }
    // The nodes go on.
    herd.write("after", b"content");
    let tag = herd.push("after").tag;
    herd.pull(&tag, "after.back");
}

/// Makes another CA that gives itself the herd's name, and a client of it in `other`.
fn other_ca(herd: &Herd) {
    let listing: serde_json::Value = herd.json(&["ls"]);
    let name = listing["herd"].as_str().unwrap();
    herd.run(&["certs", "init", "--out", "other", "--herd", name]).succeeded();
    let issue = ["certs", "issue", "--ca", "other", "--node", "impostor", "--role", "client,operator"];
    herd.run(&[&issue[..], &["--out", "other"]].concat()).succeeded();
}

#[test]
fn a_client_of_another_ca_exits_5() {
    let (herd, tag) = with_a_file();
    other_ca(&herd);
    let impostor = herd.path("other/impostor");
    let distrusting = herd.settings_of("distrusting.toml", &herd.path("other/ca.pem"), &impostor);
    refused_everything(&herd, &distrusting, &tag, &["do not trust each other"]);
    let trusting = herd.settings_of("trusting.toml", &herd.folder().join("certs/ca.pem"), &impostor);
    refused_everything(&herd, &trusting, &tag, &["would be refused by its peers"]);
}

#[test]
fn every_role_refuses_a_client_of_another_ca_that_trusts_the_herd() {
    let herd = Herd::with_agents(1);
    other_ca(&herd);
    let impostor = credentials(&herd.path("other/ca.pem"), &herd.path("other/impostor"));
    every_role_refuses(&herd, Arc::clone(&impostor.client_config().client_auth_cert_resolver));
}

#[test]
fn a_certificate_of_the_wrong_role_exits_5() {
    let (herd, tag) = with_a_file();
    let certs = herd.folder().join("certs");
    let as_role = |stem: &str| {
        let settings = herd.settings_of(&format!("{stem}.toml"), &certs.join("ca.pem"), &certs.join(stem));
        settings.to_str().unwrap().to_owned()
    };
    // Beside these settings lie no operator's, so the client removes as what it is.
    let client = as_role("client");
    herd.run(&["remove", &tag, "--yes", "--herd", &client]).failed(5, &["client", "RemoveTag", "operator"]);
    for server in ["tracker-1", "origin-1", "build-index-1"] {
        refused_everything(&herd, as_role(server).as_ref(), &tag, &["takes a certificate of another role"]);
    }
    let agent = as_role("agent-1");
    for line in [&["pull", &tag, "--dst-path", "back"][..], &["remove", &tag, "--yes"], &["ls"]] {
        let line = [line, &["--herd", &agent]].concat();
        herd.run(&line).failed(5, &["(agent)", "takes a certificate of another role"]);
    }
    assert_eq!(herd.inspect(&tag).size, 7);
}

#[test]
fn a_target_directory_without_write_permission_exits_1() {
    let (herd, tag) = with_a_file();
    let nobody = match Nobody::new(&herd) {
        Ok(nobody) => nobody,
        Err(why) => return skip(&why),
    };
    let folder = herd.path("locked");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();
    for target in ["locked", "locked/back"] {
        nobody
            .run(&["pull", &tag, "--dst-path", target])
            .failed(1, &["cannot write into locked", "Permission denied"]);
    }
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[test]
fn a_target_that_is_no_regular_file_is_left_as_it_is() {
    use std::os::unix::fs::FileTypeExt as _;

    let (herd, tag) = with_a_file();
    let made = std::process::Command::new("mkfifo").arg(herd.path("pipe")).status().unwrap();
    assert!(made.success());
    herd.run(&["pull", &tag, "--dst-path", "pipe"]).failed(1, &["pipe is not a regular file"]);
    assert!(std::fs::metadata(herd.path("pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn a_full_target_file_system_exits_1_and_once_there_is_room_nothing_is_fetched_again() {
    let herd = Herd::with_agents(1);
    let bytes = noise(7, 3 * MIB as usize);
    herd.write("file", &bytes);
    let tag = herd.push("file").tag;
    let small = match Tmpfs::mount(&herd.path("small"), 4 * MIB) {
        Ok(small) => small,
        Err(why) => return skip(&format!("no small file system: {why}")),
    };
    herd.write("small/file", b"yesterday's");
    let filler = small.fill_but(0);
    herd.run(&["pull", &tag, "--dst-path", "small"]).failed(1, &["small/file", "No space left on device"]);
    herd.run(&["pull", &tag, "--dst-path", "small/other"])
        .failed(1, &["small/other", "No space left on device"]);
    assert_eq!(names(&herd.path("small")), ["file", "filler"]);
    assert_eq!(herd.read("small/file"), b"yesterday's");

    std::fs::remove_file(filler).unwrap();
    let pulled = herd.pull(&tag, "small");
    assert_eq!((pulled.bytes_from.held, pulled.bytes_from.network()), (3 * MIB, 0), "{pulled:?}");
    assert!(herd.read("small/file") == bytes);
    assert_eq!(names(&herd.path("small")), ["file"]);
}

#[test]
fn an_agent_whose_store_has_no_room_for_a_file_says_so_and_pulls_it_once_there_is() {
    let herd = Herd::with_agents(1);
    let bytes = noise(8, 8 * MIB as usize);
    herd.write("file", &bytes);
    let tag = herd.push("file").tag;
    let small = match Tmpfs::mount(&herd.path("small"), 32 * MIB) {
        Ok(small) => small,
        Err(why) => return skip(&format!("no small file system: {why}")),
    };
    let agent = Agent::start(&herd, &herd.path("small/data"));
    let filler = small.fill_but(0);
    let line = ["pull", &tag, "--dst-path", "back", "--agent", &agent.addr];
    herd.run(&line).failed(1, &["no space for", "8388608 bytes are needed"]);
    assert!(!herd.path("back").exists());
    assert_eq!(names(&herd.path("small/data/agent/content/partial")), Vec::<String>::new());

    std::fs::remove_file(filler).unwrap();
    assert_eq!(herd.pull_through(&agent.addr, &tag, "back").bytes_from.network(), 8 * MIB);
    assert!(herd.read("back") == bytes);
}

#[test]
fn an_agent_whose_store_fills_up_during_a_pull_goes_on_from_what_it_had_verified() {
    const SIZE: u64 = 16 * MIB;
    let herd = Herd::with_agents(1);
    let digest = write_large(&herd.path("file"), SIZE / MIB);
    let tag = herd.push("file").tag;
    let small = match Tmpfs::mount(&herd.path("small"), 32 * MIB) {
        Ok(small) => small,
        Err(why) => return skip(&format!("no small file system: {why}")),
    };
    let agent = Agent::start(&herd, &herd.path("small/data"));
    // Room for the content and one list of its pieces. A download keeps one, and needs another when it is done.
    let list = herd.inspect(&tag).pieces * LISTED_PIECE;
    let filler = small.fill_but(SIZE + list + list / 2);
    let line = ["pull", &tag, "--dst-path", "back", "--agent", &agent.addr];
    herd.run(&line).failed(1, &["no space for"]);
    assert!(!herd.path("back").exists());

    std::fs::remove_file(filler).unwrap();
    let pulled = herd.pull_through(&agent.addr, &tag, "back");
    assert_eq!((pulled.bytes_from.held, pulled.bytes_from.network()), (SIZE, 0), "{pulled:?}");
    assert_eq!(noise::digest_of_file(&herd.path("back")), digest);
}

#[test]
fn a_byte_that_changed_in_an_agent_s_store_is_not_delivered() {
    let herd = Herd::with_agents(1);
    let bytes = noise(9, 9 * MIB as usize);
    herd.write("file", &bytes);
    let pushed = herd.push("file");
    herd.write("back", b"yesterday's");
    herd.pull(&pushed.tag, "elsewhere");
    let hex = pushed.digest.strip_prefix("sha256:").unwrap();
    let blob = herd.folder().join("nodes/agent-1/content/blobs").join(&hex[..2]).join(hex);
    let mut stored = std::fs::read(&blob).unwrap();
    assert!(stored == bytes);
    stored[5 * MIB as usize] ^= 1;
    std::fs::write(&blob, &stored).unwrap();
    let said = ["integrity", "the file that the agent lent has wrong bytes", "nothing was delivered"];
    herd.run(&["pull", &pushed.tag, "--dst-path", "back"]).failed(7, &said);
    assert_eq!(herd.read("back"), b"yesterday's");
}

#[test]
fn an_unknown_key_in_a_configuration_is_named_with_its_line() {
    let user = User::new().with_certificates();
    let settings = user.tracker_settings();
    let text = std::fs::read_to_string(&settings).unwrap().replace("listen =", "lisen =");
    let line = 1 + text.lines().position(|line| line.contains("lisen")).unwrap();
    let settings = user.write("tracker.toml", &text);
    let settings = settings.to_str().unwrap();
    let place = format!("tracker.toml:{line}");
    for command in
        [&["config", "check", settings][..], &["node", "--config", settings], &["ls", "--herd", settings]]
    {
        user.run(command).failed(1, &[&place, "unknown key `lisen` in [tracker]"]);
    }
}
