//! The bar that shows how far a push or a pull is.

use indicatif::{ProgressBar, ProgressStyle};
use rdcq_client::pull::PullProgress;
use rdcq_client::push::PushProgress;

use crate::console::Console;

/// What is being done, with room for the longest word, so that the bar does not jump.
const TEMPLATE: &str = "{msg:<10} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}  {eta}";

/// A bar on a terminal, or nothing. It goes when it is dropped: the result says the rest.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(crate) fn new(console: &Console) -> Self {
        let bar = console.shows_progress().then(|| {
            let style = ProgressStyle::with_template(TEMPLATE).map(|style| style.progress_chars("=> "));
            let bar = ProgressBar::new(0);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self(bar)
    }

    pub(crate) fn of_push(&self, progress: PushProgress) {
        match progress {
            PushProgress::Cutting { done, size } => self.show("reading", done, size),
            PushProgress::Sending { done, size } => self.show("sending", done, size),
            PushProgress::Committing => self.stage("committing"),
        }
    }

    pub(crate) fn of_pull(&self, progress: PullProgress) {
        match progress {
            PullProgress::Fetching { done, size } => self.show("fetching", done, size),
            PullProgress::Delivering { done, size } => self.show("writing", done, size),
        }
    }

    fn show(&self, doing: &'static str, done: u64, size: u64) {
        self.stage(doing);
        if let Some(bar) = &self.0 {
            bar.set_length(size);
            bar.set_position(done);
        }
    }

    /// The rate is that of the stage, so each starts anew.
    fn stage(&self, doing: &'static str) {
        if let Some(bar) = &self.0
            && bar.message() != doing
        {
            bar.reset();
            bar.set_message(doing);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
