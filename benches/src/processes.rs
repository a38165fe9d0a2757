//! Child processes of a bench: this program again, in another part.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rdcq_config::Config;
use rdcq_runtime::Host;

/// A child that ends with its handle.
pub(crate) struct Part(Child);

impl Part {
    /// Starts this program with other arguments.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let child =
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        Ok(Self(child))
    }

    /// The next line that the child prints.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let stdout = self.0.stdout.as_mut().context("the child's output is piped")?;
        let mut line = String::new();
        // Unbuffered beyond the line: a child prints little, and the handle is used again.
        BufReader::with_capacity(1, stdout).read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "a child ended early");
        Ok(line.trim().to_owned())
    }

    /// Lets a child go on that waits for a line.
    pub(crate) fn go_on(&mut self) -> anyhow::Result<()> {
        let stdin = self.0.stdin.as_mut().context("the child's input is piped")?;
        Ok(writeln!(stdin)?)
    }

    /// CPU seconds that the child has used, user and system.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // Fields 14 and 15, counted after the command's name, which may hold anything but ends with the last bracket.
        let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
        let ticks = fields.get(11..13).context("a stat line")?.iter().map(|field| field.parse::<f64>());
        let ticks: f64 = ticks.sum::<Result<f64, _>>()?;
        Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the roles of a settings file until the process ends.
#[expect(clippy::print_stdout, reason = "the parent waits for this line")]
pub(crate) async fn run_node(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let config = Config::parse(&text, &path.display().to_string())?;
    config.validate()?;
    let _node = rdcq::Node::start(&Host::system(), config).await?;
    println!("ready");
    std::future::pending().await
}
