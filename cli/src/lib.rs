//! The `rdcq` command, and the assembly of nodes and herds that it shares with tests and benches.
//!
//! - [`Node`] runs the roles that a settings file names; [`Herd`] runs a whole herd in one process, each node with a
//!   certificate and an endpoint of its own, on whatever [`Place`] its caller gives each [`Seat`].
//! - [`Cli`] is the command line, [`main`] is the whole program, [`run`] carries a command out. [`DataThreads`] are its threads. [`in_todays_words`] reads what was written for the commands that it takes the place of. A file under `commands/` is a command; what they share is how
//!   the herd is found (`settings`), who asks (`caller`), what is shown (`console`) and how it ends (`failure`).
//!
//! Pushes and pulls themselves live in `rdcq-client`, roles in their own crates: this crate holds words and manners.

mod admin;
mod agents_file;
mod ca_folder;
mod caller;
mod certificate_files;
mod cli;
mod commands;
mod console;
mod data_threads;
mod duration;
mod failure;
mod flag_args;
mod herd;
mod logging;
mod node;
mod old_words;
mod private_key;
mod progress;
mod reloaded;
mod role;
mod servers;
mod settings;
mod settings_watch;
mod signals;
mod up_folder;

pub use admin::AdminError;
pub use cli::{Cli, main, run};
pub use commands::completion::answer_shell;
pub use data_threads::DataThreads;
pub use herd::{Herd, HerdError, HerdPlan, Place, Seat, issue};
pub use node::{Node, NodeError};
pub use old_words::translate as in_todays_words;
pub use private_key::ExposedKey;
