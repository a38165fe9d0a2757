//! A way out under a sender, with a socket whose buffer drains at the link's rate.

use super::*;

const MS: Duration = Duration::from_millis(1);
const PACKET: usize = 1514;

/// A host with one socket.
struct Host {
    uplink: Uplink,
    now: Instant,
    /// Bytes a second of the interface.
    link: f64,
    /// Bytes in the buffer, and how many fit.
    held: f64,
    room: f64,
    /// Whether the buffer is made as long as the link needs.
    fits: bool,
    /// Bytes that the interface sent.
    out: f64,
    /// How often the kernel refused.
    refused: usize,
    /// How late whoever waits wakes up, in turn.
    late: std::iter::Cycle<std::array::IntoIter<u64, 5>>,
}

impl Host {
    fn new(link: f64) -> Self {
        Self {
            uplink: Uplink::default(),
            now: tokio::time::Instant::now().into_std(),
            link,
            held: 0.0,
            room: (link * 0.02).max(16e3),
            fits: true,
            out: 0.0,
            refused: 0,
            late: [0, 700, 100, 1900, 300].into_iter().cycle(),
        }
    }

    fn pass(&mut self, time: Duration) {
        let left = (self.link * time.as_secs_f64()).min(self.held);
        self.held -= left;
        self.out += left;
        self.now += time;
    }

    fn wait(&mut self, time: Duration) {
        let late = Duration::from_micros(self.late.next().unwrap());
        self.pass(time + late);
    }

    /// Sends a packet as soon as that may be.
    fn send(&mut self) {
        if !self.uplink.passes(self.now, PACKET) {
            let at = self.uplink.reserve(self.now, PACKET);
            self.wait(at.saturating_duration_since(self.now));
        }
        if self.held + PACKET as f64 > self.room {
            self.refused += 1;
            self.uplink.handle_full(self.now);
            let full = self.now;
            self.wait(Duration::from_secs_f64(self.room / 2.0 / self.link));
            self.uplink.handle_room(self.now);
            if self.fits {
                self.fit(self.now - full);
            }
        }
        self.held += PACKET as f64;
        self.uplink.handle_sent(self.now, PACKET);
    }

    /// Makes the buffer as long as the metered socket does.
    fn fit(&mut self, took: Duration) {
        if took < 4 * MS {
            self.room *= 2.0;
        } else if took > 32 * MS {
            self.room = (self.room / 2.0).max(8e3);
        }
    }

    /// Sends as much as it can for so long. How many bytes a second went out.
    fn send_for(&mut self, seconds: u64) -> f64 {
        let (begin, before) = (self.now, self.out);
        while self.now < begin + Duration::from_secs(seconds) {
            self.send();
        }
        (self.out - before) / (self.now - begin).as_secs_f64()
    }

    /// Sends for so long. What the rate was in the middle.
    fn median_rate(&mut self, seconds: u64) -> f64 {
        let mut rates = Vec::from_iter((0..seconds).map(|_| {
            self.send_for(1);
            self.rate().unwrap()
        }));
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }

    fn rate(&self) -> Option<f64> {
        self.uplink.rate().map(|rate| rate as f64)
    }
}

#[test]
fn what_the_interface_sends_is_kept_to_and_its_queue_is_short() {
    for link in [50e3, 781e3, 3.125e6, 12.5e6] {
        let mut host = Host::new(link);
        host.send_for(2);
        let (begin, refused) = (host.now, host.refused);
        let before = host.out;
        let rate = host.median_rate(10);
        let out = (host.out - before) / (host.now - begin).as_secs_f64();
        assert!(out > link * 0.97, "{out} of {link}");
        // While the sender is late the buffer still drains: what is sent then counts, and the time does not.
        assert!((0.97..1.2).contains(&(rate / link)), "{rate} for {link}");
        // A greedy sender that nothing holds back meets a full buffer each time that half of it has left.
        let unpaced = (host.now - begin).as_secs_f64() / (host.room / 2.0 / link);
        let refusals = (host.refused - refused) as f64;
        assert!(refusals < unpaced / 3.0, "{refusals} refusals where {unpaced:.0} were possible at {link}");
    }
}

#[test]
fn bursts_with_pauses_tell_nothing() {
    let mut host = Host::new(125e6);
    (host.room, host.fits) = (12e3, false);
    for _ in 0..100 {
        for _ in 0..44 {
            host.send();
        }
        host.pass(100 * MS);
    }
    assert!(host.refused > 100, "each burst fills the buffer");
    assert_eq!(host.rate(), None);
}

#[test]
fn one_who_was_refused_and_left_does_not_make_the_host_seem_busy() {
    let mut host = Host::new(125e6);
    // A socket stays full while another one says little, and is full for a moment now and then.
    host.uplink.handle_full(host.now);
    for _ in 0..100 {
        host.pass(50 * MS);
        host.uplink.handle_sent(host.now, 100);
        host.pass(500 * MS);
        host.uplink.handle_full(host.now);
        host.pass(MS);
        host.uplink.handle_room(host.now);
    }
    assert_eq!(host.rate(), None);
}

#[test]
fn a_link_that_became_faster_is_filled_within_seconds() {
    let mut host = Host::new(1e6);
    host.send_for(5);
    host.link = 10e6;
    host.send_for(6);
    let out = host.send_for(2);
    assert!(out > 9.5e6, "{out}");
}

#[test]
fn a_link_that_became_slower_is_followed_within_seconds() {
    let mut host = Host::new(10e6);
    host.send_for(5);
    host.link = 1e6;
    host.send_for(2);
    let rate = host.median_rate(4);
    assert!((0.97e6..1.1e6).contains(&rate), "{rate}");
}

#[test]
fn a_rate_for_which_nothing_waits_is_forgotten() {
    let mut host = Host::new(1e6);
    host.send_for(3);
    assert!(host.rate().is_some());
    host.pass(UNUSED - MS);
    host.uplink.charge(host.now, PACKET);
    assert!(host.rate().is_some());
    host.pass(MS);
    assert_eq!(host.uplink.reserve(host.now, PACKET), host.now);
    assert_eq!(host.rate(), None);
}

#[test]
fn a_fast_link_is_left_alone() {
    let mut host = Host::new(MOST * 1.1);
    host.send_for(5);
    assert!(host.refused > 100);
    assert_eq!((host.rate(), host.uplink.batch(64)), (None, 64));
}

#[test]
fn batches_take_two_milliseconds() {
    for (link, batch) in [(781e3, 1), (3.125e6, 4), (12.5e6, 16), (20e6, 20)] {
        let mut host = Host::new(link);
        host.send_for(5);
        let most = host.uplink.batch(20);
        assert!(most.abs_diff(batch) <= 1, "{most} datagrams at {link}");
    }
}

#[test]
fn turns_come_in_order_and_what_does_not_wait_is_counted() {
    let mut host = Host::new(1e6);
    host.send_for(3);
    host.pass(100 * MS);
    let (now, rate) = (host.now, host.rate().unwrap());
    let gap = Duration::from_secs_f64(PACKET as f64 / rate);
    // What was not used is made up for in part.
    let begin = now - LATE;
    let about = |at: Instant, turns: f64| {
        let wanted = begin + gap.mul_f64(turns);
        assert!(at.max(wanted) - at.min(wanted) < MS / 10, "{:?}, not {:?}", at - begin, wanted - begin);
    };
    about(host.uplink.reserve(now, PACKET), 0.0);
    about(host.uplink.reserve(now, PACKET), 1.0);
    host.uplink.charge(now, 10 * PACKET);
    about(host.uplink.reserve(now, PACKET), 12.0);
    assert!(!host.uplink.passes(now, PACKET));
    assert!(host.uplink.passes(begin + gap.mul_f64(13.0) - EARLY, PACKET));
    about(host.uplink.reserve(now, PACKET), 14.0);
}
