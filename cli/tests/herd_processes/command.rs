//! A command on its way.

use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A command that runs. It is killed when the test is over.
pub(crate) struct Running {
    child: Option<Child>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { child: Some(child) }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some())
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let Output { status, stdout, stderr } = self.child.take().unwrap().wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It has ended already, if all went well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Outcome {
    pub(crate) fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// The report of a command that succeeded.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Where a pull's bytes came from, as its report says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BytesFrom {
    pub(crate) origins: u64,
    pub(crate) agents: u64,
    pub(crate) held: u64,
    duplicate: u64,
}

impl BytesFrom {
    pub(crate) fn of(report: &Value) -> Self {
        let of = |source: &str| report["bytes_from"][source].as_u64().unwrap();
        Self { origins: of("origins"), agents: of("agents"), held: of("held"), duplicate: of("duplicate") }
    }

    /// What was held or came, each piece once.
    pub(crate) const fn all(self) -> u64 {
        self.held + self.origins + self.agents - self.duplicate
    }
}
