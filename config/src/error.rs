//! What is wrong with settings.

use std::fmt;
use std::net::SocketAddr;

use crate::Window;

/// Settings that cannot be used. All are the configuration's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not TOML, or holds something that is not a setting.
    #[error("{origin}:{line}: {problem}")]
    Text {
        /// The file's name.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// The key and what is wrong with it.
        problem: String,
    },
    /// The settings do not make sense together.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The settings have no TOML form: a path is not UTF-8.
    #[error("the settings cannot be written as TOML: {0}")]
    Unwritable(String),
}

/// Settings that are each well formed and do not make sense together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing runs with these settings.
    #[error(
        "no role: add [proxy], [origin], [build_index], [tracker] or [agent] for a node, or [client] for a command line"
    )]
    NoRole,
    /// A role cannot work without servers of another.
    #[error("[{section}] needs {needed}: add their addresses to [herd], as {needed} = [\"10.0.0.1:{port}\"]")]
    Needs {
        /// The role's section.
        section: &'static str,
        /// The key of `[herd]` that is empty.
        needed: &'static str,
        /// The port in the shipped settings of a server of that kind, for the example.
        port: u16,
    },
    /// An address that nobody can connect to.
    #[error("{key}: nobody can connect to {address}; give the address and the port of one host")]
    Unreachable {
        /// Where it is written.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// An address that is in a list twice.
    #[error("{key} lists {address} twice; remove one")]
    Twice {
        /// Where it is written.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// Two roles on one port.
    #[error("[{first}] and [{second}] both listen on {address}; give one of them another port")]
    SamePort {
        /// One role's section.
        first: &'static str,
        /// The other's.
        second: &'static str,
        /// Where the second listens.
        address: SocketAddr,
    },
    /// More data ports than a node can name to its peers.
    #[error("{section}.data_ports lists {count} ports; at most 64 can be told to peers")]
    DataPorts {
        /// The role's section.
        section: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A datagram size that cannot work.
    #[error(
        "transport.max_datagram is {0}; it must be from 1200, which every path carries, to 6550, ten of which a kernel \
         sends at once"
    )]
    Datagram(u16),
    /// A group without tags.
    #[error("bandwidth.groups.{0} has no tags; name some, as tags = [\"refdata-*\"], or take the group away")]
    EmptyGroup(String),
    /// A window in which nothing is different.
    #[error("the [[bandwidth.window]] of {0} sets neither egress nor ingress; add one of them")]
    IdleWindow(Window),
    /// Two windows for one time.
    #[error(
        "the [[bandwidth.window]] of {second} overlaps that of {first}; change one of them, so that one limit holds at a time"
    )]
    Windows {
        /// The one that is written first.
        first: Window,
        /// The other.
        second: Window,
    },
    /// A number or a duration that must not be zero.
    #[error("{key} is zero; leave it out for the default, {default}")]
    Zero {
        /// The key.
        key: &'static str,
        /// What is taken when it is left out.
        default: String,
    },
}

impl ConfigError {
    /// Puts a parser's error into the words of a settings file.
    pub(crate) fn from_toml(error: &toml::de::Error, text: &str, origin: &str) -> Self {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
        let problem = problem(error.message(), &key_path(error));
        Self::Text { origin: origin.to_owned(), line, problem }
    }
}

/// The keys that lead to the error, as far as the parser knows them. It tells them only in its own rendering, and there
/// only when it cannot show the text.
fn key_path(error: &toml::de::Error) -> Vec<String> {
    let mut bare = error.clone();
    bare.set_input(None);
    let shown = bare.to_string();
    let path = shown.lines().last().and_then(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    path.map_or_else(Vec::new, |path| path.split('.').map(str::to_owned).collect())
}

/// serde's words for unknown and missing fields become ours; the rest is led in by the key.
fn problem(message: &str, path: &[String]) -> String {
    if let Some((name, known)) = quoted(message, "unknown field ") {
        let parents = path.strip_suffix(&[name.to_owned()]).unwrap_or(path);
        let known =
            known.trim_start_matches(", expected ").trim_start_matches("one of ").replace(" or ", ", ");
        return format!("unknown key `{name}` {}; known keys are {known}", Place(parents));
    }
    if let Some((name, _)) = quoted(message, "missing field ") {
        return match path {
            // The one section that every file needs.
            [] => format!(
                "missing section [{name}]; add it, with the files that `rdcq certs` made for this node"
            ),
            _ => format!("missing key `{name}` {}; add it", Place(path)),
        };
    }
    let message = message.replace('\n', ", ");
    if path.is_empty() { message } else { format!("{}: {message}", path.join(".")) }
}

/// Splits "`lead`\`name\`rest" into name and rest.
fn quoted<'a>(message: &'a str, lead: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(lead)?.strip_prefix('`')?.split_once('`')
}

/// A section, as a message names it.
struct Place<'a>(&'a [String]);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("outside of any section"),
            path => write!(f, "in [{}]", path.join(".")),
        }
    }
}
