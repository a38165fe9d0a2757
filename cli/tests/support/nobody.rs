//! Somebody whom file permissions bind.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::herd::Herd;
use crate::machine::is_root;
use crate::user::Outcome;

/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;

/// A caller with the herd's client settings who is not root.
pub(crate) struct Nobody<'a> {
    herd: &'a Herd,
    settings: PathBuf,
}

impl<'a> Nobody<'a> {
    /// Gives somebody else the client's settings, unless this machine does not let them run the binary.
    pub(crate) fn new(herd: &'a Herd) -> Result<Self, String> {
        let folder = herd.path("nobody");
        std::fs::create_dir(&folder).unwrap();
        for file in ["ca.pem", "client.pem", "client.key"] {
            std::fs::copy(herd.folder().join("certs").join(file), folder.join(file)).unwrap();
        }
        let settings = herd.settings_of("nobody/client.toml", &folder.join("ca.pem"), &folder.join("client"));
        if is_root() {
            for name in crate::herd::names(&folder) {
                chown(folder.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
            std::fs::set_permissions(herd.path(""), Permissions::from_mode(0o755)).unwrap();
        }
        let nobody = Self { herd, settings };
        let tried = nobody.command(&["--version"]).output();
        tried.map_err(|error| format!("others may not run the built binary: {error}"))?;
        Ok(nobody)
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = self.herd.user.command();
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.arg("--herd").arg(&self.settings).args(line);
        command
    }

    pub(crate) fn run(&self, line: &[&str]) -> Outcome {
        let output = self.command(line).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
