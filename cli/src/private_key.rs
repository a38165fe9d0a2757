//! Keys that only their owner reads.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Permissions that a key must not give: anything to the group or to others.
const TOO_OPEN: u32 = 0o077;

/// Refuses a key that somebody else could have read.
pub(crate) fn check(key: &Path) -> Result<(), ExposedKey> {
    match std::fs::metadata(key) {
        Ok(metadata) if metadata.mode() & TOO_OPEN != 0 => {
            Err(ExposedKey { path: key.to_owned(), mode: metadata.mode() & 0o777 })
        }
        Ok(_) => Ok(()),
        // Whoever reads it says better what is wrong.
        Err(_) => Ok(()),
    }
}

/// A private key that others than its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the private key {path} can be read by others (mode {mode:04o}); run `chmod 600 {path}`, or issue a new one if \
     somebody may have read it",
    path = path.display()
)]
pub struct ExposedKey {
    /// The key's file.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_anybody_else_can_read_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("node.key");
        std::fs::write(&key, "key").unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o666, false)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check(&key).is_ok(), fine, "mode {mode:o}");
        }
        let text = check(&key).unwrap_err().to_string();
        assert!(text.contains("mode 0666") && text.contains("chmod 600"), "{text}");
    }
}
