//! `--has-flag` and `--flag-name`, which a push and a pull share.

use clap::{Args, ValueEnum};
use rdcq_client::FileName;
use rdcq_client::flag::Flag;

use crate::failure::Failure;

/// Whether a flag file says that the file is whole, and its name.
#[derive(Debug, Clone, Args)]
pub(crate) struct FlagArgs {
    /// Whether a flag file beside the file says that it is whole (F), or not (N). A push waits for the source's; a pull writes one once
    /// the target is there.
    #[arg(long, value_enum, default_value_t, ignore_case = true, value_name = "F|N")]
    has_flag: HasFlag,
    /// The flag file's name, rather than the file's with `.flag` after it.
    #[arg(long, value_name = "NAME")]
    flag_name: Option<FileName>,
}

/// Whether there is a flag file. What stands before a variant would be shown as help, over several lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum HasFlag {
    // There is one.
    #[value(name = "F")]
    Flag,
    // There is none.
    #[default]
    #[value(name = "N")]
    None,
}

impl FlagArgs {
    /// The flag file that is meant, if there is one.
    pub(crate) fn flag(&self) -> Result<Option<Flag>, Failure> {
        match (self.has_flag, &self.flag_name) {
            (HasFlag::Flag, None) => Ok(Some(Flag::OfFile)),
            (HasFlag::Flag, Some(name)) => Ok(Some(Flag::Named(name.clone()))),
            (HasFlag::None, None) => Ok(None),
            (HasFlag::None, Some(_)) => {
                Err(Failure::usage("--flag-name names a flag file, and there is none")
                    .with_hint("give --has-flag F, too"))
            }
        }
    }
}
