//! A herd, each node a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rdcq::{HerdPlan, Seat};
use rdcq_wire::Role;
use rustix::process::{Pid, Signal};

use crate::command::{Outcome, Running};
use crate::file::File;

pub(crate) const PROXY: Seat = Seat::new(Role::Proxy, 1);
pub(crate) const ORIGIN: Seat = Seat::new(Role::Origin, 1);
pub(crate) const BUILD_INDEX: Seat = Seat::new(Role::BuildIndex, 1);
pub(crate) const TRACKER: Seat = Seat::new(Role::Tracker, 1);

pub(crate) const fn agent(number: u32) -> Seat {
    Seat::new(Role::Agent, number)
}

/// Who uses a herd, each in the role of its name.
pub(crate) const CALLERS: [&str; 2] = ["client", "operator"];

/// How long anything that a test waits for may take on a busy machine.
const LONG_ENOUGH: Duration = Duration::from_secs(120);
/// How often is looked.
const A_MOMENT: Duration = Duration::from_millis(2);

/// A herd of one proxy, one origin, one build-index, one tracker and some agents, and somebody who uses it. Each has its
/// certificates in a folder of its own, as on a host of its own; the CA is in `certs`. The processes are killed when it
/// is dropped.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    lists: Lists,
    /// What nodes log, if it is not what they usually do.
    filter: Option<&'static str>,
    addresses: BTreeMap<Seat, String>,
    nodes: BTreeMap<Seat, Child>,
}

/// Whether the nodes' settings name a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lists {
    Used,
    Unused,
}

impl Cluster {
    pub(crate) fn start(agents: u32) -> Self {
        Self::with(agents, Lists::Unused, None)
    }

    /// One in which certificates can be taken back.
    pub(crate) fn with_revocation_lists(agents: u32) -> Self {
        Self::with(agents, Lists::Used, None)
    }

    /// One whose nodes log what a filter says.
    pub(crate) fn logging(agents: u32, filter: &'static str) -> Self {
        Self::with(agents, Lists::Unused, Some(filter))
    }

    fn with(agents: u32, lists: Lists, filter: Option<&'static str>) -> Self {
        let seats: Vec<Seat> = HerdPlan::with_agents(agents).seats().collect();
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            lists,
            filter,
            addresses: free_addresses(&seats),
            nodes: BTreeMap::new(),
        };
        cluster.make_certificates(&seats);
        for seat in &seats {
            let (section, listen) = (seat.role.name().replace('-', "_"), cluster.addr(*seat));
            let sweep = if matches!(seat.role, Role::Origin | Role::Agent) { "sweep = \"1s\"" } else { "" };
            cluster
                .write_settings(&seat.to_string(), &format!("[{section}]\nlisten = \"{listen}\"\n{sweep}"));
        }
        for name in CALLERS {
            cluster.write_settings(name, &format!("[client]\nagent = \"{}\"", cluster.addr(agent(1))));
        }
        seats.into_iter().for_each(|seat| cluster.start_node(seat));
        cluster
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn addr(&self, seat: Seat) -> &str {
        &self.addresses[&seat]
    }

    pub(crate) fn seats(&self) -> impl Iterator<Item = Seat> + '_ {
        self.addresses.keys().copied()
    }

    pub(crate) fn file(&self, len: usize) -> File {
        File::create(self.path(&format!("file-{len}")), len)
    }

    /// Begins a command of somebody who uses the herd.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Running {
        Running::start(self.command().args(["--herd", ".", "--output", "json"]).args(arguments))
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.begin(arguments).end()
    }

    pub(crate) fn begin_push(&self, file: &File) -> Running {
        self.begin(&["push", file.path.to_str().unwrap(), "--timeout", "60s"])
    }

    /// Pushes a file, and returns its tag.
    #[track_caller]
    pub(crate) fn push(&self, file: &File) -> String {
        tag_of(&self.begin_push(file).end())
    }

    /// Begins a pull through an agent, to the file that [`Self::pulled`] names.
    pub(crate) fn begin_pull(&self, tag: &str, seat: Seat) -> Running {
        let target = self.pulled(seat);
        self.begin(&[
            "pull",
            tag,
            "--agent",
            self.addr(seat),
            "--dst-path",
            target.to_str().unwrap(),
            "--timeout",
            "60s",
        ])
    }

    pub(crate) fn pulled(&self, seat: Seat) -> PathBuf {
        self.path(&format!("pulled-{seat}"))
    }

    /// What was pulled through an agent is the file, byte for byte.
    #[track_caller]
    pub(crate) fn check_pulled(&self, seat: Seat, file: &File) {
        let same = fs::read(self.pulled(seat)).unwrap() == file.content;
        assert!(same, "what was pulled through {seat} is not what was pushed");
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self, seat: Seat) {
        rustix::process::kill_process(Pid::from_child(&self.nodes[&seat]), Signal::HUP).unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, seat: Seat) {
        let mut node = self.nodes.remove(&seat).unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    pub(crate) fn kill_all(&mut self) -> Vec<Seat> {
        let seats: Vec<Seat> = self.nodes.keys().copied().collect();
        self.nodes.values_mut().for_each(|node| node.kill().unwrap());
        seats.iter().for_each(|seat| self.kill(*seat));
        seats
    }

    /// SIGTERM, and the exit code that it leads to.
    pub(crate) fn terminate(&mut self, seat: Seat) -> Option<i32> {
        let mut node = self.nodes.remove(&seat).unwrap();
        rustix::process::kill_process(Pid::from_child(&node), Signal::TERM).unwrap();
        let ended = poll(|| node.try_wait().unwrap());
        if ended.is_none() {
            node.kill().unwrap();
            node.wait().unwrap();
        }
        ended.unwrap_or_else(|| panic!("{seat} does not end: {}", self.log(seat))).code()
    }

    /// Starts a node and waits until it serves. While it was away its port was free for anybody's client: if one took it,
    /// it is tried again.
    pub(crate) fn start_node(&mut self, seat: Seat) {
        for _ in 0..10 {
            if let Some(node) = self.try_start_node(seat) {
                self.nodes.insert(seat, node);
                return;
            }
            thread::sleep(Duration::from_millis(500));
        }
        panic!("{seat} does not start: {}", self.log(seat));
    }

    fn try_start_node(&self, seat: Seat) -> Option<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(seat)).unwrap();
        let settings = self.path(&format!("{seat}.toml"));
        let mut command = self.command();
        command
            .arg("node")
            .arg("--config")
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .envs(self.filter.map(|filter| ("RDCQ_LOG", filter)));
        let mut node = command.spawn().unwrap();
        if is_ready(&mut node, seat) {
            return Some(node);
        }
        node.kill().unwrap();
        node.wait().unwrap();
        None
    }

    /// Bytes of the pieces that a node has on record while it lacks others.
    pub(crate) fn recorded(&self, seat: Seat, file: &File) -> u64 {
        let map = self.store(seat).join("partial").join(file.manifest.content.hex() + ".map");
        fs::read(map).map_or(0, |map| file.recorded_in(&map))
    }

    /// Waits until a node has a tenth of the file on record; `None` if the command that makes it do so ends before.
    #[track_caller]
    pub(crate) fn wait_recorded(&self, seat: Seat, file: &File, command: &mut Running) -> Option<u64> {
        let enough = |bytes: &u64| *bytes >= file.size() / 10;
        let seen = poll(|| {
            let recorded = Some(self.recorded(seat, file)).filter(enough);
            recorded.map(Some).or_else(|| command.has_ended().then_some(None))
        });
        seen.unwrap_or_else(|| panic!("{seat} records nothing: {}", self.log(seat)))
    }

    /// Whether a node has any of the file, whole or in part.
    pub(crate) fn has_any(&self, seat: Seat, file: &File) -> bool {
        let (store, hex) = (self.store(seat), file.manifest.content.hex());
        [store.join("blobs").join(&hex[..2]), store.join("partial")].iter().any(|folder| {
            let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
            names.into_iter().any(|name| name.to_string_lossy().starts_with(&hex))
        })
    }

    #[track_caller]
    pub(crate) fn wait_gone(&self, seat: Seat, file: &File) {
        let gone = poll(|| (!self.has_any(seat, file)).then_some(()));
        assert!(gone.is_some(), "{seat} keeps what nothing names: {}", self.log(seat));
    }

    fn store(&self, seat: Seat) -> PathBuf {
        self.path("data").join(seat.to_string()).join(seat.role.name()).join("content")
    }

    fn log_path(&self, seat: Seat) -> PathBuf {
        self.path(&format!("{seat}.log"))
    }

    /// What a node said, for the message of a test that failed.
    pub(crate) fn log(&self, seat: Seat) -> String {
        fs::read_to_string(self.log_path(seat)).unwrap_or_default()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rdcq"));
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command
    }

    fn make_certificates(&self, seats: &[Seat]) {
        let run = |arguments: &[&str]| {
            let outcome = Running::start(self.command().args(arguments)).end();
            assert!(outcome.is_success(), "{arguments:?}: {outcome:?}");
        };
        run(&["certs", "init", "--herd", "processes"]);
        if self.lists == Lists::Used {
            run(&["certs", "revoke"]);
        }
        let issue =
            |name: &str, role: &str| run(&["certs", "issue", "--node", name, "--role", role, "--out", name]);
        seats.iter().for_each(|seat| issue(&seat.to_string(), seat.role.name()));
        CALLERS.iter().for_each(|caller| issue(caller, caller));
    }

    fn write_settings(&self, name: &str, section: &str) {
        let at = |seat| format!("[\"{}\"]", self.addr(seat));
        let crl = match self.lists {
            Lists::Used => format!("crl = \"{name}/crl.pem\""),
            Lists::Unused => String::new(),
        };
        let text = format!(
            "data_dir = \"data/{name}\"\n[identity]\nca = \"{name}/ca.pem\"\ncert = \"{name}/{name}.pem\"\n\
             key = \"{name}/{name}.key\"\n{crl}\n[herd]\nproxies = {}\norigins = {}\nbuild_indexes = {}\ntrackers = {}\n{section}\n",
            at(PROXY),
            at(ORIGIN),
            at(BUILD_INDEX),
            at(TRACKER),
        );
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Who has ended already cannot be killed, and need not be.
        self.nodes.values_mut().for_each(|node| drop(node.kill()));
        self.nodes.values_mut().for_each(|node| drop(node.wait()));
    }
}

/// The tag that a push wrote.
#[track_caller]
pub(crate) fn tag_of(outcome: &Outcome) -> String {
    outcome.report()["tag"].as_str().unwrap().to_owned()
}

/// Addresses that were free a moment ago, all different.
fn free_addresses(seats: &[Seat]) -> BTreeMap<Seat, String> {
    let sockets: Vec<UdpSocket> = seats.iter().map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap().to_string());
    seats.iter().copied().zip(addresses).collect()
}

/// Waits for the line that says that a node serves; false if it ends instead.
fn is_ready(node: &mut Child, seat: Seat) -> bool {
    let (said, line) = mpsc::channel();
    let mut stdout = BufReader::new(node.stdout.take().unwrap());
    thread::spawn(move || {
        let mut line = String::new();
        // Nobody listens any more if the line comes too late.
        let _ = stdout.read_line(&mut line).map(|_| said.send(line));
    });
    let line = line.recv_timeout(LONG_ENOUGH).unwrap_or_default();
    line.starts_with(&format!("ready {}=", seat.role))
}

/// Asks again and again until there is an answer; `None` if there is none for [`LONG_ENOUGH`].
pub(crate) fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up = Instant::now() + LONG_ENOUGH;
    loop {
        match ask() {
            None if Instant::now() < give_up => thread::sleep(A_MOMENT),
            answer => return answer,
        }
    }
}

/// Whether a file is there, and whole.
pub(crate) fn is_file(path: &Path, content: &[u8]) -> bool {
    fs::read(path).is_ok_and(|read| read == content)
}
