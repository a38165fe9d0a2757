//! Flag files: an empty file beside another says that the other is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdcq_env::disk::parent;
use rdcq_wire::ErrorCode;

use crate::{FileName, OperationError, Session};

/// How a file's flag file is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flag {
    /// As the file, with `.flag` after it.
    OfFile,
    /// So, whatever the file is called.
    Named(FileName),
}

/// How often is looked whether a flag file is there: a moment for whoever waits for it, and nothing to the machine.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Flag {
    /// The flag file of a file, in the same folder.
    pub fn path(&self, file: &Path) -> PathBuf {
        match self {
            Self::Named(name) => parent(file).join(name),
            Self::OfFile => {
                let mut name = file.file_name().unwrap_or_default().to_owned();
                name.push(".flag");
                parent(file).join(name)
            }
        }
    }
}

/// Waits until a flag file is there.
///
/// # Errors
///
/// [`ErrorCode::TimedOut`] if it does not come for so long.
pub async fn wait_for(session: &Session, flag: &Path, patience: Duration) -> Result<(), OperationError> {
    let env = &session.env;
    let give_up = env.now() + patience;
    loop {
        let (disk, path) = (Arc::clone(env.disk()), flag.to_owned());
        let there = env.blocking(move || disk.exists(&path)).await;
        if there.map_err(|error| OperationError::of_file("look for", flag, &error))? {
            return Ok(());
        }
        let left = give_up.saturating_duration_since(env.now());
        if left.is_zero() {
            let text = format!("the flag file {} did not come within {patience:?}", flag.display());
            return Err(OperationError::new(ErrorCode::TimedOut, text));
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_file_stands_beside_its_file() {
        let path = |flag: Flag, file: &str| flag.path(Path::new(file)).display().to_string();
        assert_eq!(path(Flag::OfFile, "/data/ref/secu.txt"), "/data/ref/secu.txt.flag");
        assert_eq!(path(Flag::OfFile, "secu.txt"), "./secu.txt.flag");
        assert_eq!(path(Flag::Named("done".parse().unwrap()), "/data/ref/secu.txt"), "/data/ref/done");
    }
}
