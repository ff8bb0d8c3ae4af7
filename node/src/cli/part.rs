//! Processes that a command starts of this very program: parts of `demo` and `bench`. They are no commands, so neither
//! the help nor a suggestion after a slip of the pen names them.

use std::ffi::OsStr;

use super::exit::Failure;
use super::{bench, demo};

/// What the first argument asks for, if it asks for a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Demo,
    Bench,
    BenchIdle,
    BenchStart,
    BenchSlowReader,
}

impl Part {
    pub(super) fn named(argument: &OsStr) -> Option<Self> {
        Some(match argument.to_str()? {
            demo::WORKER => Self::Demo,
            bench::WORKER => Self::Bench,
            bench::IDLE_WORKER => Self::BenchIdle,
            bench::START_WORKER => Self::BenchStart,
            bench::SLOW_READER_WORKER => Self::BenchSlowReader,
            _ => return None,
        })
    }

    /// Runs until it is told to end, or whoever started it ends. It was entered at `entered_ns` on the monotonic clock.
    pub(super) async fn run(self, entered_ns: u64) -> Result<(), Failure> {
        match self {
            Self::Demo => demo::run_worker().await,
            Self::Bench => bench::run_worker().await,
            Self::BenchIdle => bench::run_idle_node().await,
            Self::BenchStart => bench::run_start_node(entered_ns).await,
            Self::BenchSlowReader => bench::run_slow_reader_node().await,
        }
    }
}
