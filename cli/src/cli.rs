//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};

use crate::commands::{
    certs, completion, config, demo, history, inspect, ls, man, node, pull, push, reload, remove, status,
    top, up,
};
use crate::console::{Console, Notes, Output, refuse, report};
use crate::failure::{Exit, Failure};
use crate::logging::{self, Level};

/// What every command takes stands below what is its own.
const EVERYWHERE: &str = "Everywhere";

/// Distributes files to many hosts at once, over QUIC.
#[derive(Debug, Parser)]
#[command(name = "rdcq", version, max_term_width = 110)]
pub struct Cli {
    /// The herd to speak to: a settings file, or a folder with a client.toml. Left out, $RDCQ_HERD, else client.toml in
    /// $XDG_CONFIG_HOME/rdcq, in /etc/rdcq, or in the folder of `rdcq up`.
    #[arg(long, global = true, value_name = "DIR|FILE", help_heading = EVERYWHERE)]
    herd: Option<OsString>,

    /// The form of results.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORM", help_heading = EVERYWHERE)]
    output: Output,

    /// Say nothing but results and errors.
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = EVERYWHERE)]
    quiet: bool,

    /// Log more; twice, everything. RDCQ_LOG=FILTER says what exactly.
    #[arg(long, short, global = true, action = ArgAction::Count, help_heading = EVERYWHERE)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Push a file to a throw-away herd in this process, pull it with several agents at once, and verify it.
    Demo(demo::Demo),
    /// Keep a herd running on this host; the other commands find it without flags.
    Up(up::Up),
    /// Push a file.
    Push(push::Push),
    /// Pull a tag's file, or the file with a name, to this host.
    Pull(pull::Pull),
    /// Remove a version; files that were delivered stay.
    Remove(remove::Remove),
    /// List tags.
    Ls(ls::Ls),
    /// Show what is known of a tag.
    Inspect(inspect::Inspect),
    /// Show all that was pushed and removed under a tag, the newest first.
    History(history::History),
    /// Show how nodes are doing: connections, traffic, refusals.
    Status(status::Status),
    /// Show what nodes move against what they may.
    Top(top::Top),
    /// Have nodes read their settings again.
    Reload(reload::Reload),
    /// Run the roles that a settings file names, until SIGTERM.
    Node(node::Node),
    /// Make a herd's CA and its nodes' certificates.
    #[command(subcommand)]
    Certs(certs::Certs),
    /// Check settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print what has a shell complete command lines, tags included.
    Completion(completion::Completion),
    /// Print a manual page, or write all of them.
    Man(man::Man),
}

impl Command {
    /// What runs for long tells of itself; the others speak when something is wrong.
    const fn level(&self) -> Level {
        match self {
            Self::Node(_) | Self::Up(_) => Level::Info,
            // What is written to stderr would stand in the page.
            Self::Top(_) => Level::Error,
            _ => Level::Warn,
        }
    }
}

impl Cli {
    fn level(&self) -> Level {
        match self.verbose {
            0 if self.quiet => Level::Error,
            0 => self.command.level(),
            1 => Level::Debug,
            _ => Level::Trace,
        }
    }

    const fn console(&self) -> Console {
        Console { output: self.output, notes: if self.quiet { Notes::Quiet } else { Notes::Shown } }
    }
}

/// How long file operations under way may hold up the end of the process. What was acknowledged is durable by then.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The program: carries out a command line on this thread, which answers all that is small. Data has threads of its own.
pub fn main(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(format_args!("cannot start: {error}")),
    };
    let exit = runtime.block_on(run(cli));
    runtime.shutdown_timeout(LAST_WORK);
    exit
}

/// Carries out a command line, says on stderr what went wrong, and gives the process its exit code.
pub async fn run(cli: Cli) -> ExitCode {
    match carry_out(cli).await {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => report(&failure),
    }
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let console = cli.console();
    logging::start(cli.level(), cli.output)?;
    let herd = cli.herd.as_deref();
    match cli.command {
        Command::Demo(demo) => demo.run(&console).await,
        Command::Up(up) => up.run(&console).await,
        Command::Push(push) => push.run(&console, herd).await,
        Command::Pull(pull) => pull.run(&console, herd).await,
        Command::Remove(remove) => remove.run(&console, herd).await,
        Command::Ls(ls) => ls.run(&console, herd).await,
        Command::Inspect(inspect) => inspect.run(&console, herd).await,
        Command::History(history) => history.run(&console, herd).await,
        Command::Status(status) => status.run(&console, herd).await,
        Command::Top(top) => top.run(&console, herd).await,
        Command::Reload(reload) => reload.run(&console, herd).await,
        Command::Node(node) => node.run(&console).await,
        Command::Certs(certs) => certs.run(&console),
        Command::Config(config) => config.run(&console),
        Command::Completion(completion) => completion.run(&console),
        Command::Man(man) => man.run(&console),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Rows of a terminal that nobody made small.
    const SCREEN: usize = 40;

    /// Each command that does something, with the words that lead to it.
    fn leaves(of: &clap::Command, words: &str, found: &mut Vec<String>) {
        let mut subcommands = of.get_subcommands().filter(|command| command.get_name() != "help").peekable();
        if subcommands.peek().is_none() {
            found.push(words.to_owned());
        }
        for command in subcommands {
            leaves(command, &format!("{words} {}", command.get_name()), found);
        }
    }

    #[test]
    fn every_help_fits_a_screen_and_its_example_is_a_command_line() {
        let cli = Cli::command().term_width(100);
        let mut found = Vec::new();
        leaves(&cli, "rdcq", &mut found);
        assert!(found.len() > 15);
        for words in found {
            let line = words.split(' ').chain(["--help"]);
            let help = cli.clone().try_get_matches_from(line).unwrap_err().to_string();
            assert!(
                help.lines().count() <= SCREEN,
                "the help of `{words}` has {} lines",
                help.lines().count()
            );
            let (_, example) =
                help.split_once("\nExample:\n  ").unwrap_or_else(|| panic!("`{words}` has no example"));
            assert!(example.starts_with(&words), "{example}");
            if let Err(error) = Cli::try_parse_from(example.split_whitespace()) {
                panic!("`{example}` is no command line: {error}");
            }
        }
    }

    #[test]
    fn global_flags_stand_before_or_after_the_command() {
        for line in [["rdcq", "--herd", "x", "ls"], ["rdcq", "ls", "--herd", "x"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().herd.unwrap(), "x");
        }
    }

    #[test]
    fn a_malformed_tag_is_a_usage_error() {
        for line in [["rdcq", "pull", "a:b c"], ["rdcq", "inspect", ""], ["rdcq", "remove", "a:"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }
}
