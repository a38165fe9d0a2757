//! Hosts as network namespaces, joined by a bridge that is in a namespace, too, or by a switch of our own.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rdcq_wire::ByteRate;
use rustix::process::{Pid, Signal};

use crate::fabric::Way;
use crate::link::Link;
use crate::means::{self, Means};
use crate::switch::Switch;

/// What the names of a lab's namespaces begin with; the rest is the number of its process.
const PREFIX: &str = "rdcq-lab";

/// The interface of a host towards the others.
pub(crate) const INTERFACE: &str = "eth0";

/// What is drawn by links begins with this.
const SEED: u64 = 1;

/// How often a process that must end in time is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Hosts that are joined. Dropped, all of it is gone: processes in the namespaces first.
pub(crate) struct Network {
    name: String,
    hosts: Vec<Host>,
    processes: Vec<Child>,
    /// What joins them, if it is not a bridge.
    switch: Option<Switch>,
}

/// A process that runs on a host.
#[derive(Debug)]
pub(crate) struct Running(usize);

/// A namespace with an address.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    namespace: String,
    pub(crate) ip: Ipv4Addr,
}

impl Network {
    /// Builds `count` hosts on a bridge.
    pub(crate) fn new(count: u8) -> anyhow::Result<Self> {
        let network = Self::of_strangers(count)?;
        network.join_by_bridge()?;
        Ok(network)
    }

    /// Builds `count` hosts whose links can be made to delay and lose, by these means or the best that there are.
    pub(crate) fn linked(count: u8, wanted: Option<Means>) -> anyhow::Result<Self> {
        let mut network = Self::of_strangers(count)?;
        let best = || if network.has_netem() { Means::Netem } else { Means::Switch };
        match wanted.unwrap_or_else(best) {
            Means::Netem => network.join_by_bridge()?,
            Means::Switch => network.join_by_switch()?,
        }
        Ok(network)
    }

    /// How links are made here.
    pub(crate) const fn means(&self) -> Means {
        if self.switch.is_some() { Means::Switch } else { Means::Netem }
    }

    /// Hosts that cannot reach one another.
    fn of_strangers(count: u8) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "namespaces take root; run it with sudo");
        let name = format!("{PREFIX}-{}", std::process::id());
        let mut network = Self { name, hosts: Vec::new(), processes: Vec::new(), switch: None };
        for number in 1..=count {
            let namespace = format!("{}-{number}", network.name);
            ip(&["netns", "add", &namespace])?;
            network.hosts.push(Host { namespace: namespace.clone(), ip: Ipv4Addr::new(10, 99, 0, number) });
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    /// Packets are cut before they reach an interface, so that its counters count what a wire would carry.
    fn join_by_bridge(&self) -> anyhow::Result<()> {
        let bridge = self.bridge();
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "br0", "up"])?;
        for (number, host) in self.hosts.iter().enumerate() {
            let (namespace, port) = (&host.namespace, port(number));
            ip(&[
                "-n", namespace, "link", "add", INTERFACE, "type", "veth", "peer", "name", &port, "netns",
                &bridge,
            ])?;
            for (namespace, interface) in [(namespace, INTERFACE), (&bridge, &port)] {
                ip(&["-n", namespace, "link", "set", "dev", interface, "gso_max_segs", "1"])?;
            }
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"])?;
            host.take_address()?;
        }
        Ok(())
    }

    /// Each host's interface is one that the switch reads and writes.
    fn join_by_switch(&mut self) -> anyhow::Result<()> {
        let hosts: Vec<_> = self.hosts.iter().map(|host| (host.namespace.clone(), host.ip)).collect();
        self.switch = Some(Switch::start(&hosts, SEED)?);
        self.hosts.iter().try_for_each(Host::take_address)
    }

    fn has_netem(&self) -> bool {
        let change = |verb| {
            let namespace = &self.hosts[0].namespace;
            tool("tc", &["-n", namespace, "qdisc", verb, "dev", "lo", "root", "netem"])
        };
        change("add").and_then(|_| change("del")).is_ok()
    }

    /// Makes a host's link another one.
    pub(crate) fn link(&self, host: usize, way: Way, link: Link) -> anyhow::Result<()> {
        if let Some(switch) = &self.switch {
            switch.set(host, way, link);
            return Ok(());
        }
        let (namespace, device) = match way {
            Way::Up => (self.hosts[host].namespace.clone(), INTERFACE.to_owned()),
            Way::Down => (self.bridge(), port(host)),
        };
        // A host would know of its own interface's size; a bridge drops what does not fit without a word.
        ensure!(way == Way::Down || link.hole.is_none(), "netem makes holes on the way down alone");
        if way == Way::Down {
            let mtu = link.hole.unwrap_or(1500).to_string();
            ip(&["-n", &namespace, "link", "set", "dev", &device, "mtu", &mtu])?;
        }
        // What is replaced keeps corruption, reordering and the bucket for the rate. The first time there is nothing to remove.
        let _ = tool("tc", &["-n", &namespace, "qdisc", "del", "dev", &device, "root"]);
        for words in means::netem(&link) {
            let told = ["-n", &namespace, "qdisc", "add", "dev", &device];
            tool("tc", &told.into_iter().chain(words.split(' ')).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Limits what a host on a bridge sends and what it receives to a rate each, with a queue for either.
    pub(crate) fn limit(&self, host: usize, rate: ByteRate, queue: Duration) -> anyhow::Result<()> {
        for (namespace, device) in [(&self.hosts[host].namespace, INTERFACE), (&self.bridge(), &*port(host))]
        {
            let told = ["-n", namespace, "qdisc", "replace", "dev", device, "root"];
            let words = means::bucket(rate, queue);
            tool("tc", &told.into_iter().chain(words.split(' ')).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// Packets that did not fit the queue of a host's limited link: of what it sent, and of what was sent to it.
    pub(crate) fn dropped(&self, host: usize) -> anyhow::Result<[u64; 2]> {
        let dropped = |namespace: &str, device: &str| {
            let text = tool("tc", &["-n", namespace, "-s", "qdisc", "show", "dev", device, "root"])?;
            let (_, rest) = text.split_once("dropped ").with_context(|| format!("no drops in {text:?}"))?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            Ok::<u64, anyhow::Error>(digits.parse()?)
        };
        Ok([dropped(&self.hosts[host].namespace, INTERFACE)?, dropped(&self.bridge(), &port(host))?])
    }

    /// How many hosts there are.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Runs a program on a host until the lab ends; its output goes to a file.
    pub(crate) fn start(&mut self, host: usize, command: &[&str], log: &Path) -> anyhow::Result<Running> {
        let command = self.hosts[host].command(command);
        self.keep(command, log)
    }

    /// The same where the bridge is.
    pub(crate) fn start_at_bridge(&mut self, command: &[&str], log: &Path) -> anyhow::Result<Running> {
        let command = within(&self.bridge(), command);
        self.keep(command, log)
    }

    fn keep(&mut self, mut command: Command, log: &Path) -> anyhow::Result<Running> {
        let log = std::fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.push(command.spawn()?);
        Ok(Running(self.processes.len() - 1))
    }

    /// Sends a signal to a process.
    pub(crate) fn signal(&self, process: &Running, signal: Signal) -> anyhow::Result<()> {
        // `ip` becomes the program that it is told to run.
        Ok(rustix::process::kill_process(Pid::from_child(&self.processes[process.0]), signal)?)
    }

    /// The number of a process.
    pub(crate) fn pid(&self, process: &Running) -> u32 {
        self.processes[process.0].id()
    }

    /// Kills a process.
    pub(crate) fn stop(&mut self, process: &Running) -> anyhow::Result<()> {
        let process = &mut self.processes[process.0];
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("{}-0", self.name)
    }
}

impl Host {
    /// A program that runs on this host.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        within(&self.namespace, command)
    }

    /// Runs a program on this host to its end, and returns what it printed.
    pub(crate) fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        output(self.command(command))
    }

    /// The same, unless it takes longer than this: then it is killed, and there is nothing. It must not print more than a
    /// pipe holds.
    pub(crate) fn run_within(&self, command: &[&str], time: Duration) -> anyhow::Result<Option<String>> {
        let (began, mut command) = (Instant::now(), self.command(command));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        while child.try_wait()?.is_none() {
            if began.elapsed() > time {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
        said(&command, &child.wait_with_output()?).map(Some)
    }

    /// Bytes that have left its interface.
    pub(crate) fn sent_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/sys/class/net/{INTERFACE}/statistics/tx_bytes");
        Ok(self.run(&["cat", &path])?.trim().parse()?)
    }

    fn take_address(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.namespace, "addr", "add", &format!("{}/24", self.ip), "dev", INTERFACE])?;
        ip(&["-n", &self.namespace, "link", "set", INTERFACE, "up"])?;
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended is not there to be killed.
            let _ = process.kill();
            let _ = process.wait();
        }
        let namespaces = self.hosts.iter().map(|host| host.namespace.clone()).chain([self.bridge()]);
        for namespace in namespaces {
            // Whatever still runs there was started by this lab: the namespace is its own.
            let pids = ip(&["netns", "pids", &namespace]).unwrap_or_default();
            for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            // Best effort: what cannot be removed is told by `ip netns list`.
            let _ = ip(&["netns", "del", &namespace]);
        }
    }
}

/// A program that runs in a namespace; `ip` becomes the program.
fn within(namespace: &str, command: &[&str]) -> Command {
    let mut run = Command::new("ip");
    run.args(["netns", "exec", namespace]).args(command);
    run
}

/// The bridge's port towards a host.
pub(crate) fn port(host: usize) -> String {
    format!("port{}", host + 1)
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    tool("ip", arguments)
}

/// Runs a tool of iproute2.
fn tool(name: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(name);
    command.args(arguments);
    output(command)
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!(
            "cannot run {:?}; ip and tc come with iproute2: apt-get install iproute2",
            command.get_program()
        )
    })?;
    said(&command, &output)
}

fn said(command: &Command, output: &Output) -> anyhow::Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
