//! A throw-away herd of `rdcq up`, and what its commands say.

use std::path::{Path, PathBuf};

use rdcq_wire::Digest;
use serde::Deserialize;

use crate::service::Service;
use crate::user::{Outcome, User};

/// A user whose home holds a running herd.
pub(crate) struct Herd {
    up: Option<Service>,
    pub(crate) user: User,
    agents: u32,
}

/// What a push reports.
#[derive(Debug, Deserialize)]
pub(crate) struct Pushed {
    pub(crate) tag: String,
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) new: bool,
    pub(crate) sent_bytes: u64,
}

/// What a pull reports.
#[derive(Debug, Deserialize)]
pub(crate) struct Pulled {
    pub(crate) tag: String,
    pub(crate) version: String,
    pub(crate) size: u64,
    pub(crate) target: PathBuf,
    pub(crate) bytes_from: BytesFrom,
    pub(crate) delivered: Delivered,
}

/// How a pull's bytes came from the agent to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) lent: u64,
    pub(crate) sent: u64,
}

/// Where a pull's bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct BytesFrom {
    pub(crate) origins: u64,
    pub(crate) agents: u64,
    pub(crate) held: u64,
    pub(crate) duplicate: u64,
}

/// What `inspect` says of a tag.
#[derive(Debug, Deserialize)]
pub(crate) struct Inspected {
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) pieces: u64,
    pub(crate) file: String,
}

impl Pushed {
    /// The tag without its version.
    pub(crate) fn key(&self) -> &str {
        self.tag.rsplit_once(':').unwrap().0
    }
}

impl BytesFrom {
    /// Bytes that came over the network, each counted once.
    pub(crate) const fn network(self) -> u64 {
        self.origins + self.agents - self.duplicate
    }
}

impl Herd {
    pub(crate) fn with_agents(agents: u32) -> Self {
        let mut herd = Self { up: None, user: User::new(), agents };
        herd.start();
        herd
    }

    fn start(&mut self) {
        let agents = self.agents.to_string();
        let mut command = self.user.command();
        command.args(["up", "--agents", &agents, "--data"]).arg(self.folder());
        self.up = Some(Service::start(&mut command, &self.path("up.log")).0);
    }

    /// Kills the herd, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.up.take().unwrap().kill();
    }

    /// Kills the herd and starts it again with what it has on disk.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.start();
    }

    pub(crate) const fn service(&self) -> &Service {
        self.up.as_ref().unwrap()
    }

    /// The herd's folder, where commands look for it without flags.
    pub(crate) fn folder(&self) -> PathBuf {
        self.path("data/rdcq/up")
    }

    /// A path in the user's home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.user.path(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn run(&self, line: &[&str]) -> Outcome {
        self.user.run(line)
    }

    #[track_caller]
    pub(crate) fn json<T: for<'de> Deserialize<'de>>(&self, line: &[&str]) -> T {
        let said = self.run(&[line, &["--output", "json"]].concat()).succeeded().stdout;
        serde_json::from_str(&said).unwrap()
    }

    /// Pushes a file of the home under its conventional name.
    #[track_caller]
    pub(crate) fn push(&self, file: &str) -> Pushed {
        self.json(&["push", file])
    }

    #[track_caller]
    pub(crate) fn push_as(&self, file: &str, tag: &str) -> Pushed {
        self.json(&["push", file, "--tag", tag])
    }

    /// Pulls into the home through the herd's first agent.
    #[track_caller]
    pub(crate) fn pull(&self, tag: &str, target: &str) -> Pulled {
        self.pull_through("1", tag, target)
    }

    /// Pulls through an agent: its number, or its address.
    #[track_caller]
    pub(crate) fn pull_through(&self, agent: &str, tag: &str, target: &str) -> Pulled {
        self.json(&["pull", tag, "--dst-path", target, "--agent", agent])
    }

    #[track_caller]
    pub(crate) fn remove(&self, tag: &str) {
        self.run(&["remove", tag, "--yes"]).succeeded();
    }

    #[track_caller]
    pub(crate) fn inspect(&self, tag: &str) -> Inspected {
        self.json(&["inspect", tag])
    }

    /// Content that the origin has whole, by digest.
    pub(crate) fn origin_blobs(&self) -> Vec<String> {
        blobs(&self.folder().join("nodes/origin-1/content"))
    }

    /// The settings with the files of another identity: those of `stem`, and another CA certificate.
    pub(crate) fn settings_of(&self, name: &str, ca: &Path, stem: &Path) -> PathBuf {
        let own = self.folder().join("certs");
        let file = |stem: &Path, extension| format!("\"{}.{extension}\"", stem.display());
        let mut text = std::fs::read_to_string(self.folder().join("client.toml")).unwrap();
        for extension in ["pem", "key"] {
            text = text.replace(&file(&own.join("client"), extension), &file(stem, extension));
        }
        let text = text.replace(&file(&own.join("ca"), "pem"), &format!("\"{}\"", ca.display()));
        self.user.write(name, &text)
    }
}

/// The digests of the content in a store's folder that is whole.
pub(crate) fn blobs(store: &Path) -> Vec<String> {
    let shards = std::fs::read_dir(store.join("blobs")).unwrap();
    let files = shards.flat_map(|shard| names(&shard.unwrap().path()));
    let digests = files.filter(|name| !name.contains('.')).map(|hex| format!("sha256:{hex}"));
    let mut digests: Vec<String> = digests.collect();
    digests.sort();
    digests
}

/// The names in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
