//! The command line of the simulator: see `djembe-sim help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
