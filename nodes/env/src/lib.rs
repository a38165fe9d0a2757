//! The seams to the machine: clock, randomness, disk, executors, sockets and desks.
//!
//! A node is handed an [`Env`] and asks it for the time, for random numbers, for the [`Disk`] and for somewhere to run.
//! [`Env::system`] answers with the machine's own; [`Env::simulated`] answers with tokio's paused clock, a seeded
//! generator and a [`SimDisk`] that loses what was not synced. Code above this crate cannot tell the two apart, which is
//! why no other node crate names std's clocks, threads, files or sockets.
//!
//! Networks are not part of it: a simulated node is given another socket by whoever builds it. Only [`bind_udp`] lives
//! here, and what goes from process to process on one machine: a [`Desk`] hands out open files.

pub mod desk;
pub mod disk;
mod env;
mod sim_disk;
mod socket;
mod system_disk;
pub mod watch;

pub use desk::{Desk, DeskName, DeskToken, SimDesks};
pub use disk::{DirEntry, Disk, DiskFile, EntryKind, FileAttributes, Metadata, Mode, Stamp};
pub use env::Env;
pub use sim_disk::{Fault, SimDisk, SyncCounts};
pub use socket::{BoundUdp, SendBuffer, bind_udp};
pub use system_disk::SystemDisk;
