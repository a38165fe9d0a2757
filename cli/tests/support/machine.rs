//! What a test may need of the machine and cannot have everywhere: root, small file systems.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says why a test does not run, or fails where every test must.
#[track_caller]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("RDCQ_FORBID_SKIP").is_none(), "this test must not be skipped: {why}");
    // Not by a macro, whose words the test harness keeps to itself.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A small file system, there as long as this value lives.
pub(crate) struct Tmpfs {
    folder: PathBuf,
}

impl Tmpfs {
    /// Mounts it at a folder that it creates, unless the machine does not let us.
    pub(crate) fn mount(folder: &Path, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir(folder).unwrap();
        let size = format!("size={bytes},mode=0755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "rdcq-test"]).arg(folder);
        let output = command.output().map_err(|error| format!("mount: {error}"))?;
        match output.status.success() {
            true => Ok(Self { folder: folder.to_owned() }),
            false => {
                Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned())
            }
        }
    }

    /// Fills it with a file up to the last `room` bytes; removing the file makes the rest of the room.
    pub(crate) fn fill_but(&self, room: u64) -> PathBuf {
        let filler = self.folder.join("filler");
        let mut file = File::create(&filler).unwrap();
        let block = vec![0; 4096];
        while file.write_all(&block).is_ok() {}
        let len = file.metadata().unwrap().len();
        file.set_len(len.checked_sub(room).unwrap()).unwrap();
        filler
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it, and nobody else sees it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
