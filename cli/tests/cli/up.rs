//! `rdcq up`, and the other commands with the herd that it keeps.

use rustix::process::Signal;

use crate::user::{Barrier, Running, User, mode};

fn up(user: &User, arguments: &[&str]) -> Running {
    let mut up = Running::start(user.command().arg("up").args(arguments));
    up.wait_for("is up");
    up
}

#[test]
fn a_herd_is_found_without_flags_and_named_by_every_command() {
    let user = User::new();
    let up = up(&user, &["--agents", "2"]);
    user.write("a b 交易数据.txt", "content");
    let pushed = user.run(&["push", "a b 交易数据.txt"]).succeeded();
    let tag = pushed.stdout.split('\t').next().unwrap().to_owned();
    assert!(tag.ends_with("a b 交易数据.txt:1"), "{tag}");
    for line in
        [&["pull", &tag, "--dst-path", "one"][..], &["pull", &tag, "--dst-path", "two", "--agent", "2"]]
    {
        let pulled = user.run(line).succeeded();
        assert!(pulled.stderr.starts_with("herd rdcq-"), "{pulled:?}");
        assert_eq!(std::fs::read(user.path(line[3])).unwrap(), b"content");
    }
    user.run(&["pull", &tag, "--agent", "3"]).failed(3, &["agents 1 to 2"]);
    let quiet = user.run(&["ls", "-q"]).succeeded();
    assert_eq!((quiet.stderr.as_str(), quiet.stdout.as_str()), ("", pushed.stdout.as_str()));
    up.signal(Signal::TERM);
    up.end().succeeded();
}

#[test]
fn json_is_one_object_with_its_format_and_its_herd() {
    let user = User::new();
    let _up = up(&user, &[]);
    user.write("f", "content");
    for line in [&["push", "f"][..], &["ls"], &["inspect"], &["pull"], &["remove", "--yes"]] {
        let tags: serde_json::Value = json(&user, &["ls"]);
        let tag = tags["tags"][0]["tag"].as_str().unwrap_or_default();
        let line =
            if matches!(line, ["push", ..] | ["ls"]) { line.to_vec() } else { [line, &[tag]].concat() };
        let value = json(&user, &line);
        assert_eq!(value["format"], 1, "{line:?}: {value}");
        assert!(value["herd"].as_str().unwrap().starts_with("rdcq-"), "{line:?}: {value}");
    }
}

fn json(user: &User, line: &[&str]) -> serde_json::Value {
    let said = user.run(&[line, &["--output", "json"]].concat()).succeeded().stdout;
    serde_json::from_str(&said).unwrap()
}

#[test]
fn two_herds_cannot_share_a_folder() {
    let user = User::new();
    let _up = up(&user, &[]);
    user.run(&["up", "-q"]).failed(1, &["a herd is up", "--data"]);
    user.run(&["ls"]).succeeded();
}

#[test]
fn a_stopped_herd_is_gone_for_commands_and_the_next_one_has_its_content() {
    let user = User::new();
    let first = up(&user, &[]);
    user.write("f", "content");
    let pushed = user.run(&["push", "f"]).succeeded().stdout;
    first.signal(Signal::TERM);
    first.end().succeeded();
    user.run(&["ls"]).failed(6, &["no herd is running"]);
    let _second = up(&user, &[]);
    assert_eq!(user.run(&["ls"]).succeeded().stdout, pushed);
}

#[test]
fn a_herd_that_is_still_starting_cannot_be_found_and_a_signal_ends_it() {
    let user = User::new();
    drop(up(&user, &[]));
    assert!(user.path("data/rdcq/up/client.toml").exists());
    let barrier = Barrier::instead_of(user.path("data/rdcq/up/certs/tracker-1.pem"));
    let mut next = Running::start(user.command().arg("up"));
    let _held = barrier.wait_for(&mut next);
    user.run(&["ls"]).failed(6, &["no herd is running"]);
    next.signal(Signal::TERM);
    next.end().failed(130, &["interrupted"]);
}

#[test]
fn a_hangup_ends_a_herd_as_a_termination_does_unless_it_was_started_to_outlive_the_terminal() {
    let user = User::new();
    let first = up(&user, &[]);
    first.signal(Signal::HUP);
    first.end().succeeded();
    let mut nohup = std::process::Command::new("/usr/bin/nohup");
    let ordinary = user.command();
    nohup.arg(ordinary.get_program()).arg("up").env("HOME", user.path("")).stdin(std::process::Stdio::null());
    nohup.env("XDG_DATA_HOME", user.path("data")).env("XDG_CONFIG_HOME", user.path("config"));
    let mut second = Running::start(&mut nohup);
    second.wait_for("is up");
    second.signal(Signal::HUP);
    user.run(&["ls"]).succeeded();
    second.signal(Signal::TERM);
    second.end().succeeded();
}

#[test]
fn a_conflict_exits_4_a_key_of_another_host_5_and_an_unknown_tag_3() {
    let user = User::new();
    let _up = up(&user, &[]);
    user.write("one", "1");
    user.write("two", "2");
    let pushed = user.run(&["push", "one"]).succeeded().stdout;
    let tag = pushed.split('\t').next().unwrap();
    user.run(&["push", "two", "--tag", tag]).failed(4, &["stands with other content", "untouched"]);
    user.run(&["push", "two", "--tag", "another-host"]).failed(5, &["another-host"]);
    user.run(&["pull", "nothing"]).failed(3, &["nothing"]);
    user.run(&["pull", tag, "--dst-path", "no/such/folder"]).failed(3, &["no/such"]);
}

#[test]
fn only_the_operator_of_a_herd_removes() {
    let user = User::new();
    let _up = up(&user, &[]);
    user.write("f", "content");
    let pushed = user.run(&["push", "f"]).succeeded().stdout;
    let tag = pushed.split('\t').next().unwrap();
    let operator = user.path("data/rdcq/up/operator.toml");
    assert_eq!(mode(&user.path("data/rdcq/up")), 0o700);
    let hidden = user.path("data/rdcq/up/hidden.toml");
    std::fs::rename(&operator, &hidden).unwrap();
    user.run(&["remove", tag, "--yes"]).failed(5, &["operator"]);
    std::fs::rename(&hidden, &operator).unwrap();
    user.run(&["remove", tag, "--yes"]).succeeded();
    user.run(&["inspect", tag]).failed(3, &[]);
}
