//! The binary `gridbeat`. Everything is in the library of the same package.

use std::process::ExitCode;

fn main() -> ExitCode {
    gridbeat_cli::run()
}
