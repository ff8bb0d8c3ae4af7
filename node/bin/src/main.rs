//! The `djembe` command. All of it is in the library, where tests and embedders' builds see it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    djembe::cli::main()
}
