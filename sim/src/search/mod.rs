//! The search for what goes wrong: whole scenarios drawn from seeds, run by the thousand, and made small where one fails.
//!
//! ```text
//! seed -> draw -> Scenario -> attempt -> Outcome: figures, findings
//!                    |  explore: many seeds on all cores, findings told at once
//!                    |  sweep: many seeds on many machines, a line of JSON each; merge, compare
//!                    '- shrink: a smaller scenario in which the same check fails
//! ```
//!
//! The way of FoundationDB's and TigerBeetle's simulators (VOPR): safety while things break, then quiet and a deadline by
//! which all must have converged. Making failures small is delta debugging (Zeller and Hildebrandt 2002), greedy.
//!
//! Not here: what is checked (ledger, report), and any choice of what to draw next by what was found before.

mod attempt;
mod compare;
mod draw;
mod explore;
mod mean;
mod merge;
mod shrink;
mod smaller;
mod sweep;
mod trace;

pub use self::attempt::{Attempt, CHECKS, Finding, Outcome, attempt, attempt_with, findings, n_findings};
pub use self::compare::{Change, Comparison, compare};
pub use self::draw::{Bounds, draw};
pub use self::explore::{Plan, Progress, Source, Told, explore};
pub use self::mean::{mean, nested, worst};
pub use self::merge::{Complaint, Merged, Spread, merge};
pub use self::shrink::{Shrunk, Step, shrink};
pub use self::smaller::n_faults;
pub use self::sweep::{Line, Results, SweepError, Swept, read_lines, read_part, read_results, sweep};
pub use self::trace::Trace;
