//! How far a push or a pull is: a bar on a terminal, lines in a log, events for a program.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use rdcq_client::pull::PullProgress;
use rdcq_client::push::PushProgress;
use serde::Serialize;

use crate::console::{Console, ProgressForm};

/// What is being done, with room for the longest word, so that the bar does not jump.
const TEMPLATE: &str = "{msg:<10} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";
/// A log is read later: a line in so long is enough, and none of what takes less.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// A program may draw a bar of its own.
const EVENT_EVERY: Duration = Duration::from_millis(250);

/// Shows how far a push or a pull is. What is left of it on a terminal goes when it is dropped: the result says the rest.
pub(crate) struct Progress<'a> {
    console: &'a Console,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Pace>),
    Events(Mutex<Pace>),
}

impl<'a> Progress<'a> {
    pub(crate) fn new(console: &'a Console) -> Self {
        let shown = match console.progress_form() {
            ProgressForm::Hidden => Shown::Nothing,
            ProgressForm::Bar => Shown::Bar(bar()),
            ProgressForm::Lines => Shown::Lines(Mutex::new(Pace::new(LINE_EVERY))),
            ProgressForm::Events => Shown::Events(Mutex::new(Pace::new(EVENT_EVERY))),
        };
        Self { console, shown }
    }

    pub(crate) fn of_push(&self, progress: PushProgress) {
        match progress {
            PushProgress::Cutting { done, size } => self.show("reading", done, size),
            PushProgress::Sending { done, size } => self.show("sending", done, size),
            PushProgress::Committing => self.show("committing", 0, 0),
        }
    }

    pub(crate) fn of_pull(&self, progress: PullProgress) {
        match progress {
            PullProgress::Fetching { done, size } => self.show("fetching", done, size),
            PullProgress::Delivering { done, size } => self.show("writing", done, size),
        }
    }

    fn show(&self, doing: &'static str, done: u64, size: u64) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => move_bar(bar, doing, done, size),
            Shown::Lines(pace) => {
                if let Some(step) = pace_of(pace).step(Instant::now(), doing, done, size, Begin::Silent) {
                    self.console.note(step.in_words());
                }
            }
            Shown::Events(pace) => {
                if let Some(step) = pace_of(pace).step(Instant::now(), doing, done, size, Begin::Told) {
                    // Whoever no longer reads is told of the result in vain, too.
                    let _ = self.console.progress(&step);
                }
            }
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template(TEMPLATE).map(|style| style.progress_chars("=> "));
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The rate is that of the stage, so each starts anew.
fn move_bar(bar: &ProgressBar, doing: &'static str, done: u64, size: u64) {
    if bar.message() != doing {
        bar.reset();
        bar.set_message(doing);
    }
    if size > 0 {
        bar.set_length(size);
        bar.set_position(done);
    }
}

fn pace_of(pace: &Mutex<Pace>) -> std::sync::MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a stage is told of when it begins, or only when it takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Told,
    Silent,
}

/// Lets through a step now and then.
struct Pace {
    every: Duration,
    stage: Option<Stage>,
}

#[derive(Debug, Clone, Copy)]
struct Stage {
    doing: &'static str,
    begun: Instant,
    done_at_begin: u64,
    told: Instant,
}

/// How far a command is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Step {
    stage: &'static str,
    done_bytes: u64,
    size_bytes: u64,
    /// Over the stage so far; 0 when it begins.
    bytes_per_second: u64,
}

impl Pace {
    const fn new(every: Duration) -> Self {
        Self { every, stage: None }
    }

    /// The step, if it is to be told: the first of a stage where that is wanted, then one in a while.
    fn step(
        &mut self,
        now: Instant,
        doing: &'static str,
        done: u64,
        size: u64,
        begin: Begin,
    ) -> Option<Step> {
        let fresh = Stage { doing, begun: now, done_at_begin: done, told: now };
        let is_new = self.stage.is_none_or(|stage| stage.doing != doing);
        let stage = if is_new { self.stage.insert(fresh) } else { self.stage.get_or_insert(fresh) };
        let due = if is_new { begin == Begin::Told } else { now - stage.told >= self.every };
        if !due {
            return None;
        }
        stage.told = now;
        let seconds = (now - stage.begun).as_secs_f64();
        let moved = done.saturating_sub(stage.done_at_begin) as f64;
        let bytes_per_second = if seconds > 0.0 { (moved / seconds) as u64 } else { 0 };
        Some(Step { stage: doing, done_bytes: done, size_bytes: size, bytes_per_second })
    }
}

impl Step {
    fn in_words(&self) -> String {
        let Self { stage, done_bytes, size_bytes, bytes_per_second: rate } = *self;
        if size_bytes == 0 {
            return stage.to_owned();
        }
        let far = format!("{stage}: {} of {}", HumanBytes(done_bytes), HumanBytes(size_bytes));
        match size_bytes.saturating_sub(done_bytes).checked_div(rate) {
            Some(left) => {
                format!("{far}, {}/s, {} left", HumanBytes(rate), HumanDuration(Duration::from_secs(left)))
            }
            None => far,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MIB: u64 = 1 << 20;

    #[test]
    fn a_log_hears_of_what_takes_long_with_its_rate_and_the_time_left() {
        let (mut pace, begin) = (Pace::new(10 * SECOND), Instant::now());
        let mut at = |second: u32, stage, done| {
            let step = pace.step(begin + second * SECOND, stage, done * MIB, 100 * MIB, Begin::Silent);
            step.map(|step| step.in_words())
        };
        assert_eq!(at(0, "reading", 0), None);
        assert_eq!(at(9, "reading", 90), None);
        assert_eq!(at(10, "sending", 20), None, "a stage has just begun");
        let told = at(20, "sending", 40).unwrap();
        assert_eq!(told, "sending: 40.00 MiB of 100.00 MiB, 2.00 MiB/s, 30 seconds left");
        assert_eq!(at(29, "sending", 40), None);
        assert!(at(30, "sending", 40).is_some());
    }

    #[test]
    fn a_step_that_stands_still_has_no_time_left() {
        let (mut pace, begin) = (Pace::new(SECOND), Instant::now());
        assert!(pace.step(begin, "sending", 5, 10, Begin::Silent).is_none());
        let step = pace.step(begin + SECOND, "sending", 5, 10, Begin::Silent).unwrap();
        assert_eq!(step.in_words(), "sending: 5 B of 10 B");
        let begun = pace.step(begin + SECOND, "committing", 0, 0, Begin::Told).unwrap();
        assert_eq!(begun.in_words(), "committing");
    }
}
