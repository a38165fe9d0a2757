//! `rdcq push`.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use rdcq_client::flag::{self, Flag};
use rdcq_client::push::{self, Pushed};
use rdcq_wire::message::Fresh;
use rdcq_wire::tag::TagError;
use rdcq_wire::{Class, Description, Name, NodeId, TagQuery, Version};
use serde::Serialize;

use super::inspect::Described;
use crate::caller::{Caller, Rights};
use crate::console::Console;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::flag_args::FlagArgs;
use crate::progress::Progress;

/// Push a file.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq push /data/ref/secu.txt --has-flag F"))]
pub(crate) struct Push {
    /// The file.
    path: PathBuf,
    /// Call it so, rather than HOST-DIRECTORY-FILE with the next version.
    #[arg(long, value_name = "KEY[:VERSION]")]
    tag: Option<TagQuery>,
    /// The host that the file comes from, rather than this one.
    #[arg(long, value_name = "HOST")]
    src_host: Option<NodeId>,
    /// What to say of it, on one line; `inspect` and `history` show it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    res_desc: Description,
    #[command(flatten)]
    flag: FlagArgs,
    /// How long to wait for the flag file, and to go on trying while the herd cannot be reached.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::patience, allow_hyphen_values = true)]
    timeout: Duration,
    /// How much it matters beside others: urgent, normal or background. Left out, as the settings say of the tag's group, else
    /// normal.
    #[arg(long)]
    class: Option<Class>,
}

impl Push {
    pub(crate) async fn run(self, console: &Console, herd: Option<&OsStr>) -> Result<(), Failure> {
        let flag = self.flag.flag()?;
        if flag.is_none() {
            // What cannot be pushed is refused before a herd is looked for.
            Source::find(&self.path)?;
        }
        let caller = Caller::open(console, herd, Rights::Client, None).await?;
        let pushed = caller.attend(self.push(console, &caller, flag)).await?;
        console.result(Some(caller.herd.as_str()), &Report::of(&pushed))
    }

    async fn push(&self, console: &Console, caller: &Caller, flag: Option<Flag>) -> Result<Pushed, Failure> {
        if let Some(flag) = flag {
            self.wait_for(console, caller, &flag.path(&self.path)).await?;
        }
        let source = Source::find(&self.path)?;
        let host = self.src_host.clone().unwrap_or_else(|| caller.session.identity().node.clone());
        let (name, version) = source.name(host, self.tag.clone())?;
        let order = push::Push {
            description: self.res_desc.clone(),
            ..push::Push::new(self.path.clone(), name, version, self.timeout)
        };
        let bar = Progress::new(console);
        let session = caller.session_for(&order.name.key, self.class);
        Ok(push::push(&session, &order, &|progress| bar.of_push(progress)).await?)
    }

    async fn wait_for(&self, console: &Console, caller: &Caller, flag: &Path) -> Result<(), Failure> {
        if !flag.exists() {
            console.note(format_args!("waiting for the flag file {}", flag.display()));
        }
        flag::wait_for(&caller.session, flag, self.timeout).await.map_err(|error| {
            let failure = Failure::from(error);
            match failure.exit {
                Exit::Unavailable => failure.with_hint(
                    "whoever writes the file makes it when the file is whole; --timeout waits for longer",
                ),
                _ => failure,
            }
        })
    }
}

/// A file to push, as its tag will name it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    directory: String,
    file: String,
}

impl Source {
    /// The file's folder without links in it, and the file's name as it was given.
    pub(crate) fn find(path: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::of_file("read", path, &error);
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            let what = format!("{} is a directory", path.display());
            return Err(Failure::other(what).with_hint("push the files in it one by one"));
        }
        let file = path.file_name().unwrap_or_default();
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let folder = folder.canonicalize().map_err(failed)?;
        let utf8 = |part: &OsStr| {
            part.to_str().map(str::to_owned).ok_or_else(|| {
                let what = format!("{} is not UTF-8, and a tag is", folder.join(file).display());
                Failure::usage(what).with_hint("rename it first")
            })
        };
        Ok(Self { directory: utf8(folder.as_os_str())?, file: utf8(file)? })
    }

    /// What to call the file: the conventional name, or the key that was asked for.
    pub(crate) fn name(
        &self,
        host: NodeId,
        tag: Option<TagQuery>,
    ) -> Result<(Name, Option<Version>), TagError> {
        let Some(TagQuery { key, version }) = tag else {
            return Ok((Name::conventional(host, &self.directory, &self.file)?, None));
        };
        Ok((Name { key, host, directory: self.directory.parse()?, file: self.file.parse()? }, version))
    }
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    what: Described,
    /// Whether this push wrote the version, or it stood already.
    new: bool,
    sent_bytes: u64,
}

impl Report {
    fn of(pushed: &Pushed) -> Self {
        let new = pushed.fresh == Fresh::Written;
        Self { what: Described::of(&pushed.record), new, sent_bytes: pushed.sent }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::failure::Exit;

    fn host() -> NodeId {
        "10.1.2.3".parse().unwrap()
    }

    /// A folder with an empty file of this name, and the file's path.
    fn with_file(name: &OsStr) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        (folder, path)
    }

    #[test]
    fn a_tag_is_host_directory_and_file_with_spaces_and_chinese_as_they_are() {
        let (folder, path) = with_file(OsStr::new("a b 交易数据.txt"));
        let (name, version) = Source::find(&path).unwrap().name(host(), None).unwrap();
        let directory = folder.path().canonicalize().unwrap();
        assert_eq!(name.key.as_str(), format!("10.1.2.3-{}-a b 交易数据.txt", directory.display()));
        assert_eq!(
            (name.directory.as_str(), name.file.as_str()),
            (directory.to_str().unwrap(), "a b 交易数据.txt")
        );
        assert_eq!(version, None);
    }

    #[test]
    fn a_chosen_tag_keeps_where_the_file_came_from() {
        let (_folder, path) = with_file(OsStr::new("f"));
        let source = Source::find(&path).unwrap();
        let (name, version) = source.name(host(), Some("10.1.2.3-x:7".parse().unwrap())).unwrap();
        assert_eq!((name.key.as_str(), name.file.as_str()), ("10.1.2.3-x", "f"));
        assert_eq!(version.unwrap().as_str(), "7");
    }

    #[test]
    fn a_link_is_called_as_it_was_given_and_its_folder_as_it_is() {
        let (folder, path) = with_file(OsStr::new("2026-11-22.txt"));
        std::os::unix::fs::symlink(&path, folder.path().join("today.txt")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("here")).unwrap();
        let source = Source::find(&folder.path().join("here/today.txt")).unwrap();
        assert_eq!(source.file, "today.txt");
        assert_eq!(Path::new(&source.directory), folder.path().canonicalize().unwrap());
    }

    #[test]
    fn a_missing_file_is_not_found_and_a_directory_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Source::find(&folder.path().join("none")).unwrap_err().exit, Exit::NotFound);
        let directory = Source::find(folder.path()).unwrap_err();
        assert_eq!(directory.exit, Exit::Other);
        assert!(directory.what.contains("is a directory"));
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_refused_and_shown_as_far_as_it_can_be() {
        let (_folder, path) = with_file(OsStr::from_bytes(b"a\xffb"));
        let failure = Source::find(&path).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.what.contains("a\u{fffd}b is not UTF-8"), "{}", failure.what);
    }

    #[test]
    fn a_control_character_in_a_name_is_a_usage_error() {
        let (_folder, path) = with_file(OsStr::new("a\nb"));
        let error = Source::find(&path).unwrap().name(host(), None).unwrap_err();
        assert_eq!(Failure::from(error).exit, Exit::Usage);
    }
}
