//! The `coalmine` command line: the shipped suite behind the harness's face.

use std::process::ExitCode;

/// Threads of the checker pass lists on to one another, and simulations make many small ones; this allocator
/// was made for both.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    coalmine_sim::cli::main(&coalmine::suite())
}
