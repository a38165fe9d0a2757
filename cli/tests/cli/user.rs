//! Somebody who runs the built binary.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, Signal};

/// No command of these tests takes as long, however slow the machine.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often is looked whether a command has come to a certain point.
const PAUSE: Duration = Duration::from_millis(5);

/// A user with an empty home and no herd.
pub(crate) struct User {
    home: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl User {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_rdcq")))
    }

    /// The user's command with this program, which may be a link to ours.
    pub(crate) fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("TMPDIR", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_os(arguments.iter().map(OsStr::new))
    }

    pub(crate) fn run_os<'a>(&self, arguments: impl IntoIterator<Item = &'a OsStr>) -> Outcome {
        let mut command = self.command();
        command.args(arguments);
        Self::finish(command)
    }

    /// Runs a command to its end.
    pub(crate) fn finish(mut command: Command) -> Outcome {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let watchdog = Watchdog::of(&child);
        let output = child.wait_with_output().unwrap();
        drop(watchdog);
        assert!(output.status.code().is_some(), "{command:?} was killed, after {DEADLINE:?} or by itself");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Pushes a file of the home, and pulls it into `pulled`.
    pub(crate) fn there_and_back(&self, file: &str) {
        let pushed = self.run(&["push", file]).succeeded().stdout;
        let tag = pushed.split('\t').next().unwrap();
        self.run(&["pull", tag, "--dst-path", "pulled"]).succeeded();
        assert!(std::fs::read(self.path(file)).unwrap() == std::fs::read(self.path("pulled")).unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A CA in `certs`, and a certificate for one tracker.
    pub(crate) fn with_certificates(self) -> Self {
        self.run(&["certs", "init", "--herd", "test-herd"]).succeeded();
        self.run(&["certs", "issue", "--node", "t1", "--role", "tracker"]).succeeded();
        self
    }

    pub(crate) fn tracker_settings(&self) -> PathBuf {
        self.write(
            "tracker.toml",
            r#"
            data_dir = "tracker-data"
            [identity]
            ca = "certs/ca.pem"
            cert = "certs/t1.pem"
            key = "certs/t1.key"
            [herd]
            origins = ["127.0.0.1:7402"]
            [tracker]
            listen = "127.0.0.1:0"
            "#,
        )
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// It failed with this code, and said all of this on stderr, and nothing on stdout.
    #[track_caller]
    pub(crate) fn failed(self, code: i32, said: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        for words in said {
            assert!(self.stderr.contains(words), "{words:?} is not in {self:?}");
        }
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Kills a command that hangs, so that its test fails. Dropped, it lets the command be.
struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    fn of(child: &Child) -> Self {
        let pid = Pid::from_child(child);
        let (alive, gone) = mpsc::channel::<()>();
        thread::spawn(move || {
            if gone.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                // It may have ended this very moment.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        });
        Self { _alive: alive }
    }
}

/// A file that holds up whoever reads it.
pub(crate) struct Barrier(PathBuf);

impl Barrier {
    /// Takes the place of the file at `path`.
    pub(crate) fn instead_of(path: PathBuf) -> Self {
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        Self(path)
    }

    /// Waits until `running` stands before it; what is given back keeps it there.
    pub(crate) fn wait_for(&self, running: &mut Running) -> impl Sized + use<> {
        loop {
            // Without a reader, a pipe is not opened for writing.
            if let Ok(held) = rustix::fs::open(&self.0, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                return held;
            }
            assert!(running.child.try_wait().unwrap().is_none(), "the command ended too soon");
            thread::sleep(PAUSE);
        }
    }
}

/// A command that goes on until it is told to stop. It is killed when the test is over.
pub(crate) struct Running {
    child: Child,
    _watchdog: Watchdog,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let watchdog = Watchdog::of(&child);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, _watchdog: watchdog, stdout, stderr }
    }

    /// Reads stdout up to its next line.
    pub(crate) fn line(&mut self) -> String {
        line_of(&mut self.stdout)
    }

    /// Reads stderr up to its next line that holds `words`.
    pub(crate) fn wait_for(&mut self, words: &str) {
        while !line_of(&mut self.stderr).contains(words) {}
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        Outcome { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_of(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the command ended too soon");
    line
}
