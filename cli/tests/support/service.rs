//! A command that goes on until it is told to stop.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A process that says on stdout, as JSON, when it is ready. It is killed when the test is over.
pub(crate) struct Service {
    child: Child,
    /// Kept open: a process that finds its stdout closed is another test's.
    _stdout: BufReader<ChildStdout>,
}

impl Service {
    /// Starts it with its stderr in the file `log`, and returns what it says when it is ready.
    pub(crate) fn start(command: &mut Command, log: &Path) -> (Self, serde_json::Value) {
        let log_file = File::options().create(true).append(true).open(log).unwrap();
        let command = command.args(["--output", "json"]).stdout(Stdio::piped()).stderr(log_file);
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        let service = Self { child, _stdout: stdout };
        match serde_json::from_str(&ready) {
            Ok(ready) => (service, ready),
            Err(_) => panic!("it did not start: {}", std::fs::read_to_string(log).unwrap()),
        }
    }

    /// Kills it, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Bytes that it has read from files so far.
    pub(crate) fn file_bytes_read(&self) -> u64 {
        let io = std::fs::read_to_string(PathBuf::from(format!("/proc/{}/io", self.child.id()))).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
