//! Logs go to stderr; `RDCQ_LOG` says which, in the form of tracing's filters.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::console::Output;
use crate::failure::Failure;

/// What is logged unless `RDCQ_LOG` says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The libraries below are only heard when they warn, or when everything is wanted.
    const fn filter(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,rdcq=info",
            Self::Debug => "warn,rdcq=debug",
            Self::Trace => "trace",
        }
    }
}

const VARIABLE: &str = "RDCQ_LOG";

pub(crate) fn start(level: Level, output: Output) -> Result<(), Failure> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|error| Failure::usage(format!("{VARIABLE}={text:?} is no log filter: {error}")))?,
        Err(_) => EnvFilter::new(level.filter()),
    };
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    // A subscriber that is there already is that of a test.
    let _ = match output {
        Output::Text => subscriber.try_init(),
        Output::Json | Output::Ndjson => subscriber.json().try_init(),
    };
    Ok(())
}
