//! The same scenario with real nodes and in the simulator, side by side: how far what a simulation says is true.
//!
//! Real nodes are processes in network namespaces, between which packets take as long as the simulator's topology says;
//! see `docs/benchmarks.md`. The work is done by a child of this process, and whatever becomes of that, this one clears
//! away what it has made. Exit code 0: both delivered everything; 1: not so; 2: it could not be done, and why.
//!
//! Not here: scenarios with loss, faults or attackers, which the emulated network does not know.

#[cfg(target_os = "linux")]
mod figures;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod real;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod simulated;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("side-by-side: network namespaces are Linux's");
    ExitCode::from(2)
}
