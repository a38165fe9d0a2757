//! Child processes of a bench: this program again, in another part.
//!
//! Parent and child talk in lines: the child says when it is ready, the parent gives orders, the child answers each. A
//! child ends with its handle, and when its input ends, which is when its parent has died of whatever.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// Lines on their way; a child says one for each order.
const LINES: usize = 16;
/// Longest time that a child may take to start or to carry out an order; most carry their own, much shorter limit.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest line of a child, in bytes, that is not taken for a fault.
const MAX_LINE: usize = 64 * 1024;

/// A child that ends with its handle.
pub(crate) struct Part {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Where its instructions are counted to, if they are.
    counts: Option<PathBuf>,
}

impl Part {
    /// Starts this program with other arguments and waits for its first line.
    pub(crate) async fn start(arguments: &[&str]) -> anyhow::Result<(Self, String)> {
        let program = std::env::current_exe()?;
        Self::run(Command::new(program), arguments, None).await
    }

    /// As [`Self::start`], under callgrind, which counts its instructions into a file.
    pub(crate) async fn start_counted(arguments: &[&str], counts: PathBuf) -> anyhow::Result<(Self, String)> {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--tool=callgrind", "--separate-threads=no"]);
        valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
        valgrind.arg(std::env::current_exe()?);
        Self::run(valgrind, arguments, Some(counts)).await
    }

    async fn run(
        mut program: Command,
        arguments: &[&str],
        counts: Option<PathBuf>,
    ) -> anyhow::Result<(Self, String)> {
        program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().with_context(|| format!("cannot run {program:?}"))?;
        let output = child.stdout.take().context("the child's output is piped")?;
        let (sender, lines) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if line.len() > MAX_LINE || sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let mut part = Self { child, lines, counts };
        let name = arguments.first().copied().unwrap_or_default();
        let line = part.line().await.with_context(|| format!("{name} did not start"))?;
        Ok((part, line))
    }

    /// The next line that the child says.
    async fn line(&mut self) -> anyhow::Result<String> {
        let line =
            tokio::time::timeout(PATIENCE, self.lines.recv()).await.context("a child does not answer")?;
        line.context("a child ended early; its last words are above")
    }

    /// Gives an order, which the child begins to carry out.
    pub(crate) fn say(&mut self, order: &str) -> anyhow::Result<()> {
        let stdin = self.child.stdin.as_mut().context("the child's input is piped")?;
        Ok(writeln!(stdin, "{order}")?)
    }

    /// The answer to the order given longest ago.
    pub(crate) async fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.line().await?;
        serde_json::from_str(&line).with_context(|| format!("a child answered {line:?}"))
    }

    /// Gives an order and waits until it is carried out.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, order: &str) -> anyhow::Result<T> {
        self.say(order)?;
        self.answer().await.with_context(|| format!("the order was {order:?}"))
    }

    /// CPU seconds that the child has used, user and system.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.proc("stat")?;
        // Fields 14 and 15, counted after the command's name, which may hold anything but ends with the last bracket.
        let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
        let ticks = fields.get(11..13).context("a stat line")?.iter().map(|field| field.parse::<f64>());
        let ticks: f64 = ticks.sum::<Result<f64, _>>()?;
        Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Forgets the instructions counted so far.
    pub(crate) fn forget_instructions(&self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        let status =
            Command::new("callgrind_control").args(["--zero", &pid]).stdout(Stdio::null()).status()?;
        anyhow::ensure!(status.success(), "callgrind_control: {status}");
        Ok(())
    }

    /// Ends the child, and returns the instructions that it was counted.
    pub(crate) fn instructions(&mut self) -> anyhow::Result<f64> {
        let counts = self.counts.take().context("nobody counts its instructions")?;
        // It ends with its input, and the file is written then.
        drop(self.child.stdin.take());
        self.child.wait()?;
        let text = std::fs::read_to_string(&counts).with_context(|| counts.display().to_string())?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).context("no totals")?;
        Ok(totals.trim().parse()?)
    }

    /// Bytes of memory that the child has resident.
    pub(crate) fn rss_bytes(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a VmRSS line")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))?)
    }
}

impl Part {
    /// Ends the child where it stands.
    pub(crate) fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.end();
    }
}

/// The orders that a child is given. When there will be no more, nobody wants the child: the process ends at once.
pub(crate) fn orders() -> mpsc::Receiver<String> {
    let (sender, orders) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    orders
}

/// Answers an order.
pub(crate) fn answer(answer: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(answer)?)
}

/// Says a line to the parent.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}
