//! The words of the commands that rdcq takes the place of.
//!
//! Linked to under one of their names, the program understands a line as they did: `PushCLI push --srcHost 10.1.2.3 secu.txt`
//! is `rdcq push --src-host 10.1.2.3 secu.txt`. The command may be left out where the name says it, or be another one:
//! `AgentPushCLI remove`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The names, and the command that each stands for.
const NAMES: [(&str, &str); 6] = [
    ("PushCLI", "push"),
    ("PullCLI", "pull"),
    ("RemoveCLI", "remove"),
    ("AgentPushCLI", "push"),
    ("AgentPullCLI", "pull"),
    ("AgentRemoveCLI", "remove"),
];

/// The line in today's words; one that is in them already stays as it is.
pub fn translate(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut line = line.into_iter();
    let Some(program) = line.next() else { return Vec::new() };
    let called = Path::new(&program).file_name();
    let Some(command) = called.and_then(command_of) else {
        return std::iter::once(program).chain(line).collect();
    };
    let mut words = vec![OsString::from("rdcq")];
    let mut rest = line.peekable();
    match rest.next_if(|word| NAMES.iter().any(|(_, command)| word == command)) {
        Some(other) => words.push(other),
        // Help and version are the program's.
        None if rest.peek().is_some_and(|word| word == "help" || word == "--version" || word == "-V") => {}
        None => words.push(command.into()),
    }
    // What follows `--` is no flag.
    let mut flags_end = false;
    words.extend(rest.map(|word| {
        flags_end |= word == "--";
        match word.to_str() {
            Some(text) if !flags_end => in_kebab_case(text).into(),
            _ => word,
        }
    }));
    words
}

fn command_of(called: &OsStr) -> Option<&'static str> {
    NAMES.iter().find(|(name, _)| called == *name).map(|(_, command)| *command)
}

/// `--srcHost` as `--src-host`; what comes after an equals sign is a value, and stays.
fn in_kebab_case(word: &str) -> String {
    let Some(flag) = word.strip_prefix("--") else { return word.to_owned() };
    let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
    let mut kebab = String::from("--");
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !kebab.ends_with('-') {
            kebab.push('-');
        }
        kebab.push(letter.to_ascii_lowercase());
    }
    kebab + value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, wanted: &str) {
        let words = translate(line.split(' ').map(OsString::from));
        let words = Vec::from_iter(words.iter().map(|word| word.to_str().unwrap()));
        assert_eq!(words.join(" "), wanted);
    }

    #[test]
    fn old_words_are_todays() {
        check("PushCLI push --srcHost 10.1.2.3 secu.txt", "rdcq push --src-host 10.1.2.3 secu.txt");
        check("/opt/bin/PushCLI --hasFlag=F --resDesc A=B f", "rdcq push --has-flag=F --res-desc A=B f");
        check(
            "PullCLI secu.txt --isCover false --newName aB",
            "rdcq pull secu.txt --is-cover false --new-name aB",
        );
        check("RemoveCLI remove --yes K:1", "rdcq remove --yes K:1");
        check("AgentPushCLI remove --dryRun K:1", "rdcq remove --dry-run K:1");
        check("PushCLI -- --srcHost", "rdcq push -- --srcHost");
        check("PushCLI push push", "rdcq push push");
        check("PullCLI --version", "rdcq --version");
        check("PullCLI --help", "rdcq pull --help");
        check("PullCLI --dst-path x --dstHost=aB k", "rdcq pull --dst-path x --dst-host=aB k");
    }

    #[test]
    fn todays_words_stay_as_they_are() {
        check("rdcq push --srcHost x", "rdcq push --srcHost x");
        check("/usr/bin/rdcq ls", "/usr/bin/rdcq ls");
        assert_eq!(translate([]), [""; 0]);
    }

    #[test]
    fn a_value_in_bytes_that_are_no_text_stays_as_it_is() {
        use std::os::unix::ffi::OsStringExt;
        let path = OsString::from_vec(b"/\xffA".to_vec());
        assert_eq!(translate(["PushCLI".into(), path.clone()]), ["rdcq".into(), "push".into(), path]);
    }
}
