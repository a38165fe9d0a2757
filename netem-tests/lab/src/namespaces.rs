//! Hosts as network namespaces, joined by a bridge that is in a namespace, too.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal};

/// What the names of a lab's namespaces begin with; the rest is the number of its process.
const PREFIX: &str = "rdcq-lab";

/// The interface of a host towards the others.
pub(crate) const INTERFACE: &str = "eth0";

/// Hosts on one bridge. Dropped, all of it is gone: processes in the namespaces first.
pub(crate) struct Network {
    name: String,
    hosts: Vec<Host>,
    /// With the host that each is on.
    processes: Vec<(usize, Child)>,
}

/// A namespace with an address.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    namespace: String,
    pub(crate) ip: Ipv4Addr,
}

impl Network {
    /// Builds `count` hosts. Packets are cut before they reach an interface, so that its counters count what a wire would carry.
    pub(crate) fn new(count: u8) -> anyhow::Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "namespaces take root; run it with sudo");
        let name = format!("{PREFIX}-{}", std::process::id());
        let mut network = Self { name, hosts: Vec::new(), processes: Vec::new() };
        let bridge = network.bridge();
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "br0", "up"])?;
        for number in 1..=count {
            let namespace = format!("{}-{number}", network.name);
            ip(&["netns", "add", &namespace])?;
            network.hosts.push(Host { namespace: namespace.clone(), ip: Ipv4Addr::new(10, 99, 0, number) });
            let port = format!("port{number}");
            ip(&[
                "-n", &namespace, "link", "add", INTERFACE, "type", "veth", "peer", "name", &port, "netns",
                &bridge,
            ])?;
            for (namespace, interface) in [(&namespace, INTERFACE), (&bridge, &port)] {
                ip(&["-n", namespace, "link", "set", "dev", interface, "gso_max_segs", "1"])?;
            }
            ip(&["-n", &bridge, "link", "set", &port, "master", "br0", "up"])?;
            ip(&["-n", &namespace, "addr", "add", &format!("10.99.0.{number}/24"), "dev", INTERFACE])?;
            for interface in ["lo", INTERFACE] {
                ip(&["-n", &namespace, "link", "set", interface, "up"])?;
            }
        }
        Ok(network)
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Runs a program on a host until the lab ends; its output goes to a file.
    pub(crate) fn start(&mut self, host: usize, command: &[&str], log: &Path) -> anyhow::Result<()> {
        let log = std::fs::File::create(log)?;
        let mut command = self.hosts[host].command(command);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.push((host, command.spawn()?));
        Ok(())
    }

    /// Sends a signal to what was started on a host.
    pub(crate) fn signal(&self, host: usize, signal: Signal) -> anyhow::Result<()> {
        // `ip` becomes the program that it is told to run.
        for (_, process) in self.processes.iter().filter(|(on, _)| *on == host) {
            rustix::process::kill_process(Pid::from_child(process), signal)?;
        }
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("{}-0", self.name)
    }
}

impl Host {
    /// A program that runs on this host.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut run = Command::new("ip");
        run.args(["netns", "exec", &self.namespace]).args(command);
        run
    }

    /// Runs a program on this host to its end, and returns what it printed.
    pub(crate) fn run(&self, command: &[&str]) -> anyhow::Result<String> {
        output(self.command(command))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for (_, process) in &mut self.processes {
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

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new("ip");
    command.args(arguments);
    output(command)
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
