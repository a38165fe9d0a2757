//! Where a command finds the herd that it speaks to.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use etcetera::{BaseStrategy, choose_base_strategy};
use rdcq_config::Config;
use rdcq_runtime::BandwidthPlan;

use crate::failure::{Exit, Failure};
use crate::up_folder;

/// The file in which a folder's settings for the command line are.
pub(crate) const CLIENT: &str = "client.toml";
/// The same for those who may remove.
pub(crate) const OPERATOR: &str = "operator.toml";
/// Names the settings when no flag does.
const VARIABLE: &str = "RDCQ_HERD";
/// Where the Filesystem Hierarchy Standard puts a machine's settings.
const MACHINE: &str = "/etc/rdcq";
/// Longest settings file read, in bytes; a thousand servers are far below.
const MAX_BYTES: u64 = 1024 * 1024;

/// Where settings may be.
#[derive(Debug)]
pub(crate) enum Places {
    /// Somebody said where: a file, or a folder with a [`CLIENT`].
    Named(PathBuf),
    /// Nobody did: these files, the first that is there.
    Usual(Vec<PathBuf>),
}

impl Places {
    /// The flag, then the variable, then the usual places.
    pub(crate) fn of_environment(flag: Option<&OsStr>) -> Result<Self, Failure> {
        let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        if let Some(named) = flag.map(OsStr::to_owned).or(variable) {
            return Ok(Self::Named(named.into()));
        }
        let strategy = choose_base_strategy().map_err(|error| {
            Failure::other(format!("cannot find this user's folders: {error}"))
                .with_hint("name the herd's settings with --herd")
        })?;
        let user = strategy.config_dir().join("rdcq");
        let folders = [user, MACHINE.into(), up_folder::default_root(&strategy)];
        Ok(Self::Usual(folders.into_iter().map(|folder| folder.join(CLIENT)).collect()))
    }

    /// The settings file to read.
    pub(crate) fn find(&self) -> Result<PathBuf, Failure> {
        match self {
            Self::Named(path) => {
                let file = if path.is_dir() { path.join(CLIENT) } else { path.clone() };
                if file.exists() {
                    return Ok(file);
                }
                Err(no_herd(&format!("there is no {}", file.display())))
            }
            Self::Usual(files) => {
                let looked = || files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
                let found = files.iter().find(|file| file.exists()).cloned();
                found.ok_or_else(|| no_herd(&format!("looked for {}", looked().join(", "))))
            }
        }
    }
}

/// What a command says when it has nobody to speak to.
pub(crate) fn no_herd(why: &str) -> Failure {
    Failure::new(Exit::Unavailable, format!("no herd is running here: {why}")).with_hint(
        "`rdcq up` starts one on this host; --herd or RDCQ_HERD names the settings of one that runs elsewhere",
    )
}

/// Reads a settings file; its relative paths start at its folder.
pub(crate) fn read(file: &Path) -> Result<Config, Failure> {
    let unreadable = |error: std::io::Error| Failure::of_file("read the settings", file, &error);
    let bytes = rdcq_env::Disk::read(&rdcq_env::SystemDisk, file, MAX_BYTES).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))?;
    let base = std::path::absolute(file).map_err(unreadable)?;
    let base = base.parent().unwrap_or_else(|| Path::new("/"));
    let config = Config::parse(&text, &file.display().to_string())?.resolve(base);
    let invalid = |error| Failure::other(format!("{}: {error}", file.display()));
    config.validate().map_err(invalid)?;
    let unkept = |error| Failure::other(format!("{}: {error}", file.display()));
    BandwidthPlan::of(config.bandwidth.as_ref()).map_err(unkept)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a `client.toml` in each of these folders below it.
    fn with_settings_in(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            std::fs::create_dir(root.path().join(folder)).unwrap();
            std::fs::write(root.path().join(folder).join(CLIENT), "").unwrap();
        }
        root
    }

    #[test]
    fn the_first_of_the_usual_places_that_is_there_wins() {
        let root = with_settings_in(&["machine", "up"]);
        let files = ["user", "machine", "up"].map(|folder| root.path().join(folder).join(CLIENT));
        let found = Places::Usual(files.to_vec()).find().unwrap();
        assert_eq!(found, files[1]);
    }

    #[test]
    fn nothing_in_the_usual_places_means_that_no_herd_is_running() {
        let failure = Places::Usual(vec!["/nowhere/client.toml".into()]).find().unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.what.contains("no herd is running") && failure.what.contains("/nowhere/client.toml"));
        assert!(failure.hint.unwrap().contains("`rdcq up`"));
    }

    #[test]
    fn a_named_folder_means_its_client_file_and_a_named_file_itself() {
        let root = with_settings_in(&["up"]);
        let folder = root.path().join("up");
        let file = folder.join(CLIENT);
        assert_eq!(Places::Named(folder).find().unwrap(), file);
        assert_eq!(Places::Named(file.clone()).find().unwrap(), file);
        let empty = Places::Named(root.path().to_owned()).find().unwrap_err();
        assert_eq!(empty.exit, Exit::Unavailable);
    }

    #[test]
    fn a_flag_comes_before_everything_else() {
        let places = Places::of_environment(Some(OsStr::new("/some/where"))).unwrap();
        assert!(matches!(places, Places::Named(path) if path == Path::new("/some/where")));
    }

    #[test]
    fn relative_paths_in_settings_start_at_the_settings_folder() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(CLIENT);
        let text = "[identity]\nca = \"ca.pem\"\ncert = \"c.pem\"\nkey = \"c.key\"\n[client]\n";
        std::fs::write(&file, text).unwrap();
        assert_eq!(read(&file).unwrap().identity.ca, root.path().join("ca.pem"));
    }
}
