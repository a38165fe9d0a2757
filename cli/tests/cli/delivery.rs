//! Which files a pull writes and a push waits for.

use std::thread;
use std::time::Duration;

use crate::user::{Running, User};

/// A user with a herd in which the file `f` with the content `new` is pushed.
struct Herd {
    user: User,
    tag: String,
    _up: Running,
}

impl Herd {
    fn with_f() -> Self {
        let user = User::new();
        let mut up = Running::start(user.command().arg("up"));
        up.wait_for("is up");
        user.write("f", "new");
        let pushed = user.run(&["push", "f"]).succeeded().stdout;
        let tag = pushed.split('\t').next().unwrap().to_owned();
        Self { user, tag, _up: up }
    }

    fn pull(&self, arguments: &[&str]) -> crate::user::Outcome {
        self.user.run(&[&["pull", &self.tag, "--dst-path", "out"], arguments].concat())
    }

    /// Has `out` hold these files, each with its own name in it.
    fn present(&self, names: &[&str]) {
        let _ = std::fs::remove_dir_all(self.user.path("out"));
        std::fs::create_dir(self.user.path("out")).unwrap();
        for name in names {
            self.user.write(&format!("out/{name}"), name);
        }
    }

    /// What is in `out`, as `name=content`.
    fn listing(&self) -> Vec<String> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(self.user.path("out")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            files.push(format!("{name}={}", std::fs::read_to_string(&path).unwrap()));
        }
        files.sort();
        files
    }

    #[track_caller]
    fn check(&self, present: &[&str], arguments: &[&str], wanted: &[&str]) {
        self.present(present);
        let said = self.pull(arguments).succeeded().stdout;
        assert_eq!(self.listing(), wanted);
        let written = wanted.iter().find_map(|file| file.strip_suffix("=new")).unwrap();
        assert!(said.contains(&format!("\tout/{written}\t")), "{written} is not in {said}");
    }
}

#[test]
fn a_file_that_is_there_is_replaced_or_left_and_one_beside_it_gets_a_name() {
    let herd = Herd::with_f();
    herd.check(&["f"], &[], &["f=new"]);
    herd.check(&["f"], &["--is-cover", "true"], &["f=new"]);
    herd.check(&[], &["--is-cover", "false"], &["f=new"]);
    herd.check(&["f", "f.1"], &["--is-cover", "false"], &["f.1=f.1", "f.2=new", "f=f"]);
    herd.check(&["f"], &["--is-cover", "false", "--new-name", "g"], &["f=f", "g=new"]);
    herd.check(&[], &["--is-cover", "false", "--new-name", "g"], &["f=new"]);

    herd.present(&["f", "g"]);
    let taken = herd.pull(&["--is-cover", "false", "--new-name", "g"]);
    taken.failed(4, &["out/f and out/g are there already"]);
    assert_eq!(herd.listing(), ["f=f", "g=g"]);
    herd.pull(&["--new-name", "g"]).failed(2, &["--is-cover false"]);
    herd.pull(&["--is-cover", "maybe"]).failed(2, &["true, false"]);
    herd.pull(&["--is-cover", "false", "--new-name", "../g"]).failed(2, &["without a `/`"]);
}

#[test]
fn a_target_that_is_a_directory_is_left_and_named() {
    let herd = Herd::with_f();
    std::fs::create_dir_all(herd.user.path("out/f")).unwrap();
    herd.pull(&[]).failed(1, &["out/f is a directory"]);
    let said = herd.pull(&["--is-cover", "false"]).succeeded().stdout;
    assert!(said.contains("\tout/f.1\t"), "{said}");
}

#[test]
fn a_pull_writes_a_flag_file_when_it_is_told_to() {
    let herd = Herd::with_f();
    herd.check(&[], &[], &["f=new"]);
    herd.check(&[], &["--has-flag", "N"], &["f=new"]);
    herd.check(&[], &["--has-flag", "F"], &["f.flag=", "f=new"]);
    herd.check(&["f", "f.flag"], &["--has-flag", "f"], &["f.flag=", "f=new"]);
    herd.check(&[], &["--has-flag", "F", "--flag-name", "done"], &["done=", "f=new"]);
    herd.check(&["f"], &["--has-flag", "F", "--is-cover", "false"], &["f.1.flag=", "f.1=new", "f=f"]);

    herd.present(&["f"]);
    herd.pull(&["--flag-name", "done"]).failed(2, &["--has-flag F"]);
    herd.pull(&["--has-flag", "F", "--flag-name", "f"]).failed(1, &["its flag file"]);
    herd.pull(&["--has-flag", "Y"]).failed(2, &["[possible values: F, N]"]);
    assert_eq!(herd.listing(), ["f=f"]);
}

#[test]
fn a_push_waits_for_the_flag_file_and_says_which_if_it_never_comes() {
    let herd = Herd::with_f();
    let user = &herd.user;
    user.run(&["push", "f", "--has-flag", "N"]).succeeded();
    let late = user.run(&["push", "f", "--has-flag", "F", "--timeout", "300ms"]);
    late.failed(6, &["flag file ./f.flag did not come within 300ms", "hint: whoever writes the file"]);
    let other = user.run(&["push", "f", "--has-flag", "F", "--flag-name", "ok", "--timeout", "300ms"]);
    other.failed(6, &["./ok did not come"]);
    user.write("ok", "");
    user.run(&["push", "f", "--has-flag", "F", "--flag-name", "ok"]).succeeded();

    let line = ["push", "coming", "--has-flag", "F"];
    let mut push = Running::start(user.command().args(line));
    push.wait_for("waiting for the flag file ./coming.flag");
    user.write("coming", "half");
    thread::sleep(Duration::from_millis(300));
    user.write("coming", "half and half");
    user.write("coming.flag", "");
    let pushed = push.end().succeeded().stdout;
    assert!(pushed.ends_with("\t13\n"), "{pushed}");
    user.run(&["push", "f", "--flag-name", "ok"]).failed(2, &["--has-flag F"]);
}

#[test]
fn nobody_waits_for_no_time() {
    let user = User::new();
    user.write("f", "");
    for line in [&["push", "f"][..], &["pull", "k"]] {
        for timeout in ["0", "-1", "0s"] {
            user.run(&[line, &["--timeout", timeout]].concat()).failed(2, &["--timeout", "30s"]);
        }
    }
}

#[test]
fn a_removal_that_is_only_tried_removes_nothing() {
    let herd = Herd::with_f();
    let shown = herd.user.run(&["remove", &herd.tag, "--dry-run"]).succeeded();
    assert!(shown.stdout.starts_with(&herd.tag) && shown.stderr.contains("nothing was removed"), "{shown:?}");
    let json = |line: &[&str]| -> serde_json::Value {
        let said = herd.user.run(&[line, &["--output", "json"]].concat()).succeeded().stdout;
        serde_json::from_str(&said).unwrap()
    };
    assert_eq!(json(&["remove", &herd.tag, "--dry-run", "--yes"])["removed"], false);
    herd.user.run(&["inspect", &herd.tag]).succeeded();
    assert_eq!(json(&["remove", &herd.tag, "--yes"])["removed"], true);
    herd.user.run(&["remove", &herd.tag, "--dry-run"]).failed(3, &[&herd.tag]);
}
