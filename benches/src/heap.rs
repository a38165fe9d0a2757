//! The bytes that are allocated and not yet freed: built with `--features count-heap`, every allocation is counted.
//!
//! The counting costs two shared counters an allocation, so benches of speed are built without. It adds nothing to an
//! allocation's size.

#[cfg(feature = "count-heap")]
mod counting {
    use std::alloc::System;

    use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    pub(crate) fn live_bytes() -> Option<usize> {
        let stats = ALLOCATOR.stats();
        Some(stats.bytes_allocated.saturating_sub(stats.bytes_deallocated))
    }
}

#[cfg(not(feature = "count-heap"))]
mod counting {
    pub(crate) const fn live_bytes() -> Option<usize> {
        None
    }
}

pub(crate) use counting::live_bytes;
