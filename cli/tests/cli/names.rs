//! How files are found again, what is told of them, and what they were beside their bytes.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use crate::user::{Outcome, Running, User};

/// A herd, and the settings of its operator, who pushes in any host's name.
struct Herd {
    user: User,
    _up: Running,
}

impl Herd {
    fn new() -> Self {
        let user = User::new();
        let mut up = Running::start(user.command().arg("up"));
        up.wait_for("is up");
        Self { user, _up: up }
    }

    /// Pushes a file of this name and content as from a host, and gives its tag.
    fn push_from(&self, host: &str, file: &str, content: &str) -> String {
        self.user.write(file, content);
        let operator = self.user.path("data/rdcq/up/operator.toml");
        let line = ["push", file, "--src-host", host, "--herd", operator.to_str().unwrap()];
        tag_of(&self.user.run(&line).succeeded())
    }

    /// Pulls to `out` and gives what it holds.
    fn pull(&self, arguments: &[&str]) -> String {
        self.try_pull(arguments).succeeded();
        std::fs::read_to_string(self.user.path("out")).unwrap()
    }

    fn try_pull(&self, arguments: &[&str]) -> Outcome {
        self.user.run(&[&["pull", "--dst-path", "out"], arguments].concat())
    }
}

fn tag_of(pushed: &Outcome) -> String {
    pushed.stdout.split('\t').next().unwrap().to_owned()
}

#[test]
fn a_file_is_pulled_by_its_name_if_only_one_tag_is_of_it() {
    let herd = Herd::new();
    let first = herd.push_from("10.0.0.1", "secu.txt", "1");
    herd.push_from("10.0.0.1", "secu.txt", "2");
    assert_eq!(herd.pull(&["secu.txt"]), "2");
    assert_eq!(herd.pull(&["secu.txt:1"]), "1");
    assert_eq!(herd.pull(&[&first]), "1");

    let other = herd.push_from("10.0.0.2", "secu.txt", "other");
    let both = herd.try_pull(&["secu.txt"]);
    let other_key = other.rsplit_once(':').unwrap().0;
    both.failed(4, &["more than one tag is of a file secu.txt: 10.0.0.1-", other_key, "--src-host"]);
    assert_eq!(herd.pull(&["secu.txt", "--src-host", "10.0.0.2"]), "other");
    assert_eq!(herd.pull(&["secu.txt", "--src-host", "10.0.0.1"]), "2");
    assert_eq!(herd.pull(&[&first, "--src-host", "10.0.0.1"]), "1");
    herd.try_pull(&[&first, "--src-host", "10.0.0.2"]).failed(3, &["comes from 10.0.0.1, not from 10.0.0.2"]);
    herd.try_pull(&["secu.txt", "--src-host", "10.0.0.3"]).failed(3, &["there is no secu.txt"]);
    herd.try_pull(&["secu.txt:9", "--src-host", "10.0.0.1"]).failed(3, &["secu.txt:9"]);
    herd.try_pull(&["nobody.txt"]).failed(3, &["there is no nobody.txt"]);
}

#[test]
fn what_a_file_was_beside_its_bytes_comes_with_it() {
    let herd = Herd::new();
    let path = herd.user.write("f", "x");
    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    file.set_permissions(Permissions::from_mode(0o4750)).unwrap();
    let tag = tag_of(&herd.user.run(&["push", "f", "--res-desc", "end of day 日终"]).succeeded());

    herd.pull(&[&tag]);
    let pulled = std::fs::metadata(herd.user.path("out")).unwrap();
    assert_eq!(pulled.modified().unwrap(), modified);
    assert_eq!(pulled.permissions().mode() & 0o7777, 0o750, "nothing comes to run as another user");

    let told = herd.user.run(&["inspect", &tag]).succeeded().stdout;
    for line in ["mode       0750\n", "modified   2020-09-13T12:26:40Z\n", "says       end of day 日终\n"] {
        assert!(told.contains(line), "{told}");
    }
    let plain = tag_of(&herd.user.run(&["push", "f"]).succeeded());
    assert!(!herd.user.run(&["inspect", &plain]).succeeded().stdout.contains("says"));
    herd.user.run(&["push", "f", "--res-desc", "two\nlines"]).failed(2, &["--res-desc", "one line"]);
}

#[test]
fn a_history_tells_what_was_pushed_and_removed() {
    let herd = Herd::new();
    let first = herd.push_from("10.0.0.1", "f", "1");
    let second = herd.push_from("10.0.0.1", "f", "2");
    herd.user.run(&["remove", "--yes", &first]).succeeded();
    let key = first.rsplit_once(':').unwrap().0;
    let events = |arguments: &[&str]| {
        let told = herd.user.run(&[&["history"], arguments].concat()).succeeded().stdout;
        let of_line = |line: &str| {
            let fields = Vec::from_iter(line.split('\t').map(str::to_owned));
            format!("{} {}", fields[1], fields[2])
        };
        Vec::from_iter(told.lines().map(of_line))
    };
    let wanted = [format!("removed {first}"), format!("pushed {second}"), format!("pushed {first}")];
    assert_eq!(events(&[key]), wanted);
    assert_eq!(events(&[&second]), [wanted[1].clone()]);
    herd.user.run(&["history", "none"]).failed(3, &["nothing was ever pushed as none"]);
    let json = herd.user.run(&["history", key, "--output", "json"]).succeeded().stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["history"][0]["event"], "removed");
    assert_eq!(json["history"][2]["sequence"], 1);
}

#[test]
fn the_old_commands_words_are_understood() {
    let herd = Herd::new();
    herd.user.write("secu.txt", "old words");
    let run = |name: &str, arguments: &[&str]| {
        let link = herd.user.path(name);
        symlink(env!("CARGO_BIN_EXE_rdcq"), &link).unwrap();
        let mut command = herd.user.command_of(&link);
        command.args(arguments);
        User::finish(command)
    };
    let pushed = run("PushCLI", &["push", "--resDesc", "x", "secu.txt"]).succeeded();
    run("PullCLI", &["secu.txt", "--dstPath", "out", "--isCover", "true"]).succeeded();
    assert_eq!(std::fs::read_to_string(herd.user.path("out")).unwrap(), "old words");
    run("AgentPushCLI", &["remove", "--yes", &tag_of(&pushed)]).succeeded();
    run("RemoveCLI", &["--dryRun", &tag_of(&pushed)]).failed(3, &["there is no"]);
}

#[test]
fn a_shell_is_offered_the_tags_that_stand() {
    let herd = Herd::new();
    let first = herd.push_from("10.0.0.1", "secu.txt", "1");
    let second = herd.push_from("10.0.0.1", "secu.txt", "2");
    herd.push_from("10.0.0.2", "other.txt", "3");
    let offered = |words: &[&str]| {
        let mut command = herd.user.command();
        command.env("RDCQ_COMPLETE", "fish").args(["--", "rdcq"]).args(words);
        let offered = User::finish(command).succeeded();
        assert_eq!(offered.stderr, "");
        let word = |line: &str| line.split('\t').next().unwrap().to_owned();
        Vec::from_iter(offered.stdout.lines().map(word))
    };
    let key = first.rsplit_once(':').unwrap().0;
    let wanted = [key, &first, &second].map(str::to_owned);
    assert_eq!(offered(&["pull", "10.0.0.1"]), wanted);
    assert_eq!(offered(&["remove", &format!("{key}:")]), wanted[1..]);
    assert_eq!(offered(&["inspect", "nobody"]), [""; 0]);
    assert_eq!(offered(&["pull", "--herd", "nowhere", "10.0.0.1"]), [""; 0]);
    assert_eq!(offered(&["pu"]), ["push", "pull"]);
    assert!(offered(&["push", "--res-d"]).contains(&"--res-desc".to_owned()));

    for (shell, said) in [("bash", "complete -o"), ("zsh", "#compdef rdcq"), ("fish", "complete --")] {
        let script = herd.user.run(&["completion", shell]).succeeded().stdout;
        assert!(script.contains(said) && script.contains("RDCQ_COMPLETE"), "{script}");
    }
    herd.user.run(&["completion", "tcsh"]).failed(2, &["[possible values: bash, zsh, fish]"]);
}

/// The lines of an output, each a JSON object.
fn objects(stdout: &str) -> Vec<serde_json::Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every field in an object and in those inside it.
fn fields(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => object.iter().for_each(|(field, value)| {
            found.push(field.clone());
            fields(value, found);
        }),
        serde_json::Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn a_program_that_follows_reads_a_json_object_a_line() {
    let herd = Herd::new();
    let follow = |line: &[&str]| {
        let outcome = herd.user.run(&[line, &["--output", "ndjson"]].concat()).succeeded();
        objects(&outcome.stdout)
    };
    let types = |lines: &[serde_json::Value]| {
        let mut types = Vec::from_iter(lines.iter().map(|line| line["type"].as_str().unwrap().to_owned()));
        types.dedup();
        types
    };
    herd.user.write("f", "content");
    let pushed = follow(&["push", "f"]);
    assert_eq!(types(&pushed), ["progress", "result"]);
    let stages = Vec::from_iter(pushed.iter().filter_map(|line| line["stage"].as_str()));
    assert_eq!(stages, ["reading", "sending", "committing"]);
    let tag = pushed.last().unwrap()["tag"].as_str().unwrap();
    assert_eq!(types(&follow(&["pull", tag, "--dst-path", "out"])), ["progress", "result"]);
    assert_eq!(types(&follow(&["pull", tag, "--dst-path", "out", "--quiet"])), ["result"]);
    for (line, lines) in [(&["ls"][..], 1), (&["history", tag], 1), (&["ls", "none"], 0)] {
        let items = follow(line);
        assert_eq!(items.len(), lines, "{line:?}");
        assert!(items.iter().all(|item| item["type"] == "item" && item["format"] == 1 && item["tag"] == tag));
    }
}

#[test]
fn output_md_names_every_field_that_is_written() {
    let herd = Herd::new();
    herd.user.write("f", "content");
    let tag = tag_of(&herd.user.run(&["push", "f"]).succeeded());
    let page = include_str!("../../OUTPUT.md");
    let commands = [
        &["push", "f", "--output", "ndjson"][..],
        &["pull", &tag, "--dst-path", "out", "--has-flag", "F", "--output", "ndjson"],
        &["inspect", &tag, "--output", "json"],
        &["history", &tag, "--output", "json"],
        &["ls", "--output", "json"],
        &["remove", &tag, "--dry-run", "--output", "json"],
        &["status", "--peers", "--output", "json"],
    ];
    for command in commands {
        let mut found = Vec::new();
        objects(&herd.user.run(command).succeeded().stdout)
            .iter()
            .for_each(|object| fields(object, &mut found));
        for field in found {
            assert!(
                page.contains(&format!("| `{field}` |")),
                "OUTPUT.md has no row for `{field}` of {command:?}"
            );
        }
    }
}
