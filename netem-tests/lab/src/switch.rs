//! A switch in this process: each host has a TUN device, and what a host sends into its own comes out of another's after what
//! the links do to it.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::fabric::{Fabric, Way};
use crate::link::Link;
use crate::namespaces::INTERFACE;

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";
/// Bytes of a packet, at most.
const MTU: u16 = 1500;
/// Packets that are brought to their hosts in one turn.
const BATCH: usize = 64;

/// Devices and the threads that read and write them, which end with the process.
pub(crate) struct Switch(Arc<Shared>);

struct Shared {
    began: Instant,
    fabric: Mutex<Fabric>,
    /// Something is due sooner than was known.
    sooner: Condvar,
    devices: Vec<tun::Device>,
}

impl Switch {
    /// Gives each of these namespaces a device, and begins to carry packets between their addresses.
    pub(crate) fn start(hosts: &[(String, Ipv4Addr)], seed: u64) -> anyhow::Result<Self> {
        let devices = hosts.iter().map(|(namespace, _)| open_in(namespace));
        let shared = Arc::new(Shared {
            began: Instant::now(),
            devices: devices.collect::<anyhow::Result<_>>()?,
            fabric: Mutex::new(Fabric::new(hosts.iter().map(|(_, ip)| *ip), seed)),
            sooner: Condvar::new(),
        });
        for host in 0..hosts.len() {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("port-{host}")).spawn(move || shared.read(host))?;
        }
        let deliverer = Arc::clone(&shared);
        thread::Builder::new().name("wires".to_owned()).spawn(move || deliverer.deliver())?;
        Ok(Self(shared))
    }

    /// Makes a host's link another one.
    pub(crate) fn set(&self, host: usize, way: Way, link: Link) {
        self.0.fabric().set(host, way, link);
    }
}

impl Shared {
    fn fabric(&self) -> MutexGuard<'_, Fabric> {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a host sends, until its device is gone.
    fn read(&self, host: usize) {
        let mut buffer = vec![0; usize::from(MTU)];
        while let Ok(length) = self.devices[host].recv(&mut buffer) {
            let packet = buffer[..length].to_vec();
            let mut fabric = self.fabric();
            let before = fabric.next();
            fabric.offer(host, self.began.elapsed(), packet);
            let after = fabric.next();
            drop(fabric);
            if before.is_none_or(|before| after.is_some_and(|after| after < before)) {
                self.sooner.notify_one();
            }
        }
    }

    /// Brings packets to their hosts when they are due.
    fn deliver(&self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let mut fabric = self.fabric();
            let now = self.began.elapsed();
            batch.extend(std::iter::from_fn(|| fabric.poll(now)).take(BATCH));
            if batch.is_empty() {
                let wait = fabric.next().map_or(Duration::MAX, |next| next.saturating_sub(now));
                // Woken for nothing, it looks again.
                drop(self.sooner.wait_timeout(fabric, wait.min(Duration::from_secs(1))));
                continue;
            }
            drop(fabric);
            for (host, packet) in batch.drain(..) {
                // What a kernel does not take is lost, as on any link.
                let _ = self.devices[host].send(&packet);
            }
        }
    }
}

/// Makes a device in a namespace. What a thread opens is of the namespace that the thread is in, so one is started for it.
fn open_in(namespace: &str) -> anyhow::Result<tun::Device> {
    let path = Path::new(NAMESPACES).join(namespace);
    let opened = thread::spawn(move || {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut wanted = tun::Configuration::default();
        wanted.tun_name(INTERFACE).mtu(MTU);
        tun::create(&wanted).with_context(|| format!("no TUN device in {}", path.display()))
    });
    opened.join().map_err(|_| anyhow::anyhow!("the thread that opens a TUN device panicked"))?
}
