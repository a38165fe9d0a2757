//! What is said before any herd is spoken to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use crate::user::User;

#[test]
fn help_names_every_command() {
    let help = User::new().run(&["--help"]).succeeded().stdout;
    for command in ["demo", "up", "push", "pull", "remove", "ls", "inspect", "node", "certs", "config"] {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not in {help}"
        );
    }
}

#[test]
fn what_is_no_command_line_exits_2() {
    let user = User::new();
    for line in [&["psuh", "x"][..], &[], &["push"], &["pull", "a:b c"], &["push", "x", "--tag", "a\nb"]] {
        assert_eq!(user.run(line).code, Some(2), "{line:?}");
    }
    user.run(&["push", "x", "--timeout", "soon"]).failed(2, &["30s"]);
    user.run(&["up", "--agents", "0"]).failed(2, &["--agents"]);
}

#[test]
fn without_a_herd_every_command_exits_6_at_once_and_leads_to_rdcq_up() {
    let user = User::new();
    user.write("file.txt", "content");
    let begin = Instant::now();
    for line in
        [&["push", "file.txt"][..], &["pull", "k"], &["remove", "k", "--yes"], &["ls"], &["inspect", "k"]]
    {
        user.run(line).failed(6, &["error: no herd is running", "hint: `rdcq up` starts one"]);
    }
    user.run(&["ls", "--herd", "elsewhere"]).failed(6, &["no herd is running", "elsewhere"]);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn settings_that_a_killed_herd_left_exit_6_at_once() {
    let user = User::new();
    user.write("data/rdcq/up/client.toml", "");
    user.write("data/rdcq/up/up.lock", "");
    user.run(&["ls"]).failed(6, &["no herd is running", "left from one that was killed", "`rdcq up`"]);
}

#[test]
fn a_missing_file_exits_3_a_directory_1_and_a_name_that_is_no_utf_8_exits_2() {
    let user = User::new();
    user.run(&["push", "none.txt"]).failed(3, &["none.txt"]);
    user.run(&["push", "."]).failed(1, &["is a directory"]);
    let name = OsStr::from_bytes(b"a\xffb.txt");
    std::fs::write(user.path("").join(name), "").unwrap();
    user.run_os([OsStr::new("push"), name]).failed(2, &["a\u{fffd}b.txt is not UTF-8"]);
}

#[test]
fn removing_without_a_terminal_needs_yes() {
    User::new().run(&["remove", "k"]).failed(2, &["--yes"]);
}

#[test]
fn config_check_names_an_unknown_key_and_its_line() {
    let user = User::new();
    let text = "[identity]\nca = \"c\"\ncert = \"c\"\nkey = \"k\"\n[client]\nagnet = \"127.0.0.1:1\"\n";
    user.write("client.toml", text);
    user.run(&["config", "check", "client.toml"]).failed(1, &["client.toml:6", "unknown key `agnet`"]);
    user.run(&["config", "check", "none.toml"]).failed(3, &["none.toml"]);
}

#[test]
fn config_check_says_what_runs_with_sound_settings() {
    let user = User::new();
    let file = user.tracker_settings();
    let text = user.run(&["config", "check", file.to_str().unwrap()]).succeeded().stdout;
    assert_eq!(text, format!("{}\tok\ttracker\n", file.display()));
    let json = user.run(&["config", "check", "tracker.toml", "--output", "json"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["format"], &json["roles"]), (&1.into(), &serde_json::json!(["tracker"])));
}

#[test]
fn a_closed_stdout_is_no_failure() {
    let user = User::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = user.command().args(["certs", "init"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), user.path("certs/ca.pem").exists()), (Some(0), true));
}

#[test]
fn manual_pages_are_printed_and_written() {
    let user = User::new();
    let page = user.run(&["man", "certs", "issue"]).succeeded().stdout;
    assert!(page.contains(".TH rdcq-certs-issue 1") || page.contains(".TH rdcq\\-certs\\-issue 1"), "{page}");
    user.run(&["man", "psuh"]).failed(2, &["there is no command psuh"]);
    std::fs::create_dir(user.path("man1")).unwrap();
    user.run(&["man", "--dir", "man1"]).succeeded();
    for name in ["rdcq.1", "rdcq-push.1", "rdcq-certs-issue.1"] {
        assert!(user.path("man1").join(name).exists(), "{name} was not written");
    }
    user.run(&["man", "--dir", "none"]).failed(3, &["none"]);
}
