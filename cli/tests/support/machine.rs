//! What a test may need of the machine and cannot have everywhere: root, small file systems.

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
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Fills it up to the last byte with a file; removing the file makes the room again.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.folder.join("filler");
        let mut file = std::fs::File::create(&filler).unwrap();
        let block = vec![0; 4096];
        while file.write_all(&block).is_ok() {}
        filler
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it, and nobody else sees it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
