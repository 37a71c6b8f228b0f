//! The `coalmine` command line: the shipped suite behind the harness's face.

use std::process::ExitCode;

fn main() -> ExitCode {
    coalmine_sim::cli::main(&coalmine::suite())
}
