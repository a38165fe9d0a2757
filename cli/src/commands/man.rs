//! `rdcq man`.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man as Page;

use crate::Cli;
use crate::console::Console;
use crate::failure::Failure;

/// Print a manual page, or write all of them.
#[derive(Debug, Args)]
#[command(after_help = example!("rdcq man push"))]
pub(crate) struct Man {
    /// The command whose page is meant, as `push` or `certs issue`, rather than that of the program. `man -l -` shows what is printed.
    command: Vec<String>,
    /// Write the pages of all commands into this folder, as rdcq.1, rdcq-push.1 and so on.
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, console: &Console) -> Result<(), Failure> {
        let program = program();
        if let Some(dir) = self.dir {
            return clap_mangen::generate_to(program, &dir)
                .map_err(|error| Failure::of_file("write pages into", &dir, &error));
        }
        let mut command = &program;
        for word in &self.command {
            let unknown = || {
                Failure::usage(format!("there is no command {}", self.command.join(" ")))
                    .with_hint("`rdcq help` names them")
            };
            command = command.find_subcommand(word).ok_or_else(unknown)?;
        }
        console.line(render(command)?.trim_end())
    }
}

/// The program's command, each below it with its full name.
fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn render(command: &Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    let rendered = Page::new(command.clone()).render(&mut page);
    rendered.map_err(|error| Failure::other(format!("cannot write the page: {error}")))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of a text, as `--name`; roff writes a dash as `\-` and a font as `\fB`.
    fn flags(text: &str) -> Vec<String> {
        let fonts = ["\\fB", "\\fI", "\\fR"].iter();
        let text = fonts.fold(text.replace("\\-", "-"), |text, font| text.replace(font, " "));
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let mut flags = Vec::from_iter(words.filter(|word| word.starts_with("--") && word.len() > 2));
        flags.sort_unstable();
        flags.dedup();
        flags.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn help_and_page_name_the_flags_that_the_code_takes_and_no_others() {
        for name in ["push", "pull", "remove", "history"] {
            let program = program();
            let mut command = program.find_subcommand(name).unwrap().clone();
            let mut taken = Vec::from_iter(
                command.get_arguments().filter_map(|flag| flag.get_long()).map(|long| format!("--{long}")),
            );
            taken.sort_unstable();
            taken.dedup();
            assert_eq!(flags(&command.render_long_help().to_string()), taken, "the help of {name}");
            assert_eq!(flags(&render(&command).unwrap()), taken, "the page of {name}");
        }
    }
}
