//! Which core a process runs on, where that decides what is measured.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Has processes run on one core that are started while it lives. Two that only wait for each other are put on one core
/// by the kernel now and then, and stay there: twice as slow at 64 requests in flight, whoever they are.
///
/// It is the thread that keeps it that has one core, and what is started from there: hold it across an await only in what
/// the runtime's own thread polls.
pub(crate) struct OneCore {
    before: CpuSet,
}

impl OneCore {
    /// The core with this number among those that may be used; counts around, so a machine with one core has that.
    pub(crate) fn keep(number: usize) -> anyhow::Result<Self> {
        let before = sched_getaffinity(None)?;
        let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)).collect();
        let mut only = CpuSet::new();
        only.set(allowed[number % allowed.len()]);
        sched_setaffinity(None, &only)?;
        Ok(Self { before })
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_started_meanwhile_has_one_core_and_a_later_one_all() {
        let cores = || {
            let status = std::process::Command::new("cat").arg("/proc/self/status").output().unwrap().stdout;
            let status = String::from_utf8(status).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
            line.trim().to_owned()
        };
        let all = cores();
        let one = OneCore::keep(1).unwrap();
        assert!(cores().parse::<usize>().is_ok(), "{}", cores());
        drop(one);
        assert_eq!(cores(), all);
    }
}
