//! `rdcq demo`.

use rustix::process::Signal;

use crate::user::{Running, User};

#[test]
fn a_demo_verifies_what_every_agent_delivered_and_leaves_nothing() {
    let user = User::new();
    user.write("交易数据 1.txt", &"line\n".repeat(100_000));
    let said = user.run(&["demo", "交易数据 1.txt", "--output", "json"]).succeeded().stdout;
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["agents"].as_array().unwrap().len(), 4);
    assert_eq!(report["total"]["verified_bytes"], 4 * 500_000);
    assert_eq!(left_behind(&user), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_exits_130_and_leaves_nothing() {
    let user = User::new();
    let mut demo = Running::start(user.command().arg("demo"));
    demo.wait_for("herd rdcq-");
    demo.signal(Signal::INT);
    let outcome = demo.end();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(130), ""), "{outcome:?}");
    assert_eq!(left_behind(&user), Vec::<String>::new());
}

#[test]
fn a_demo_of_a_missing_file_exits_3() {
    User::new().run(&["demo", "none"]).failed(3, &["none"]);
}

fn left_behind(user: &User) -> Vec<String> {
    let names = std::fs::read_dir(user.path("")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("rdcq-demo")).collect()
}
